"""A switch at the depth of its port: it owns its channels and its timers, and enforces these when callctl is dead."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random

from callctl.accounts import WarnTo
from callctl.call.events import Alerting, Answered, CallEvent, CallKey, Offered, Released, ReleasedBy, SeenAlive
from callctl.causes import Cause
from callctl.clock import Instant
from callctl.errors import SwitchUnavailable
from callctl.ports import Capabilities
from tests.simulation.clock import VirtualLoop, WallClock
from tests.simulation.faults import Faults
from tests.simulation.story import Story, TrueCall

GATE_MS = 4_000  # how long an offered call waits for callctl; then the switch gives up, but lets emergencies pass
COMMAND_MS = 3_000
Deliver = Callable[[CallEvent, Callable[[], CallEvent]], None]


@dataclass
class Script:
    """What the people of a call would do, were they left alone. ms; `None`: they do not."""

    ring_ms: int
    answer_ms: int | None
    give_up_ms: int
    talk_ms: int


class FakeSwitch:
    """`ports.Switch`. `stated`: events carry the switch's own time. `frank`: a release tells of its answer too."""

    capabilities = Capabilities()

    def __init__(
        self,
        name: str,
        loop: VirtualLoop,
        rng: Random,
        faults: Faults,
        story: Story,
        wall: WallClock,
        *,
        stated: bool,
        frank: bool,
    ) -> None:
        self.name = name
        self.stated = stated
        self.frank = frank
        self.wall = wall
        self.linked = True
        self.frozen = False
        self.healed = False
        self.enforces = True  # its own timers; a test takes them away
        self.calls: dict[CallKey, TrueCall] = {}
        self.scripts: dict[CallKey, Script] = {}
        self.hears: Callable[[CallEvent, TrueCall], None] = lambda event, call: None
        self.places: Callable[[int], Instant | None] = lambda virtual_ms: None
        self.listening: Callable[[], bool] = lambda: True
        self._loop = loop
        self._rng = rng
        self._faults = faults
        self._story = story
        self._held: list[Callable[[], None]] = []
        self._last_ms: dict[CallKey, int] = {}

    # ---- what people do

    def offer(self, call: TrueCall, script: Script, ask: Callable[[Instant], Offered]) -> None:
        self.calls[call.key] = call
        self.scripts[call.key] = script
        self._story.tell(f"{self.name}: offered", call.key.call_id, call.account, call.dialled)
        if not (self.linked and self.listening()):
            call.harmed.add("offered to nobody")
        self._send(call, ask, lambda: call.offered_ms.append(self._loop.now_ms))
        self._loop.after_ms(GATE_MS, self._gate_closes, call)
        self._loop.after_ms(script.give_up_ms, self._gives_up, call)

    def _gate_closes(self, call: TrueCall) -> None:
        if call.admitted_ms is None and call.ended_ms is None:
            if call.emergency:
                call.harmed.add("passed by the dialplan")
            self._end(call, None, "gave up waiting for callctl")

    def _gives_up(self, call: TrueCall) -> None:
        if call.answered_ms is None:
            self._end(call, ReleasedBy.CALLER, "the caller gives up")

    def _rings(self, call: TrueCall) -> None:
        if call.alive:
            self._send(call, lambda at: Alerting(call.key, at))

    def _answers(self, call: TrueCall) -> None:
        if not call.alive:
            return
        call.answered_ms = self._loop.now_ms
        self._arm(call, call.granted_s * 1000)
        self._story.tell(f"{self.name}: answered", call.key.call_id)
        self._send(call, lambda at: Answered(call.key, at, stated=self.stated))
        self._loop.after_ms(self.scripts[call.key].talk_ms, self._end, call, ReleasedBy.CALLER, "they hang up")

    def _arm(self, call: TrueCall, ms: int) -> None:
        at_ms = call.timer_ms = self._loop.now_ms + ms
        self._loop.after_ms(ms, self._time_is_over, call, at_ms)

    def _time_is_over(self, call: TrueCall, at_ms: int) -> None:
        if call.timer_ms == at_ms and self.enforces:
            self._end(call, ReleasedBy.NETWORK, "its timer ends it")

    def _end(self, call: TrueCall, by: ReleasedBy | None, why: str) -> None:
        if call.ended_ms is not None:
            return
        call.ended_ms = self._loop.now_ms
        self.calls.pop(call.key, None)
        self._story.tell(f"{self.name}: ended", call.key.call_id, why)
        answered_ms = call.answered_ms if self.frank else None

        def said(at: Instant) -> Released:
            answered = None if answered_ms is None else self._placed(answered_ms)
            return Released(call.key, at, self.stated, 16, None, by, answered)

        self._send(call, said)

    # ---- what callctl hears

    def _placed(self, virtual_ms: int) -> Instant | None:
        moment = self.places(virtual_ms)
        return None if moment is None else Instant(self.wall.at(virtual_ms), moment.monotonic_ms)

    def _send(
        self, call: TrueCall, say: Callable[[Instant], CallEvent], heard: Callable[[], None] = lambda: None
    ) -> None:
        rng, faults = self._rng, self._faults
        happened_ms = self._loop.now_ms
        wall_ms = self.wall.now_ms()
        copies = 1
        if not self.healed:
            if rng.random() < faults.events_lost:
                call.harmed.add("event lost")
                return
            copies += rng.random() < faults.events_twice

        def arrive() -> None:
            if self.frozen:
                call.harmed.add("switch frozen")
                self._held.append(arrive)
                return
            now = self.places(happened_ms if self.stated else self._loop.now_ms)
            if not self.linked or now is None:
                call.harmed.add("nobody listened")
                return
            event = say(Instant(wall_ms, now.monotonic_ms) if self.stated else now)
            heard()
            self.hears(event, call)

        for _ in range(copies):
            late = not self.healed and rng.random() < faults.events_late
            if late:
                call.harmed.add("event late")
            delay_ms = rng.randint(200, 8_000) if late else rng.randint(0, 20)
            if not self.frank:  # its link keeps the order of a call's events
                at_ms = max(happened_ms + delay_ms, self._last_ms.get(call.key, 0))
                self._last_ms[call.key] = at_ms
                delay_ms = at_ms - happened_ms
            self._loop.after_ms(delay_ms, arrive)

    # ---- what callctl commands

    async def admit(self, call: CallKey, *, granted_s: int, setup_s: int, b_number: str, account: str) -> None:
        self._decided(call, "admit")
        it = await self._reached(call, "admit", granted_s)
        if it.admitted_ms is not None:
            return
        it.admitted_ms = self._loop.now_ms
        it.granted_s = granted_s
        script = self.scripts[call]
        self._loop.after_ms(script.ring_ms, self._rings, it)
        if script.answer_ms is not None:
            self._loop.after_ms(script.answer_ms, self._answers, it)
        self._loop.after_ms(setup_s * 1000, self._rang_too_long, it)
        self._confirm()

    def _rang_too_long(self, call: TrueCall) -> None:
        if call.answered_ms is None:
            self._end(call, ReleasedBy.NETWORK, "rang too long")

    async def reject(self, call: CallKey, cause: Cause) -> None:
        self._decided(call, "reject")
        it = await self._reached(call, "reject", cause.sip)
        self._end(it, ReleasedBy.CALLCTL, "rejected")
        self._confirm()

    async def arm(self, call: CallKey, remaining_ms: int) -> None:
        it = await self._reached(call, "arm", remaining_ms)
        self._arm(it, remaining_ms)
        self._confirm()

    async def warn(self, call: CallKey, left_s: int, to: WarnTo) -> None:
        await self._reached(call, "warn", left_s)
        self._confirm()

    async def hang_up(self, call: CallKey, q850: int) -> None:
        it = await self._reached(call, "hang up", q850)
        self._end(it, ReleasedBy.CALLCTL, "hung up by callctl")
        self._confirm()

    async def live_calls(self) -> Sequence[SeenAlive]:
        await self._way("list")
        found = [(call.key, call.answered_ms) for call in self.calls.values()]
        await asyncio.sleep(self._rng.randint(0, 30) / 1000)
        self._confirm()
        now = self._placed(self._loop.now_ms)
        if now is None:
            raise SwitchUnavailable("nobody is there to hear it")
        return [SeenAlive(key, now, None if ms is None else self._placed(ms)) for key, ms in found]

    def _decided(self, key: CallKey, verdict: str) -> None:
        if key in self.calls:
            self.calls[key].decided.append(verdict)

    async def _reached(self, key: CallKey, command: str, about: int) -> TrueCall:
        await self._way(command)
        call = self.calls.get(key)
        self._story.tell(f"{self.name}: told to {command}", key.call_id, about, "" if call else "(no such call)")
        if call is None:
            raise SwitchUnavailable("no such channel")
        return call

    async def _way(self, command: str) -> None:
        await asyncio.sleep(self._rng.randint(0, 20) / 1000)
        if self.frozen:
            await asyncio.sleep(COMMAND_MS / 1000)
            raise SwitchUnavailable(f"{command}: no answer")
        if not self.linked:
            raise SwitchUnavailable(f"{command}: no link")
        if not self.healed and self._rng.random() < self._faults.commands_lost:
            raise SwitchUnavailable(f"{command}: lost")

    def _confirm(self) -> None:
        if not self.healed and self._rng.random() < self._faults.commands_unconfirmed:
            raise SwitchUnavailable("done, but not confirmed")

    # ---- its own troubles

    def freeze(self, ms: int) -> None:
        """Its interface hangs: nothing is heard, nothing said; calls and their timers go on."""
        self.frozen = True
        self._story.tell(f"{self.name}: frozen for", ms)
        self._loop.after_ms(ms, self.thaw)

    def thaw(self) -> None:
        self.frozen = False
        held, self._held = self._held, []
        for arrive in held:
            arrive()

    def restart(self) -> None:
        """All calls are gone, and nobody was told."""
        self._story.tell(f"{self.name}: restarts")
        self.linked = False
        for call in list(self.calls.values()):
            call.harmed.add("switch restarted")
            self._end(call, None, "the switch restarts")
