"""Work of one kind, done in a row: what comes up in one turn of the event loop is done together in the next.

A processor that repeats the same steps for many calls is faster by a tenth than one that does every step for one call
before it begins with another: its caches hold the steps.
"""

import asyncio
from collections.abc import Callable
from typing import Generic, TypeVar

Item = TypeVar("Item")


class Turn(Generic[Item]):
    """`do` is called with each item, in the order they came. A fault is told the event loop: the others go on."""

    def __init__(self, do: Callable[[Item], None]) -> None:
        self._do = do
        self._due: list[Item] = []

    def add(self, item: Item) -> None:
        if not self._due:
            asyncio.get_running_loop().call_soon(self._run)
        self._due.append(item)

    def _run(self) -> None:
        due, self._due = self._due, []
        for item in due:
            try:
                self._do(item)
            except Exception as error:  # the others are not to be lost with it
                fault = {"message": f"Exception in {self._do.__qualname__}", "exception": error}
                asyncio.get_running_loop().call_exception_handler(fault)
