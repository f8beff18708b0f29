"""Anything that asks over HTTP and can be told by HTTP, as a `ports.Switch`: the way out for calls of the decision API.

Its calls are authorized, answered and ended over the API under the switch's name. What callctl wants of them it POSTs
to the switch's own URL. Where that is told of every extension callctl extends its calls, warns and cuts them off as on
any other switch; where it is told to hang up only, the whole grant is held at once, or extended by who asks for it.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Final

import structlog
from msgspec.structs import replace

from callctl.accounts import WarnTo
from callctl.adapters.webhook.delivery import Counts, Courier, Event, Granted, HangUp, Ping, Warn
from callctl.call.events import CallKey, Offered, Released, SeenAlive
from callctl.causes import NORMAL_CLEARING, RECOVERY_ON_TIMER, Cause
from callctl.clock import Instant, format_time
from callctl.errors import SwitchUnavailable
from callctl.ports import Capabilities, Clock, LinkState, Report
from callctl.rating.tariff import Direction

log = structlog.get_logger(__name__)

PING_EVERY_MS: Final = 15_000
PING_AGAIN_MS: Final = 1_000
END_ON_ITS_WAY_MS: Final = 2_000
"""A call that is gone was reported as ended a moment ago, as a rule: that report is given the time to come."""
REASONS: Final = {NORMAL_CLEARING: "Normal call clearing", RECOVERY_ON_TIMER: "Recovery on timer expiry"}


class WebhookSwitch:
    """Implements `ports.SwitchAdapter` and `ports.HttpSwitch`.

    `extends`: every extension is delivered; `warns`: warnings, too, which only calls that callctl extends have.
    `carrier`: by which its outbound calls leave, where the request does not say it.
    """

    def __init__(
        self,
        *,
        name: str,
        courier: Courier,
        clock: Clock,
        extends: bool = False,
        warns: bool = False,
        carrier: str | None = None,
    ) -> None:
        self.name = name
        self.capabilities = Capabilities(
            timer=extends, extends=extends, warns=tuple(WarnTo) if warns else (), lists=False
        )
        self._courier = courier
        self._clock = clock
        self._carrier = carrier
        self._report: Report = lambda event: None
        self._linked: Callable[[], None] = lambda: None
        self._gone: set[asyncio.Task[None]] = set()
        self._state = LinkState(name, up=False, since_ms=clock.now().wall_ms, detail="not asked yet")

    # ---- its life

    async def run(self, report: Report, relinked: Callable[[], None]) -> None:
        """Ask again and again whether it is there, so that a wrong URL or secret is seen before a call must end."""
        self._report, self._linked = report, relinked
        try:
            async with self._courier:
                while True:
                    await self._ping()
                    await self._clock.sleep_ms(PING_EVERY_MS if self._state.up else PING_AGAIN_MS)
        finally:
            for task in self._gone:
                task.cancel()

    def state(self) -> LinkState:
        return self._state

    @property
    def counts(self) -> Counts:
        return self._courier.counts

    async def _ping(self) -> None:
        now = self._clock.now()
        try:
            if not await self._courier.deliver(Ping(switch=self.name, at=format_time(now.wall_ms))):
                raise SwitchUnavailable(f"{self.name}: it does not know the URL")
        except SwitchUnavailable as error:
            self._is_down(error)
        else:
            self._is_up()

    def _is_up(self) -> None:
        if not self._state.up:
            self._state = LinkState(self.name, up=True, since_ms=self._clock.now().wall_ms)
            log.info("webhook_answers", switch=self.name)
            self._linked()

    def _is_down(self, error: SwitchUnavailable) -> None:
        detail = str(error).removeprefix(f"{self.name}: ")
        if (self._state.up, self._state.detail) != (False, detail):
            self._state = LinkState(self.name, up=False, since_ms=self._clock.now().wall_ms, detail=detail)
            log.warning("webhook_fails", switch=self.name, reason=detail)

    # ---- ports.HttpSwitch

    def offered(self, asked: Offered) -> Offered:
        if asked.trunk_out is None and asked.direction is Direction.OUTBOUND:
            asked = replace(asked, trunk_out=self._carrier)
        return replace(asked, attended=True, can_extend=True) if self.capabilities.extends else asked

    # ---- ports.Switch

    async def admit(self, call: CallKey, *, granted_s: int, setup_s: int, b_number: str, account: str) -> None:
        """The answer to the request says it, and the refusal, too."""

    async def reject(self, call: CallKey, cause: Cause) -> None:
        pass

    async def arm(self, call: CallKey, remaining_ms: int) -> None:
        if not self.capabilities.extends:  # any more: it is a call from before a reload
            return
        now = self._clock.now()
        until = format_time(now.wall_ms + remaining_ms)
        at = format_time(now.wall_ms)
        told = Granted(switch=self.name, at=at, call_id=call.call_id, granted_until=until, remaining_ms=remaining_ms)
        await self._tell(call, told, now)

    async def warn(self, call: CallKey, left_s: int, to: WarnTo) -> None:
        if not self.capabilities.warns:
            log.info("warning_not_heard", switch=self.name, call_id=call.call_id, left_s=left_s)
            return
        now = self._clock.now()
        told = Warn(switch=self.name, at=format_time(now.wall_ms), call_id=call.call_id, left_s=left_s, to=to)
        await self._tell(call, told, now)

    async def hang_up(self, call: CallKey, q850: int) -> None:
        now = self._clock.now()
        at, reason = format_time(now.wall_ms), REASONS.get(q850, "")
        await self._tell(call, HangUp(switch=self.name, at=at, call_id=call.call_id, q850=q850, reason=reason), now)

    async def live_calls(self) -> Sequence[SeenAlive]:
        raise SwitchUnavailable(f"{self.name}: it does not list its calls")

    async def _tell(self, call: CallKey, event: Event, now: Instant) -> None:
        try:
            there = await self._courier.deliver(event)
        except SwitchUnavailable as error:
            self._is_down(error)
            raise
        if there:
            self._is_up()
        elif not self._state.up:  # what is not there may be the URL: the next ping shows it
            raise SwitchUnavailable(f"{self.name}: it knows no such call, or not the URL")
        else:
            log.info("call_is_gone", switch=self.name, call_id=call.call_id)
            task = asyncio.get_running_loop().create_task(self._report_gone(Released(call, now, estimated=True)))
            self._gone.add(task)
            task.add_done_callback(self._gone.discard)

    async def _report_gone(self, end: Released) -> None:
        """Nobody may have seen it end. Where its end is reported after all, that stands."""
        await self._clock.sleep_ms(END_ON_ITS_WAY_MS)
        self._report(end)
