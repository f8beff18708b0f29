"""Requests of one script each, answered in the turn of the event loop in which the server's answer comes.

A task would cost as much as all the rest: one is made only where something goes wrong.
"""

import asyncio
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final, Generic, TypeVar

from callctl.errors import StoreUnavailable
from callctl.promise import Promise
from callctl.store import scripts
from callctl.store.link import Argument, Link, LinkLost, Reply
from callctl.store.rejected import ScriptMissing
from callctl.store.scripts import Script
from callctl.turn import Turn

_TO_REPEAT: Final = (LinkLost, ScriptMissing)

Request = TypeVar("Request")
Result = TypeVar("Result")


class Alone(Generic[Request, Result]):
    """`share` tells a request's keys and arguments, `understand` makes the result of what the script answers.

    When the connection goes while a request is under way it is repeated once, as it was and within its deadline.
    """

    def __init__(
        self,
        link: Link,
        script: Script,
        share: Callable[[Request], tuple[Sequence[str], Sequence[Argument]]],
        understand: Callable[[Request, Any], Result],
    ) -> None:
        self._link = link
        self._script = script
        self._share = share
        self._understand = understand
        self._repeats: set[asyncio.Task[None]] = set()
        self._sent = Turn(self._send)

    def ask(self, request: Request) -> Promise[Result]:
        """The result of one request."""
        asked: Promise[Result] = Promise()
        self._sent.add((asked, request))
        return asked

    def _send(self, of: tuple[Promise[Result], Request]) -> None:
        asked, request = of
        try:
            touched, arguments = self._share(request)
            then = partial(self._heard, asked, request, touched, arguments)
            self._link.ask(("EVALSHA", self._script.sha, len(touched), *touched, *arguments), then)
        except Exception as error:  # whatever it was, it is this request's result
            asked.keep(error)

    def _heard(
        self,
        asked: Promise[Result],
        request: Request,
        touched: Sequence[str],
        arguments: Sequence[Argument],
        reply: Reply | StoreUnavailable,
    ) -> None:
        if not isinstance(reply, StoreUnavailable):
            try:
                result = self._understand(request, reply)
            except Exception as error:  # it must not reach the link, on which all the others wait
                asked.keep(error)
            else:
                asked.keep(result)
        elif isinstance(reply, _TO_REPEAT) and not asked.given_up:
            repeat = asyncio.get_running_loop().create_task(self._repeat(asked, request, touched, arguments, reply))
            self._repeats.add(repeat)
            repeat.add_done_callback(self._repeats.discard)
        else:
            asked.keep(reply)

    async def _repeat(
        self,
        asked: Promise[Result],
        request: Request,
        touched: Sequence[str],
        arguments: Sequence[Argument],
        why: LinkLost | ScriptMissing,
    ) -> None:
        link, script = self._link, self._script
        try:
            if isinstance(why, LinkLost):
                reply = await scripts.run_again(link, script, touched, arguments, why.until)
            else:
                reply = await scripts.run_through(link, script, touched, arguments)
        except StoreUnavailable as error:
            asked.keep(error)
        else:
            self._heard(asked, request, touched, arguments, reply)
