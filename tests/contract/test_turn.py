"""Work of one turn of the event loop is done in the next: in order, all of it, whatever goes wrong with some."""

import asyncio
from typing import Any

from callctl.turn import Turn


async def test_what_comes_up_in_one_turn_is_done_together_in_the_next() -> None:
    done: list[str] = []

    def do(item: str) -> None:
        done.append(item)
        if item == "a":
            turn.add("behind")

    turn = Turn(do)
    for item in "abc":
        turn.add(item)
    assert done == []
    await asyncio.sleep(0)
    assert done == ["a", "b", "c"]
    await asyncio.sleep(0)
    assert done == ["a", "b", "c", "behind"]
    turn.add("later")
    await asyncio.sleep(0)
    assert done[-1] == "later"


async def test_a_fault_is_told_and_the_others_are_done() -> None:
    told: list[dict[str, Any]] = []
    done: list[int] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, fault: told.append(fault))

    def do(item: int) -> None:
        done.append(1 // item)

    turn = Turn(do)
    for item in (1, 0, 1):
        turn.add(item)
    await asyncio.sleep(0)
    assert done == [1, 1]
    assert [type(fault["exception"]) for fault in told] == [ZeroDivisionError]
