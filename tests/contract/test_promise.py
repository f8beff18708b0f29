"""Promises: kept before or after somebody waits, heard in the turn in which they are kept."""

import asyncio
import contextlib
from typing import Any

import pytest

from callctl.errors import StoreUnavailable
from callctl.promise import Promise, then
from tests.waiting import until

FAILED = StoreUnavailable("away")


@pytest.fixture
def promise() -> Promise[Any]:
    return Promise()


@pytest.mark.parametrize("kept", ["kept", None, FAILED])
async def test_it_is_heard_in_the_turn_in_which_it_is_kept(promise, kept) -> None:
    heard: list[Any] = []
    promise.hear(heard.append)
    assert not heard
    promise.keep(kept)
    assert heard == [kept]


@pytest.mark.parametrize("kept", ["kept", None, FAILED])
async def test_kept_before_it_is_heard_it_is_told_in_the_next_turn(promise, kept) -> None:
    heard: list[Any] = []
    promise.keep(kept)
    promise.hear(heard.append)
    assert not heard
    await until(lambda: heard)
    assert heard == [kept]


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("kept", ["kept", None])
async def test_it_is_awaited(promise, kept, first) -> None:
    if first:
        promise.keep(kept)
    else:
        asyncio.get_running_loop().call_soon(promise.keep, kept)
    assert await promise == kept


@pytest.mark.parametrize("first", [True, False])
async def test_what_went_wrong_is_raised(promise, first) -> None:
    if first:
        promise.keep(FAILED)
    else:
        asyncio.get_running_loop().call_soon(promise.keep, FAILED)
    with pytest.raises(StoreUnavailable, match="away"):
        await promise


async def test_a_fault_of_who_hears_it_does_not_reach_who_keeps_it(promise) -> None:
    told: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, fault: told.append(fault))
    promise.hear(lambda kept: kept.missing)
    promise.keep("kept")
    assert [type(fault["exception"]) for fault in told] == [AttributeError]


async def test_it_is_given_up_by_who_is_cancelled(promise) -> None:
    waiting = asyncio.ensure_future(promise)
    await asyncio.sleep(0)
    assert not promise.given_up
    waiting.cancel()
    assert promise.given_up
    promise.keep("kept")
    with contextlib.suppress(asyncio.CancelledError):
        await waiting
    assert waiting.cancelled()


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("awaited", [True, False])
async def test_what_is_made_of_the_result_is_what_is_promised(promise, first, awaited) -> None:
    heard: list[Any] = []
    if first:
        promise.keep(2)
    made = then(then(promise, lambda it: it + 1), lambda it: it * 10)
    assert isinstance(made, Promise)
    if not first:
        asyncio.get_running_loop().call_soon(promise.keep, 2)
    if awaited:
        heard.append(await made)
    else:
        made.hear(heard.append)
    await until(lambda: heard)
    assert heard == [30]


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("kept", [1, FAILED])
async def test_what_goes_wrong_with_making_it_is_raised(promise, kept, first) -> None:
    """Or what went wrong before: of that nothing is made."""

    def fail(_: int) -> int:
        raise FAILED

    if first:
        promise.keep(kept)
    made = promise.then(fail).then(lambda it: it + 1)
    if not first:
        asyncio.get_running_loop().call_soon(promise.keep, kept)
    with pytest.raises(StoreUnavailable, match="away"):
        await made


async def test_something_is_made_of_what_is_no_promise() -> None:
    async def two() -> int:
        return 2

    assert await then(two(), lambda it: it + 1) == 3
