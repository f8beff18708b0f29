"""A Kamailio as a `ports.Switch`, over the evapi link of `docker/kamailio/kamailio.cfg`.

callctl itself ends a call, to the millisecond; where callctl is dead Kamailio ends it half a second later, by tenths of
a second (`ms`), and if all else fails by the timer of the dialog (whole `seconds`). Nothing is ever sent twice, and a
call that has gone meanwhile is no failure.
"""

import asyncio
from collections.abc import Callable
from typing import Final

import structlog

from callctl.accounts import WarnTo
from callctl.adapters.kamailio.link import EvapiLink, LinkCounts, LinkEvents, LinkTimes
from callctl.adapters.kamailio.translate import Leg, Translator
from callctl.adapters.kamailio.wire import Message
from callctl.adapters.switch_time import SwitchTime
from callctl.call.events import CallKey, SeenAlive
from callctl.causes import RECOVERY_ON_TIMER, Cause
from callctl.errors import SwitchUnavailable
from callctl.ports import Capabilities, Clock, LinkState, Report

log = structlog.get_logger(__name__)

NO_ANSWER: Final = 19
TAKE_OVER_AGAIN_MS: Final = 1_000
# A dialog's timer looks once a second, and may be due up to a second early (measured: 0.7 s): so much later it is set.
TIMER_MARGIN_S: Final = 1
SAME_MS: Final = 200
CAPABILITIES: Final = Capabilities(announcements=False, warns=())
REASONS: Final = {
    402: "Payment Required",
    403: "Forbidden",
    404: "Not Found",
    484: "Address Incomplete",
    486: "Busy Here",
    503: "Service Unavailable",
}


