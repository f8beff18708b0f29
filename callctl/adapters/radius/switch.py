"""Gateways and softswitches that ask by RADIUS, as a `ports.Switch`: prepaid in Cisco's dialect.

The grant goes into the answer (`Session-Timeout`, `h323-credit-time`) and the NAS ends the call by it; it cannot be
made longer. callctl's own clock watches it besides, and ends the call by a Disconnect-Request where the NAS obeys one.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Final

import structlog

from callctl.accounts import WarnTo
from callctl.adapters.radius.disconnecting import Disconnector
from callctl.adapters.radius.server import Counts, Places, Server
from callctl.adapters.radius.translate import Translator
from callctl.adapters.radius.wire import Client, Question, Report
from callctl.call.events import CallKey, Released, SeenAlive
from callctl.causes import Cause
from callctl.errors import SwitchUnavailable
from callctl.ports import Capabilities, Clock, LinkState
from callctl.ports import Report as Hear

log = structlog.get_logger(__name__)

LISTEN_AGAIN_MS: Final = 2_000
LOOK_EVERY_MS: Final = 1_000

# h323-return-code, by the announcement of a refusal (`causes.REFUSALS`); any other is DENIED.
IN_USE, DENIED = 3, 7
RETURN_CODES: Final = {
    "not-authorized": 1,
    "card-in-use": IN_USE,
    "no-credit": 4,
    "account-expired": 5,
    "card-expired": 5,
    "all-lines-busy": 6,
    "spend-limit": 6,
    "destination-barred": 9,
}

Verdict = int | Cause
"""The seconds that are granted, or why it is refused."""


class RadiusSwitch:
    """Implements `ports.SwitchAdapter`.

    `interim_s`: how often a NAS is asked to report its calls; one that has done so and misses three is taken for
    dead. `password`: what a User-Password must be, where one is sent. `answer_ms`: how long a verdict is waited for.
    """

    def __init__(
        self,
        *,
        name: str,
        places: Places,
        clients: Sequence[Client],
        clock: Clock,
        interim_s: int = 60,
        password: str | None = None,
        answer_ms: int = 3_000,
    ) -> None:
        self.name = name
        self.capabilities = Capabilities(
            sip_codes=False, announcements=False, extends=False, warns=(), tells_who=False, lists=False
        )
        self.counts = Counts()
        self._places = places
        self._clients = {client.address: client for client in clients}
        self._clock = clock
        self._interim_s = interim_s
        self._password = password
        self._answer_s = answer_ms / 1000
        self._calls = Translator(name, interim_s=interim_s)
        self._verdicts: dict[CallKey, asyncio.Future[Verdict]] = {}
        self._server = Server(places, self._clients, self._decide, self._note, clock, self.counts)
        self._disconnector = Disconnector()
        self._report: Hear = lambda event: None
        self._state = LinkState(name, up=False, since_ms=clock.now().wall_ms)

    # ---- its life

    async def run(self, report: Hear, relinked: Callable[[], None]) -> None:
        """Listen until cancelled; where that cannot be, try again. `relinked`: gateways can ask."""
        self._report = report
        async with asyncio.TaskGroup() as group:
            group.create_task(self._listen(relinked))
            group.create_task(self._look())

    async def _listen(self, relinked: Callable[[], None]) -> None:
        def listening() -> None:
            self._is(up=True)
            relinked()

        while True:
            try:
                await self._server.run(listening)
            except OSError as failed:
                reason = failed.strerror or str(failed)
                self._is(up=False, detail=reason)
                log.warning("radius_not_listening", switch=self.name, host=self._places.host, reason=reason)
            await self._clock.sleep_ms(LISTEN_AGAIN_MS)

    async def _look(self) -> None:
        """Settle the calls whose NAS has fallen silent."""
        while True:
            await self._clock.sleep_ms(LOOK_EVERY_MS)
            for event in self._calls.overdue(self._clock.now()):
                log.warning("radius_call_silent", switch=self.name, call_id=event.call.call_id)
                self._report(event)

    def state(self) -> LinkState:
        return self._state

    @property
    def ports(self) -> tuple[int, int]:
        """Where it listens: for questions, and for reports."""
        return self._server.ports

    def _is(self, *, up: bool, detail: str = "") -> None:
        if (self._state.up, self._state.detail) != (up, detail):
            self._state = LinkState(self.name, up, self._clock.now().wall_ms, detail)

    # ---- what gateways ask and report

    async def _decide(self, question: Question, client: Client) -> bytes:
        ask = question.ask
        if ask.credential is not None:
            return question.reject(DENIED, f"nobody here can check a {ask.credential}")
        if ask.password is not None and ask.password != self._password:
            return question.reject(2, "wrong password")
        if self._calls.find(ask.names, client) is not None:  # it could be had twice for the price of one
            return question.reject(IN_USE, "this call is up already")
        offered = self._calls.offered(ask, client, self._clock.now())
        verdict: asyncio.Future[Verdict] = asyncio.get_running_loop().create_future()
        self._verdicts[offered.call] = verdict
        self._report(offered)
        try:
            async with asyncio.timeout(self._answer_s):
                return self._told(question, offered.call, await verdict)
        except TimeoutError:
            self.counts.unanswered += 1
            log.warning("radius_no_verdict_in_time", switch=self.name, call_id=offered.call.call_id)
            self._calls.forget(offered.call)
            self._report(Released(offered.call, self._clock.now(), estimated=True))
            return question.reject(DENIED, "no verdict: the call may be over already")
        finally:
            del self._verdicts[offered.call]

    def _told(self, question: Question, call: CallKey, verdict: Verdict) -> bytes:
        if isinstance(verdict, int):
            return question.accept(call.call_id, verdict, self._interim_s)
        return question.reject(RETURN_CODES.get(verdict.announcement, DENIED), verdict.announcement.replace("-", " "))

    def _note(self, report: Report, client: Client) -> None:
        for event in self._calls.told(report.told, client, self._clock.now()):
            self._report(event)

    # ---- ports.Switch

    async def admit(self, call: CallKey, *, granted_s: int, setup_s: int, b_number: str, account: str) -> None:
        """The NAS counts `granted_s` from the answer by itself."""
        self._settle(call, granted_s)

    async def reject(self, call: CallKey, cause: Cause) -> None:
        self._calls.forget(call)
        self._settle(call, cause)

    def _settle(self, call: CallKey, verdict: Verdict) -> None:
        """Where nobody waits for it any more the call's end has been reported."""
        waiting = self._verdicts.get(call)
        if waiting is not None and not waiting.done():
            waiting.set_result(verdict)

    async def arm(self, call: CallKey, remaining_ms: int) -> None:
        """A NAS has the timer that its answer set, and no other."""

    async def warn(self, call: CallKey, left_s: int, to: WarnTo) -> None:
        """Gateways that warn do so by themselves, from what they were granted."""
        log.info("warning_not_heard", switch=self.name, call_id=call.call_id, left_s=left_s)

    async def hang_up(self, call: CallKey, q850: int) -> None:
        address, names, user = self._calls.whereabouts(call)
        client = self._clients.get(address)
        if client is None:
            raise SwitchUnavailable(f"{self.name}: {address} is no client any more")
        self.counts.disconnects += 1
        await self._disconnector.disconnect(client, names, user)

    async def live_calls(self) -> list[SeenAlive]:
        raise SwitchUnavailable(f"{self.name}: RADIUS has no list of calls")
