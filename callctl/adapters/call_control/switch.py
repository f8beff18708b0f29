"""A proxy with the `call_control` module as a `ports.Switch`: it asks us, over a socket that we listen on.

The verdict is all that the protocol carries, so the whole grant is held, callctl's own clock watches it, and the call
is ended, and looked for, over the proxy's management interface. Every request is answered before the module's
patience ends: silence costs the SIP worker that asked ten seconds in which it refuses all calls.
"""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec
import structlog

from callctl.accounts import WarnTo
from callctl.adapters.call_control.management import Management, NotDone
from callctl.adapters.call_control.server import Counts, Local, Server, Tcp
from callctl.adapters.call_control.translate import Dialog, Translator
from callctl.adapters.call_control.wire import Init, Reply, Request, Start, Stop, refusal
from callctl.call.events import CallKey, Released, SeenAlive
from callctl.causes import Cause
from callctl.errors import SwitchUnavailable
from callctl.ports import Capabilities, Clock, LinkState, Report

log = structlog.get_logger(__name__)

LISTEN_AGAIN_MS: Final = 2_000
BRIEFLY: Final = "csS"  # Call-ID, state, start: a whole `dlg.list` of 200 calls would fit into no datagram
NOT_FOUND: Final = 404
"""What both proxies answer for a dialog that they have not."""