class KamailioSwitch:
    """Implements `ports.SwitchAdapter`. `secret`: LINK_SECRET of kamailio.cfg.

    An inbound call goes where kamailio.cfg says for the account.
    """

    def __init__(
        self,
        *,
        name: str,
        host: str,
        port: int,
        secret: str,
        clock: Clock,
        times: LinkTimes = LinkTimes(),  # noqa: B008  frozen
    ) -> None:
        self.name = name
        self.capabilities = CAPABILITIES
        self._clock = clock
        self._time = SwitchTime()
        self._calls = Translator(name, self._time)
        self._report: Report = lambda event: None
        self._connected = asyncio.Event()
        self._since_ms = clock.now().wall_ms
        events = LinkEvents(on_event=self._on_event, on_up=self._on_up, on_down=self._on_down, on_pong=self._on_pong)
        self._link = EvapiLink(host, port, secret, events, clock=clock, times=times)

    # ---- its life

    async def run(self, report: Report, relinked: Callable[[], None]) -> None:
        """Keep the link until cancelled. `relinked`: it is up, and we know what calls there are."""
        self._report = report
        async with asyncio.TaskGroup() as group:
            group.create_task(self._link.run())
            group.create_task(self._take_over(relinked))

    def state(self) -> LinkState:
        return LinkState(self.name, self._link.up, self._since_ms, self._link.detail)

    @property
    def counts(self) -> LinkCounts:
        """What the link has seen."""
        return self._link.counts

    # ---- ports.Switch

    async def admit(self, call: CallKey, *, granted_s: int, setup_s: int, b_number: str, account: str) -> None:
        """Let the call go on. Kamailio itself gives up after `setup_s`, and arms `granted_s` at the answer."""
        leg = self._leg(call)
        if leg.emergency:
            return
        self._calls.admitting(call.call_id, granted_s)
        await self._command(
            "admit",
            index=leg.index,
            label=leg.label,
            ms=granted_s * 1000,
            seconds=granted_s + TIMER_MARGIN_S,
            ring_ms=setup_s * 1000,
            number=b_number,
            account=account,
        )

    async def reject(self, call: CallKey, cause: Cause) -> None:
        """Refuse the call with its SIP status and Q.850 cause."""
        leg = self._leg(call)
        if leg.emergency:
            return
        self._calls.refusing(call.call_id)
        reason = REASONS.get(cause.sip, "Refused")
        await self._command("reject", index=leg.index, label=leg.label, code=cause.sip, reason=reason, q850=cause.q850)

    async def arm(self, call: CallKey, remaining_ms: int) -> None:
        """Move Kamailio's timer; at the answer it has set it by itself."""
        leg, limit = self._leg(call), self._clock.now().plus_ms(remaining_ms)
        if leg.emergency or (leg.limit is not None and abs(limit.monotonic_ms - leg.limit.monotonic_ms) < SAME_MS):
            return
        seconds = -(-remaining_ms // 1000) + TIMER_MARGIN_S
        dialog: dict[str, str | int] = {"call": leg.call, "h_entry": leg.h_entry, "h_id": leg.h_id}
        await self._command("arm", **dialog, ms=remaining_ms, seconds=seconds)
        self._calls.armed(call.call_id, limit)

    async def warn(self, call: CallKey, left_s: int, to: WarnTo) -> None:
        """Nobody hears it: Kamailio carries no media."""
        log.info("warning_not_heard", switch=self.name, call_id=str(call), left_s=left_s)

    async def hang_up(self, call: CallKey, q850: int) -> None:
        """Both legs. A call that is not answered yet sees 480."""
        leg = self._leg(call)
        if leg.emergency:
            return
        q850 = NO_ANSWER if q850 == RECOVERY_ON_TIMER else q850
        self._calls.hanging_up(call.call_id, q850)
        answer = await self._command("hang_up", call=leg.call, h_entry=leg.h_entry, h_id=leg.h_id, q850=q850)
        for event in self._calls.gone(call.call_id, answer.at, self._clock.now()):
            self._report(event)

    async def live_calls(self) -> list[SeenAlive]:
        """From the dialogs that Kamailio lists now; its clock is compared with ours by the way."""
        self._on_pong(await self._link.ask("ping"))
        before = self._calls.known()
        answer = await self._link.ask("list")
        try:
            dialogs = answer.dialogs()
        except ValueError as error:
            raise SwitchUnavailable(f"{self.name}: not a list of dialogs: {error}") from error
        return self._calls.listed(dialogs, before, self._clock.now())

    # ---- commands

    def _leg(self, call: CallKey) -> Leg:
        leg = self._calls.leg(call.call_id)
        if leg is None:
            raise SwitchUnavailable(f"{self.name}: {call.call_id!r} is no call of a Kamailio")
        return leg

    async def _command(self, do: str, **fields: str | int) -> Message:
        """SwitchUnavailable if it was not done, though the call lives."""
        try:
            answer = await self._link.ask(do, **fields)
        except ValueError as error:  # a control character, or too long
            raise SwitchUnavailable(f"{self.name}: {error}") from error
        if answer.word not in ("done", "gone"):
            raise SwitchUnavailable(f"{self.name}: {do}: {answer.word}")
        return answer

    # ---- the link

    def _on_event(self, message: Message) -> None:
        for event in self._calls.translate(message, self._clock.now()):
            self._report(event)

    def _on_pong(self, pong: Message) -> None:
        self._time.compare(pong.at, self._clock.now())

    def _on_up(self) -> None:
        self._since_ms = self._clock.now().wall_ms
        self._calls.relinked()
        self._connected.set()
        log.info("kamailio_up", switch=self.name)

    def _on_down(self, reason: str) -> None:
        self._since_ms = self._clock.now().wall_ms
        log.warning("kamailio_down", switch=self.name, reason=reason)

    async def _take_over(self, relinked: Callable[[], None]) -> None:
        """After each connecting: learn what calls there are, so that the end of a call taken over is understood."""
        while True:
            await self._connected.wait()
            self._connected.clear()
            try:
                await self.live_calls()
            except SwitchUnavailable as error:
                log.warning("kamailio_dialog_list_failed", switch=self.name, error=str(error))
                await self._clock.sleep_ms(TAKE_OVER_AGAIN_MS)
                if self._link.up:
                    self._connected.set()
            else:
                relinked()
