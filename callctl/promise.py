"""An answer that is to come, and who is told of it in the very turn of the event loop in which it comes.

A Future tells a turn later, and in a context of its own: of a request to the store that is much of what it costs.
"""

import asyncio
from collections.abc import Awaitable, Callable, Generator
from typing import Any, Generic, TypeVar

import msgspec

Result = TypeVar("Result")
Made = TypeVar("Made")


class Promise(msgspec.Struct, Generic[Result], eq=False):
    """Kept once, with a result or with what went wrong. One awaits it, or hears it."""

    _kept: Result | Exception | msgspec.UnsetType = msgspec.UNSET
    _then: Callable[[Result | Exception], None] | None = None
    _waiter: "asyncio.Future[Result] | None" = None
    _makes: tuple[Callable[[Any], Any], ...] = ()

    @property
    def given_up(self) -> bool:
        """Who awaited it does so no more."""
        return self._waiter is not None and self._waiter.done()

    def keep(self, kept: Result | Exception) -> None:
        """Never raises: a fault of who hears it is none of who keeps it, and is told the event loop."""
        if self._makes and not isinstance(kept, Exception):
            try:
                for make in self._makes:
                    kept = make(kept)
            except Exception as error:  # who hears it is to hear of it
                kept = error
        self._kept = kept
        if self._then is not None:
            try:
                self._then(kept)
            except Exception as error:  # who keeps it has others to tell
                fault = {"message": "Exception in who heard a promise", "exception": error}
                asyncio.get_running_loop().call_exception_handler(fault)
        elif self._waiter is None or self._waiter.done():
            return
        elif isinstance(kept, Exception):
            self._waiter.set_exception(kept)
        else:
            self._waiter.set_result(kept)

    def hear(self, then: Callable[[Result | Exception], None]) -> None:
        """Have `then` told when it is kept; where it is already, in the next turn: never before this returns."""
        if self._kept is msgspec.UNSET:
            self._then = then
        else:
            asyncio.get_running_loop().call_soon(then, self._kept)

    def then(self, make: Callable[[Result], Made]) -> "Promise[Made]":
        """This one, as a promise of what `make` makes of the result. If it raises, that is what went wrong."""
        made: Promise[Made] = self  # type: ignore[assignment]  # from here on it is one of that
        if self._kept is msgspec.UNSET:
            self._makes = (*self._makes, make)
        else:
            self._makes = (make,)
            self.keep(self._kept)
        return made

    def __await__(self) -> Generator[object, None, Result]:
        kept = self._kept
        if kept is msgspec.UNSET:
            self._waiter = asyncio.get_running_loop().create_future()
            return (yield from self._waiter)
        if isinstance(kept, Exception):
            raise kept
        return kept


def then(awaited: Awaitable[Result], make: Callable[[Result], Made]) -> Awaitable[Made]:
    """What is made of the result: a Promise of it, where that is one."""
    return awaited.then(make) if isinstance(awaited, Promise) else _made(awaited, make)


async def _made(awaited: Awaitable[Result], make: Callable[[Result], Made]) -> Made:
    return make(await awaited)