class CallControlSwitch:
    """Implements `ports.SwitchAdapter`.

    `management`: the proxy's datagram socket; without it callctl can end no call. `opensips`: its dialogs have names of
    another kind, and are not listed. `answer_ms`: how long a verdict is waited for; then the proxy is told `Error`, and
    what was taken is given back. `trusts_diverter`: who a call is diverted for pays for it.
    """

    def __init__(
        self,
        *,
        name: str,
        place: Local | Tcp,
        clock: Clock,
        management: Path | None = None,
        opensips: bool = False,
        answer_ms: int = 400,
        trusts_diverter: bool = False,
    ) -> None:
        self.name = name
        self.capabilities = Capabilities(
            sip_codes=False,
            announcements=False,
            timer=False,
            extends=False,
            warns=(),
            tells_who=False,
            hangs_up=management is not None,
            lists=not opensips and management is not None,
        )
        self._server = Server(place, self._answer)
        self._place = place
        self._clock = clock
        self._management = Management(management) if management is not None else None
        self._duplicate = Reply.DUPLICATE if opensips else Reply.LOCKED  # which no Kamailio takes for an error of ours
        self._answer_s = answer_ms / 1000
        self._calls = Translator(name, trusts_diverter=trusts_diverter)
        self._verdicts: dict[str, asyncio.Future[Reply]] = {}
        self._report: Report = lambda event: None
        self._state = LinkState(name, up=False, since_ms=clock.now().wall_ms)

    # ---- its life

    async def run(self, report: Report, relinked: Callable[[], None]) -> None:
        """Listen until cancelled; where that cannot be, try again. `relinked`: proxies can ask."""
        self._report = report

        def listening() -> None:
            self._is(up=True)
            relinked()

        while True:
            try:
                await self._server.run(listening)
            except OSError as failed:
                reason = failed.strerror or str(failed)
                self._is(up=False, detail=reason)
                log.warning("call_control_not_listening", switch=self.name, place=str(self._place), reason=reason)
            await self._clock.sleep_ms(LISTEN_AGAIN_MS)

    def state(self) -> LinkState:
        return self._state

    @property
    def port(self) -> int:
        """Where it listens, if not in the file system."""
        return self._server.port

    @property
    def counts(self) -> Counts:
        """What the socket has seen."""
        return self._server.counts

    def _is(self, *, up: bool, detail: str = "") -> None:
        if (self._state.up, self._state.detail) != (up, detail):
            self._state = LinkState(self.name, up, self._clock.now().wall_ms, detail)

    # ---- what the proxy asks

    async def _answer(self, request: Request) -> Reply:
        now = self._clock.now()
        match request:
            case Init():
                return await self._init(request)
            case Start(call_id):
                known = self._calls.known(call_id)
                self._report(self._calls.started(request, now))
            case Stop(call_id):
                known = self._calls.known(call_id)
                self._report(self._calls.stopped(request, now))
        return Reply.OK if known is not None else Reply.NOT_FOUND  # which changes nothing: we may have been restarted

    async def _init(self, init: Init) -> Reply:
        """The verdict. A Call-ID asks once: with it a second call could be had for the price of one."""
        call_id = init.call_id
        if self._calls.known(call_id) is not None:
            return self._duplicate
        verdict: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        self._verdicts[call_id] = verdict
        self._report(self._calls.offered(init, self._clock.now()))
        try:
            async with asyncio.timeout(self._answer_s):
                return await verdict
        except TimeoutError:
            self.counts.unanswered += 1
            log.warning("call_control_no_verdict_in_time", switch=self.name, call_id=call_id)
            self._calls.forget(call_id)
            self._report(Released(self._calls.key(call_id), self._clock.now(), estimated=True))
            return Reply.ERROR
        finally:
            del self._verdicts[call_id]

    # ---- ports.Switch

    async def admit(self, call: CallKey, *, granted_s: int, setup_s: int, b_number: str, account: str) -> None:
        """The proxy is not told how long: callctl ends the call itself."""
        self._decide(call, Reply.LIMITED)

    async def reject(self, call: CallKey, cause: Cause) -> None:
        self._calls.forget(call.call_id)
        self._decide(call, refusal(cause))

    def _decide(self, call: CallKey, reply: Reply) -> None:
        """Where nobody waits for it any more the call's end has been reported."""
        verdict = self._verdicts.get(call.call_id)
        if verdict is not None and not verdict.done():
            verdict.set_result(reply)

    async def arm(self, call: CallKey, remaining_ms: int) -> None:
        """The proxy has no timer for one call that could be set from outside: callctl's clock ends the call."""

    async def warn(self, call: CallKey, left_s: int, to: WarnTo) -> None:
        """A proxy has no voice."""
        log.info("warning_not_heard", switch=self.name, call_id=call.call_id, left_s=left_s)

    async def hang_up(self, call: CallKey, q850: int) -> None:
        """Both legs. A call that still rings cannot be ended from outside; the proxy's own timer gives it up."""
        if self._management is None:
            log.error("call_cannot_be_ended", switch=self.name, call_id=call.call_id, why="no management socket is set")
            return
        known = self._calls.known(call.call_id)
        if (known is None or known.dialog is None) and self.capabilities.lists:
            await self.live_calls()
            known = self._calls.known(call.call_id)
        if known is None or known.dialog is None:
            return
        reason = f"Reason: Q.850;cause={q850}\r\n"
        entry, colon, number = known.dialog.partition(":")
        try:
            if colon:
                await self._management.ask("dlg.end_dlg", [int(entry), int(number), reason])
            else:
                await self._management.ask("dlg_end_dlg", {"dialog_id": known.dialog, "extra_hdrs": reason})
        except NotDone as refused:
            if refused.code != NOT_FOUND:
                raise SwitchUnavailable(f"{self.name}: {refused}") from refused

    async def live_calls(self) -> list[SeenAlive]:
        """From the dialogs that Kamailio lists now."""
        if self._management is None or not self.capabilities.lists:
            raise SwitchUnavailable(f"{self.name}: the proxy does not list its calls")
        before = self._calls.call_ids()
        try:
            dialogs = msgspec.convert(await self._management.ask("dlg.briefing", [BRIEFLY]), list[Dialog])
        except (NotDone, msgspec.ValidationError) as failed:
            raise SwitchUnavailable(f"{self.name}: {failed}") from failed
        return self._calls.listed(dialogs, before, self._clock.now())
