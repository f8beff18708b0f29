"""`FreeSwitch` as the port of a switch, over a simulated one: every command, every way to lose the link."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import pytest
from structlog.testing import capture_logs

from callctl.accounts import WarnTo
from callctl.adapters.freeswitch.link import LinkTimes
from callctl.adapters.freeswitch.switch import BEEP, FreeSwitch
from callctl.adapters.freeswitch.translate import BOTH_ENDS_WITHIN_MS
from callctl.call.events import Alerting, Answered, CallEvent, CallKey, Offered, Released, ReleasedBy
from callctl.causes import REFUSALS, Cause, Refusal, cause_of
from callctl.errors import SwitchUnavailable
from callctl.rating.tariff import Direction
from callctl.simulators.esl import EndedBy, EslSimulator, Script, Setup, SimCall, User
from callctl.simulators.scaled_clock import ScaledClock
from tests.patient import PatientClock
from tests.servers import free_port
from tests.waiting import PATIENCE_S, until

NUMBER = "+31612345678"
SPEED = 20
SCRIPT = Script(caller="+31201234567", called="0612345678", account="acme", ring_s=1)
RINGS = Script(caller="+31201234567", called="0612345678", account="acme", ring_s=600)
SOON = LinkTimes(retry_first_ms=10, retry_longest_ms=20, tick_ms=5)
EVERY_API = ("global_getvar", "show", "uuid_dump", "uuid_setvar_multi", "uuid_kill", "sched_api", "sched_del")
NO_CREDIT = REFUSALS[Refusal.NO_CREDIT]


class Desk:
    """A simulated switch, our adapter on it, and all that the adapter reported."""

    def __init__(self, simulator: EslSimulator, switch: FreeSwitch) -> None:
        self.simulator = simulator
        self.switch = switch
        self.events: list[CallEvent] = []
        self.relinked = 0

    def has_relinked(self) -> None:
        self.relinked += 1

    def told(self, kind: type[CallEvent]) -> list[Any]:
        return [event for event in self.events if isinstance(event, kind)]

    def key(self, call: SimCall) -> CallKey:
        return CallKey("fs1", call.uuid)

    def asked(self, command: str) -> list[str]:
        """What the switch was asked for, of one kind, less our name for the group."""
        return [done for done in self.simulator.commands.done if done.startswith(command)]

    async def gated(self, script: Script = SCRIPT) -> SimCall:
        call = self.simulator.place_call(script)
        await until(lambda: any(event.call == self.key(call) for event in self.told(Offered)))
        return call

    async def admit(self, key: CallKey, *, granted_s: int = 600, account: str = "acme") -> None:
        await self.switch.admit(key, granted_s=granted_s, setup_s=120, b_number=NUMBER, account=account)

    async def admitted(self, script: Script = SCRIPT, *, granted_s: int = 600) -> SimCall:
        call = await self.gated(script)
        await self.admit(self.key(call), granted_s=granted_s)
        return call

    async def answered(self, script: Script = SCRIPT, *, granted_s: int = 600) -> SimCall:
        call = await self.admitted(script, granted_s=granted_s)
        await until(lambda: any(event.call == self.key(call) for event in self.told(Answered)))
        return call

    async def in_state(self, state: str) -> SimCall:
        match state:
            case "offered":
                return await self.gated()
            case "ringing":
                call = await self.admitted(RINGS)
                await until(lambda: self.told(Alerting))
                return call
            case _:
                return await self.answered()


@asynccontextmanager
async def laid(*, setup: Setup | None = None, wait: bool = True, **options: Any) -> AsyncIterator[Desk]:
    """Time in the switch runs twenty times as fast as in the link."""
    clock = ScaledClock(PatientClock(), SPEED)
    users = {"meter@rig": User("pw"), "few@rig": User("pw", allowed_api=EVERY_API)}
    async with (
        EslSimulator("ClueCon", users=users, clock=clock, setup=setup or Setup()) as simulator,
        at(simulator, **options) as desk,
    ):
        if wait:
            await until(lambda: desk.relinked)
        yield desk


@asynccontextmanager
async def at(simulator: EslSimulator, **options: Any) -> AsyncIterator[Desk]:
    """An adapter on `simulator`."""
    options = {"secret": "ClueCon", "times": SOON, "clock": PatientClock(), "list_lag_ms": 10, **options}
    switch = FreeSwitch(name="fs1", host="127.0.0.1", port=simulator.port, **options)
    desk = Desk(simulator, switch)
    running = asyncio.create_task(switch.run(desk.events.append, desk.has_relinked))
    try:
        yield desk
    finally:
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running


@pytest.fixture
async def desk() -> AsyncIterator[Desk]:
    async with laid() as ready:
        yield ready


# -------------------------------------------------------------------- what is reported


async def test_a_call_is_offered_as_the_dialplan_tells_it(desk: Desk) -> None:
    call = await desk.gated()
    (offered,) = desk.told(Offered)
    assert (offered.call, offered.a_number, offered.b_number) == (desk.key(call), "+31201234567", "0612345678")
    assert (offered.account, offered.trunk, offered.source_ip) == ("acme", None, "192.0.2.10")
    assert (offered.direction, offered.attended, offered.emergency) == (Direction.OUTBOUND, True, False)


async def test_a_profile_or_gateway_that_is_a_trunk_is_told_as_one() -> None:
    async with laid(is_trunk={"pbx-acme", "carrier-a"}.__contains__) as desk:
        await desk.gated(Script(caller="1", called="2", profile="pbx-acme"))
        await desk.gated(Script(caller="1", called="2", direction="inbound", variables=(("sip_gateway", "carrier-a"),)))
        assert [offered.trunk for offered in desk.told(Offered)] == ["pbx-acme", "carrier-a"]


async def test_what_a_caller_says_of_itself_is_only_a_number(desk: Desk) -> None:
    hostile = 'Ev\nX-Injected: yes\n\napi hupall "; ${x}\xe9'
    call = await desk.gated(Script(caller=hostile, called="06123\n45678", caller_name="Ev%0AX-Injected: yes"))
    (offered,) = desk.told(Offered)
    assert (offered.a_number, offered.b_number) == ("EvX-Injectedyesapihupallx", "0612345678")
    assert not call.is_over


async def test_a_whole_call_is_reported(desk: Desk) -> None:
    call = await desk.answered(
        Script(caller="1", called="2", ring_s=2, talk_s=1.5, hung_up_by=EndedBy.CALLEE), granted_s=600
    )
    outcome = await call.outcome()
    await until(lambda: desk.told(Released))
    (answered,), (released,) = desk.told(Answered), desk.told(Released)
    assert desk.told(Alerting)
    assert (answered.stated, answered.trunk_out) == (True, "carrier-a")
    assert answered.at.wall_ms == outcome.answered_us // 1000
    assert (released.released_by, released.q850, released.stated) == (ReleasedBy.CALLEE, 16, True)
    assert (released.sip_code, released.answered_at) == (None, answered.at)
    assert released.at.wall_ms - answered.at.wall_ms == outcome.billed_us // 1000


async def test_a_call_with_early_media_is_connected_before_it_is_answered(desk: Desk) -> None:
    call = await desk.answered(Script(caller="1", called="2", ring_s=3, talk_s=2, early_media=True))
    outcome = await call.outcome()
    await until(lambda: desk.told(Released))
    (answered,), (released,) = desk.told(Answered), desk.told(Released)
    assert answered.at.wall_ms == outcome.answered_us // 1000 > call.caller.bridged_us // 1000 + 2_000
    assert released.at.wall_ms - answered.at.wall_ms == outcome.billed_us // 1000


async def test_early_media_is_not_for_ever(desk: Desk) -> None:
    """The switch ends it by itself."""
    call = await desk.gated(Script(caller="1", called="2", ring_s=600, early_media=True))
    await desk.switch.admit(desk.key(call), granted_s=600, setup_s=5, b_number=NUMBER, account="acme")
    assert (await call.outcome()).sip == 480
    await until(lambda: desk.told(Released))
    (released,) = desk.told(Released)
    assert (released.sip_code, released.answered_at) == (480, None)


async def test_behind_an_announcement_the_carriers_answer_counts(desk: Desk) -> None:
    call = await desk.answered(Script(caller="1", called="2", ring_s=3, talk_s=5, answered_before=True))
    (answered,) = desk.told(Answered)
    assert call.callee is not None
    assert answered.at.wall_ms == call.callee.answered_us // 1000
    assert answered.at.wall_ms > call.caller.answered_us // 1000 + 2_000
    await call.outcome()
    await until(lambda: desk.told(Released))
    (released,) = desk.told(Released)
    assert released.at.wall_ms == call.caller.ended_us // 1000


@pytest.mark.parametrize("lost", ["CHANNEL_ANSWER", "CHANNEL_PROGRESS", "CHANNEL_BRIDGE", "CHANNEL_CREATE"])
async def test_a_lost_kind_of_event_hides_no_talk(desk: Desk, lost: str) -> None:
    desk.simulator.faults.lose = frozenset({lost})
    call = await desk.admitted(Script(caller="1", called="2", ring_s=0.1, talk_s=1))
    outcome = await call.outcome()
    await until(lambda: desk.told(Released))
    (answered,), (released,) = desk.told(Answered), desk.told(Released)
    assert released.at.wall_ms - answered.at.wall_ms == outcome.billed_us // 1000


async def test_events_that_come_twice_are_reported_once(desk: Desk) -> None:
    desk.simulator.faults.duplicate = True
    call = await desk.admitted(Script(caller="1", called="2", ring_s=0.1, talk_s=1))
    await call.outcome()
    await until(lambda: desk.told(Released))
    await desk.switch.live_calls()
    for kind in (Offered, Answered, Released):
        assert len(desk.told(kind)) == 1, kind


async def test_a_carrier_that_fails_is_not_the_end() -> None:
    async with laid(setup=Setup(trunks=("carrier-a", "carrier-b"))) as desk:
        call = await desk.answered(Script(caller="1", called="2", ring_s=0.1, answers=(503, 200)))
        assert desk.told(Answered)[0].trunk_out == "carrier-b"
        assert not desk.told(Released)
        await desk.switch.hang_up(desk.key(call), 16)
        await until(lambda: desk.told(Released))


@pytest.mark.parametrize(
    ("status", "by"), [(486, ReleasedBy.CALLEE), (404, ReleasedBy.NETWORK), (503, ReleasedBy.NETWORK)]
)
async def test_who_refused_is_told_with_the_status(desk: Desk, status: int, by: ReleasedBy) -> None:
    call = await desk.admitted(Script(caller="1", called="2", ring_s=0.1, answers=(status,)))
    assert (await call.outcome()).sip == status
    await until(lambda: desk.told(Released))
    (released,) = desk.told(Released)
    assert (released.sip_code, released.released_by, released.answered_at) == (status, by, None)


@pytest.mark.parametrize("state", ["offered", "ringing"])
async def test_a_caller_that_gives_up(desk: Desk, state: str) -> None:
    call = await desk.in_state(state)
    call.hang_up()
    await until(lambda: desk.told(Released))
    (released,) = desk.told(Released)
    assert (released.sip_code, released.released_by, released.answered_at) == (487, ReleasedBy.CALLER, None)
    await desk.admit(desk.key(call))  # too late: no failure


async def test_the_gate_closes_when_nobody_answers(desk: Desk) -> None:
    call = await desk.gated()
    assert (await call.outcome()).sip == 503
    await until(lambda: desk.told(Released))
    assert desk.told(Released)[0].released_by is ReleasedBy.NETWORK


# -------------------------------------------------------------------- no


@pytest.mark.parametrize("cause", sorted({(c.sip, c.q850) for c in REFUSALS.values()} | {(486, 17)}))
async def test_a_refusal_has_its_sip_status(desk: Desk, cause: tuple[int, int]) -> None:
    call = await desk.gated()
    sip, q850 = cause
    await desk.switch.reject(desk.key(call), Cause(q850, sip, NO_CREDIT.blame, ""))
    assert (await call.outcome()).sip == sip
    await until(lambda: desk.told(Released))
    assert (desk.told(Released)[0].sip_code, desk.told(Released)[0].answered_at) == (sip, None)


@pytest.mark.parametrize("refusal", Refusal)
async def test_every_refusal_has_the_measured_way_to_its_status(desk: Desk, refusal: Refusal) -> None:
    call = await desk.gated()
    await desk.switch.reject(desk.key(call), cause_of(refusal))
    outcome = await call.outcome()
    assert outcome.sip == cause_of(refusal).sip
    status = desk.asked(f"uuid_setvar_multi {call.uuid}")
    trick = [f"uuid_setvar_multi {call.uuid} last_bridge_proto_specific_hangup_cause=sip:402"]
    assert status == (trick if outcome.sip == 402 else [])
    assert (outcome.cause == "CALL_REJECTED") == (outcome.sip == 402)


async def test_a_refusal_is_told_where_there_is_a_sound_for_it() -> None:
    async with laid(announcements={"no-credit": "/sounds/no-credit.wav"}) as desk:
        call, other = await desk.gated(), await desk.gated()
        await desk.switch.reject(desk.key(call), NO_CREDIT)
        await desk.switch.reject(desk.key(other), REFUSALS[Refusal.NO_RATE])
        outcome = await call.outcome()
        assert (outcome.sip, outcome.announcement) == (402, "/sounds/no-credit.wav")
        outcome = await other.outcome()
        assert (outcome.sip, outcome.announcement) == (404, "")
        await desk.switch.reject(desk.key(call), NO_CREDIT)  # though it has gone, and its number with it


async def test_a_number_that_looks_like_an_option_is_refused_as_any() -> None:
    async with laid(announcements={"no-credit": "/sounds/no-credit.wav"}) as desk:
        call = await desk.gated(Script(caller="1", called="-both"))
        with pytest.raises(SwitchUnavailable, match="-USAGE"):
            await desk.switch.admit(desk.key(call), granted_s=1, setup_s=1, b_number="-both", account="acme")
        await desk.switch.reject(desk.key(call), NO_CREDIT)
        assert (await call.outcome()).announcement == "/sounds/no-credit.wav"


# -------------------------------------------------------------------- yes


async def test_an_admitted_call_ends_with_its_grant_though_callctl_says_nothing_more(desk: Desk) -> None:
    call = await desk.answered(granted_s=5)
    assert call.caller.variables["execute_on_answer"] == "sched_hangup +6 ALLOTTED_TIMEOUT"
    assert (call.caller.rdnis, call.caller.exten, call.caller.variables["call_timeout"]) == (
        "0612345678",
        NUMBER,
        "120",
    )
    outcome = await call.outcome()
    assert outcome.ended_by is EndedBy.LIMIT
    assert 5_000 <= outcome.talked_ms <= 7_000
    await until(lambda: desk.told(Released))
    assert desk.told(Released)[0].released_by is ReleasedBy.CALLCTL


async def test_the_legs_are_told_whose_call_they_are_and_not_to_follow_302(desk: Desk) -> None:
    script = Script(caller="1", called="2", ring_s=0.1, variables=(("export_vars", "mine,yours"), ("mine", "m")))
    call = await desk.answered(script)
    assert call.callee is not None
    inherited = {name: call.callee.variables.get(name) for name in ("callctl_call", "callctl_payer", "mine")}
    assert inherited == {"callctl_call": call.uuid, "callctl_payer": "acme", "mine": "m"}
    assert call.callee.variables["outbound_redirect_fatal"] == "true"


async def test_an_inbound_call_goes_to_the_user_of_its_account(desk: Desk) -> None:
    call = await desk.answered(Script(caller="1", called="31201234567", direction="inbound", ring_s=0.1))
    assert call.callee is not None
    assert call.callee.name == "sofia/internal/acme@phones.example"
    assert desk.told(Offered)[0].direction is Direction.INBOUND


def tasks(desk: Desk, call: SimCall) -> list[tuple[str, str]]:
    """Who ends which leg of the call, by the scheduler: the kind of its group, and whose leg."""
    whose = {leg.uuid: "caller" if leg is call.caller else "callee" for leg in call.legs}
    kills = [task for task in desk.simulator.core.tasks if task.command.startswith("uuid_kill")]
    listed = [(task.group, task.command.split(" ")[1]) for task in kills]
    return sorted(("leg's" if group in whose else "ours", whose[leg]) for group, leg in listed if leg in whose)


async def test_both_legs_are_armed_and_at_no_moment_there_is_no_limit(desk: Desk) -> None:
    call = await desk.answered(granted_s=60)
    seen = []
    desk.simulator.core.listeners.append(lambda headers, _: seen.append((headers["Event-Name"], tasks(desk, call))))
    assert tasks(desk, call) == [("leg's", "caller")]
    for remaining_ms in (100_000, 200_000, 300_000):
        await desk.switch.arm(desk.key(call), remaining_ms)
        assert tasks(desk, call) == [("ours", "callee"), ("ours", "caller")]
    assert all(limits for name, limits in seen if name == "ADD_SCHEDULE")
    done = [command.split(" ")[0] for command in desk.simulator.commands.done if command.startswith("sched_")]
    assert done == ["sched_api", "sched_api", "sched_del", "sched_del"] * 3


async def test_a_timer_does_not_come_too_early(desk: Desk) -> None:
    call = await desk.answered()
    before_us = desk.simulator.core.now_us()
    await desk.switch.arm(desk.key(call), 3_001)
    assert desk.asked("sched_api")[-1].split(" ")[1] in ("+4", "+5")
    outcome = await call.outcome()
    assert 3_000_000 <= outcome.ended_us - before_us <= 5_600_000
    assert outcome.ended_by is EndedBy.LIMIT


async def test_a_timer_that_cannot_be_set_leaves_the_former_one(desk: Desk) -> None:
    call = await desk.answered(granted_s=60)
    desk.simulator.faults.fail_api = frozenset({"sched_api"})
    with pytest.raises(SwitchUnavailable, match="Operation Failed"):
        await desk.switch.arm(desk.key(call), 100_000)
    assert tasks(desk, call) == [("leg's", "caller")]
    desk.simulator.faults.fail_api = frozenset()
    await desk.switch.arm(desk.key(call), 100_000)
    assert tasks(desk, call) == [("ours", "callee"), ("ours", "caller")]


async def test_no_task_of_ours_outlives_its_call(desk: Desk) -> None:
    call = await desk.answered()
    await desk.switch.arm(desk.key(call), 500_000)
    call.hang_up()
    await until(lambda: desk.told(Released))
    await until(lambda: not desk.simulator.core.tasks)


async def test_nor_does_a_note_of_its_answer_or_end(desk: Desk) -> None:
    """Also of one that ends before it is armed."""
    noted: list[str] = []
    desk.simulator.core.listeners.append(lambda headers, _: noted.append(str(headers.get("Task-Group", ""))))
    call = await desk.answered()
    call.hang_up()
    await until(lambda: desk.told(Released))
    await until(lambda: not desk.simulator.core.tasks)
    assert {f"callctl-answered-{call.uuid}", f"callctl-ended-{call.uuid}"} <= set(noted)


async def test_nor_is_anything_remembered_of_a_call_that_is_admitted_too_late(desk: Desk) -> None:
    call = await desk.gated()
    call.hang_up()
    await until(lambda: desk.told(Released))
    await desk.admit(desk.key(call))
    await desk.switch.live_calls()
    assert not desk.switch._timers.calls()


async def test_nor_does_that_of_a_caller_that_stays_when_its_call_is_over() -> None:
    """In a voice mailbox, say; here it is parked for somebody else."""
    async with laid(setup=Setup(heartbeat_ms=1_000, park_timeout_s=600)) as desk:
        call = await desk.answered()
        call.caller.variables["callctl_gate"] = "no"
        call.move_on("0687654321")
        await until(lambda: desk.told(Released))
        assert not call.is_over
        call.hang_up()
        await call.outcome()
        await until(lambda: desk.asked(f"sched_del callctl-ended-{call.uuid}")[1:])
        await until(lambda: not desk.simulator.core.tasks)


@pytest.mark.parametrize("hook", ["", "lua cdr.lua", "sched_api +86400 callctl-ended-another uuid_exists another"])
async def test_what_an_installation_does_at_the_end_of_a_call_is_left_to_it(desk: Desk, hook: str) -> None:
    call = await desk.answered(Script(caller="1", called="2", ring_s=0.1, variables=(("api_hangup_hook", hook),)))
    ours = f"sched_api +86400 callctl-ended-{call.uuid} uuid_exists {call.uuid}"
    assert call.caller.variables["api_hangup_hook"] == (hook if hook.startswith("lua") else ours)


async def test_a_first_timer_that_is_set_late_does_not_cut_an_extended_call(desk: Desk) -> None:
    """The switch tells of the answer before it does what is to be done on it."""
    call = await desk.answered(granted_s=60)
    await desk.switch.arm(desk.key(call), 60_000)
    desk.simulator.core.schedule("+61", call.uuid, f"uuid_kill {call.uuid} ALLOTTED_TIMEOUT")
    await desk.switch.arm(desk.key(call), 100_000)
    assert tasks(desk, call) == [("ours", "callee"), ("ours", "caller")]


async def test_nor_one_whose_end_nobody_has_told(desk: Desk) -> None:
    call = await desk.answered()
    await desk.switch.arm(desk.key(call), 500_000)
    desk.simulator.faults.lose = frozenset({"CHANNEL_HANGUP_COMPLETE"})
    call.hang_up()
    await call.outcome()
    while await desk.switch.live_calls():
        pass
    await until(lambda: not desk.simulator.core.tasks)


async def test_an_answered_caller_is_limited_from_the_start(desk: Desk) -> None:
    call = await desk.gated(Script(caller="1", called="2", ring_s=600, answered_before=True))
    await desk.switch.admit(desk.key(call), granted_s=10, setup_s=20, b_number=NUMBER, account="acme")
    assert tasks(desk, call) == [("ours", "caller")]
    assert desk.asked("sched_api")[0].split(" ")[1] == "+31"


async def test_commands_to_a_call_are_carried_out_in_their_order(desk: Desk) -> None:
    call = await desk.answered()
    key = desk.key(call)
    await asyncio.gather(*[desk.switch.arm(key, seconds * 1000) for seconds in range(100, 300, 10)])
    asked = [int(command.split(" ")[1]) // 10 * 10 for command in desk.asked("sched_api")]
    assert asked == [seconds for seconds in range(100, 300, 10) for _ in range(2)]
    assert tasks(desk, call) == [("ours", "callee"), ("ours", "caller")]


@pytest.mark.parametrize("to", WarnTo)
async def test_a_warning_is_for_whom_it_is_meant(to: WarnTo) -> None:
    async with laid(sounds={60: "sixty", 30: "thirty", 10: "ten"}) as desk:
        call = await desk.answered()
        for left_s in (61, 29, 11, 1):
            await desk.switch.warn(desk.key(call), left_s, to)
        heard_by = [EndedBy.CALLER, EndedBy.CALLEE] if to is WarnTo.BOTH else [EndedBy(to)]
        heard = [(warning.to, warning.sound) for warning in call.warnings]
        assert heard == [(party, sound) for sound in ("sixty", "thirty", "ten", "ten") for party in heard_by]
        assert not desk.told(Released)


async def test_without_sounds_a_warning_is_a_tone_over_the_talk(desk: Desk) -> None:
    call = await desk.answered()
    await desk.switch.warn(desk.key(call), 60, WarnTo.CALLER)
    assert [warning.sound for warning in call.warnings] == [BEEP]
    assert desk.asked("uuid_displace") == [f"uuid_displace {call.uuid} start {BEEP} 0 mux"]


async def test_nobody_is_warned_before_the_answer(desk: Desk) -> None:
    call = await desk.in_state("ringing")
    await desk.switch.warn(desk.key(call), 60, WarnTo.BOTH)
    assert not desk.asked("uuid_displace")


@pytest.mark.parametrize("state", ["offered", "ringing", "answered"])
async def test_a_call_is_hung_up_in_any_state(desk: Desk, state: str) -> None:
    call = await desk.in_state(state)
    await desk.switch.hang_up(desk.key(call), 42)
    outcome = await call.outcome()
    assert (outcome.ended_by, outcome.cause) == (EndedBy.CONTROLLER, "SWITCH_CONGESTION")
    await until(lambda: desk.told(Released))
    assert (desk.told(Released)[0].answered_at is not None) == (state == "answered")


async def test_who_rang_for_too_long_sees_480(desk: Desk) -> None:
    call = await desk.in_state("ringing")
    await desk.switch.hang_up(desk.key(call), 102)
    assert (await call.outcome()).sip == 480


async def command_all(desk: Desk, key: CallKey) -> list[Any]:
    """The outcome of every command."""
    switch = desk.switch
    commands = [
        switch.admit(key, granted_s=10, setup_s=60, b_number=NUMBER, account="acme"),
        switch.reject(key, NO_CREDIT),
        switch.arm(key, 1000),
        switch.warn(key, 60, WarnTo.BOTH),
        switch.hang_up(key, 16),
    ]
    return await asyncio.gather(*commands, return_exceptions=True)


async def test_a_leg_that_is_gone_is_no_failure(desk: Desk) -> None:
    call = await desk.answered()
    call.hang_up()
    await until(lambda: desk.told(Released))
    assert await command_all(desk, desk.key(call)) == [None] * 5


async def test_nor_is_one_whose_end_nobody_has_told(desk: Desk) -> None:
    call = await desk.answered()
    desk.simulator.faults.lose = frozenset({"CHANNEL_HANGUP_COMPLETE"})
    call.hang_up()
    await call.outcome()
    assert await command_all(desk, desk.key(call)) == [None] * 5


async def test_what_the_switch_refuses_is_a_failure(desk: Desk) -> None:
    call = await desk.answered()
    desk.simulator.faults.fail_api = frozenset(
        {"uuid_setvar_multi", "uuid_transfer", "uuid_kill", "uuid_displace", "sched_api", "show"}
    )
    outcomes = await command_all(desk, desk.key(call))
    assert [type(outcome) for outcome in outcomes] == [SwitchUnavailable] * 5
    with pytest.raises(SwitchUnavailable, match="no list"):
        await desk.switch.live_calls()


@pytest.mark.parametrize("value", ["1\n\napi hupall", "1 XML default", "", "1\x00", "1\u2028\r\n"])
async def test_a_value_that_would_be_another_command_is_refused(desk: Desk, value: str) -> None:
    call = await desk.gated()
    with pytest.raises(SwitchUnavailable):
        await desk.switch.admit(desk.key(call), granted_s=1, setup_s=1, b_number=value, account="a")
    with pytest.raises(SwitchUnavailable):
        await desk.switch.admit(desk.key(call), granted_s=1, setup_s=1, b_number="1", account=f"a;b{value}")
    assert not call.is_over
    assert not desk.asked("hupall")


async def test_nobody_touches_an_emergency_call(desk: Desk) -> None:
    call = desk.simulator.place_call(Script(caller="1", called="112", ring_s=0.1))
    await until(lambda: desk.told(Answered))
    (offered,) = desk.told(Offered)
    assert (offered.b_number, offered.emergency) == ("112", True)
    assert await command_all(desk, desk.key(call)) == [None] * 5
    await desk.simulator.drop_links()
    await until(lambda: desk.relinked == 2)
    assert await command_all(desk, desk.key(call)) == [None] * 5
    async with at(desk.simulator) as after:  # also one that has never seen its beginning
        await until(lambda: after.relinked)
        assert await command_all(after, desk.key(call)) == [None] * 5
    assert (call.warnings, call.is_over, desk.simulator.core.tasks) == ([], False, [])


# -------------------------------------------------------------------- legs that are sent on


async def test_a_callee_sent_on_by_a_customer_is_a_call_of_the_customers(desk: Desk) -> None:
    call = await desk.answered()
    await desk.switch.arm(desk.key(call), 500_000)
    carrier = call.callee
    assert carrier is not None
    call.refer(EndedBy.CALLER, "0687654321")
    await until(lambda: len(desk.told(Offered)) == 2)
    again = desk.told(Offered)[1]
    assert (again.call.call_id, again.account, again.b_number) == (carrier.uuid, "acme", "0687654321")
    await call.outcome()
    assert not desk.told(Released)  # the carrier leg of the first call is up, and paid for
    await desk.switch.admit(again.call, granted_s=60, setup_s=60, b_number=NUMBER, account="acme")
    await until(lambda: len(desk.told(Answered)) == 2)
    (first, second) = await desk.switch.live_calls()
    assert {first.call, second.call} == {desk.key(call), again.call}
    async with at(desk.simulator) as after:  # and who has not seen it happen knows as much
        await until(lambda: after.relinked)
        assert {seen.call: seen.answered_at is not None for seen in await after.switch.live_calls()} == {
            desk.key(call): True,
            again.call: True,
        }
    carrier.end("NORMAL_CLEARING", EndedBy.CALLEE, "recv_bye")
    await until(lambda: len(desk.told(Released)) == 2)
    ends = {released.call: released for released in desk.told(Released)}
    assert ends[desk.key(call)].at.wall_ms == carrier.ended_us // 1000
    await until(lambda: not desk.simulator.core.tasks)


async def test_a_caller_sent_on_by_a_carrier_is_paid_by_nobody(desk: Desk) -> None:
    call = await desk.answered()
    call.refer(EndedBy.CALLEE, "0687654321")
    await until(lambda: len(desk.told(Offered)) == 2)
    again = desk.told(Offered)[1]
    assert (again.call.call_id, again.account, again.trunk, again.source_ip) == (f"{call.uuid}-2", None, None, None)
    assert again.a_number == ""
    (released,) = desk.told(Released)
    assert call.callee is not None
    assert (released.call, released.at.wall_ms) == (desk.key(call), call.callee.ended_us // 1000)
    await desk.switch.reject(again.call, REFUSALS[Refusal.UNKNOWN_ACCOUNT])
    await call.outcome()
    await until(lambda: len(desk.told(Released)) == 2)


async def test_a_caller_from_outside_sent_on_by_a_customer_is_paid_by_the_customer(desk: Desk) -> None:
    call = await desk.answered(Script(caller="1", called="31201234567", direction="inbound", ring_s=0.1))
    call.refer(EndedBy.CALLEE, "0687654321")
    await until(lambda: len(desk.told(Offered)) == 2)
    again = desk.told(Offered)[1]
    assert (again.account, again.direction) == ("acme", Direction.OUTBOUND)
    await desk.switch.admit(again.call, granted_s=60, setup_s=60, b_number=NUMBER, account="acme")
    await until(lambda: len(desk.told(Answered)) == 2)
    assert desk.told(Answered)[1].at.wall_ms > desk.told(Answered)[0].at.wall_ms
    call.hang_up()
    await until(lambda: len(desk.told(Released)) == 2)
    ends = {released.call.call_id: released for released in desk.told(Released)}
    assert set(ends) == {call.uuid, f"{call.uuid}-2"}
    assert ends[f"{call.uuid}-2"].at.wall_ms == call.caller.ended_us // 1000


async def test_a_call_that_nobody_answers_and_that_the_switch_sends_on_is_another(desk: Desk) -> None:
    call = await desk.in_state("ringing")
    call.move_on("0687654321")
    await until(lambda: len(desk.told(Offered)) == 2)
    assert [event.call.call_id for event in desk.told(Released)] == [call.uuid]
    assert desk.told(Offered)[1].call.call_id == f"{call.uuid}-2"
    assert desk.told(Offered)[1].account == "acme"


@pytest.mark.parametrize("is_told", [True, False])
async def test_attended_transfer_leaves_both_calls_charged_to_their_ends(desk: Desk, is_told: bool) -> None:
    """Also where the end of a leg does not tell of it: FreeSWITCH may end the second one before it says so."""
    first, second = await desk.answered(), await desk.answered()
    for call in (first, second):
        await desk.switch.arm(desk.key(call), 500_000)
    desk.simulator.attended_transfer(first, second, is_told=is_told)
    await first.outcome()
    await second.outcome()
    left_us = desk.simulator.core.now_us()
    await until(lambda: desk.simulator.core.now_us() > left_us + 2_000_000)
    assert not desk.told(Released)
    assert len(await desk.switch.live_calls()) == 2
    assert first.callee is not None
    assert second.callee is not None
    second.callee.end("NORMAL_CLEARING", EndedBy.CALLEE, "recv_bye")
    await until(lambda: len(desk.told(Released)) == 2)
    ends = {released.call: released.at.wall_ms for released in desk.told(Released)}
    assert ends == {desk.key(call): call.callee.ended_us // 1000 for call in (first, second) if call.callee}


ENDS = frozenset({"CHANNEL_HANGUP_COMPLETE"})


@pytest.mark.parametrize("loses", [(frozenset(), ENDS), (ENDS, frozenset())], ids=["carrier's", "caller's"])
async def test_the_end_of_a_leg_that_is_not_told_keeps_no_call(loses: tuple[frozenset[str], frozenset[str]]) -> None:
    """Nor does it wait for a heartbeat."""
    async with laid(setup=Setup(heartbeat_ms=3_600_000)) as desk:
        call = await desk.answered()
        desk.simulator.faults.lose, then = loses

        def another_is_lost(headers: Mapping[str, object], _: str) -> None:
            if headers["Event-Name"] in ENDS:
                desk.simulator.faults.lose = then

        desk.simulator.core.listeners.append(another_is_lost)
        call.hang_up()
        outcome = await call.outcome()
        await until(lambda: desk.told(Released))
        (answered,), (released,) = desk.told(Answered), desk.told(Released)
        assert released.stated
        assert abs(released.at.wall_ms - answered.at.wall_ms - outcome.billed_us // 1000) <= BOTH_ENDS_WITHIN_MS
        assert released.released_by is ReleasedBy.CALLER


async def test_the_note_of_who_has_left_a_call_is_not_that_of_its_end(desk: Desk) -> None:
    """Its carrier leg talks on, and ends while the link is down."""
    calls = [await desk.answered(), await desk.answered()]
    desk.simulator.attended_transfer(*calls)
    for call in calls:
        await call.outcome()
    left_us = desk.simulator.core.now_us()
    await until(lambda: desk.simulator.core.now_us() > left_us + 2_000_000)
    assert len(await desk.switch.live_calls()) == 2
    await desk.simulator.stop_listening()
    await desk.simulator.drop_links()
    callee = calls[0].callee
    assert callee is not None
    callee.end("NORMAL_CLEARING", EndedBy.CALLEE, "recv_bye")
    await until(lambda: all(call.callee and call.callee.ended_us for call in calls))
    await desk.simulator.listen_again()
    await until(lambda: desk.relinked == 2)
    assert await desk.switch.live_calls() == []
    assert not desk.told(Released)  # so they have lasted until now, at most for their grants
    await until(lambda: not desk.simulator.core.tasks)


@pytest.mark.parametrize("early_media", [False, True])
async def test_a_talk_past_the_gate_is_ended(desk: Desk, early_media: bool) -> None:
    """By a dialplan of the installation's own, that does not ask."""
    call = await desk.answered(Script(caller="1", called="2", ring_s=1, early_media=early_media))
    call.caller.variables["callctl_go"] = "yes"
    call.move_on("0687654321")
    await until(lambda: desk.asked("uuid_kill"))
    stray = call.legs[-1]
    assert desk.asked("uuid_kill") == [f"uuid_kill {stray.uuid} OUTGOING_CALL_BARRED"]
    await until(lambda: desk.told(Released))
    assert desk.told(Released)[0].at.wall_ms == call.legs[1].ended_us // 1000


# -------------------------------------------------------------------- the socket mode


async def test_calls_may_come_by_the_socket_application() -> None:
    port = free_port(socket.SOCK_STREAM)
    gate = (f"127.0.0.1:{port}",)
    async with laid(setup=Setup(gate=("127.0.0.1:1", *gate)), listen=("127.0.0.1", port)) as desk:
        await until(lambda: desk.switch._gate and desk.switch._gate.is_listening)
        assert desk.switch.state().up
        call = await desk.answered(Script(caller="1", called="2", account="acme", ring_s=0.1, talk_s=3))
        assert len(desk.told(Offered)) == 1
        outcome = await call.outcome()
        await until(lambda: desk.told(Released))
        (answered,), (released,) = desk.told(Answered), desk.told(Released)
        assert released.at.wall_ms - answered.at.wall_ms == outcome.billed_us // 1000


@pytest.mark.parametrize(
    "said",
    [
        b"Unique-ID: 27760a05-46ad-494f-a14f-bece41115e99\nvariable_current_application: socket\n\n",
        b"Unique-ID: x%0A%0Aapi hupall\n\n",
        b"Content-Length: lots\n\n",
        b"\xff\xfe\n\n",
        b"",
    ],
)
async def test_nobody_is_believed_at_the_gate_but_the_switch(said: bytes) -> None:
    port = free_port(socket.SOCK_STREAM)
    async with laid(setup=Setup(gate=(f"127.0.0.1:{port}",)), listen=("127.0.0.1", port)) as desk:
        await until(lambda: desk.switch._gate and desk.switch._gate.is_listening)
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        assert await reader.readexactly(9) == b"connect\n\n"
        writer.write(said)
        if said:
            await writer.drain()
        call = await desk.gated()
        assert [offered.call for offered in desk.told(Offered)] == [desk.key(call)]
        assert not desk.asked("hupall")
        writer.close()


async def test_who_knocks_late_is_no_second_call() -> None:
    """The link has told of it before, and it is on its way already."""
    port = free_port(socket.SOCK_STREAM)
    async with laid(setup=Setup(gate=(f"127.0.0.1:{port}",)), listen=("127.0.0.1", port)) as desk:
        await until(lambda: desk.switch._gate and desk.switch._gate.is_listening)
        call = await desk.gated(Script(caller="1", called="2", ring_s=0.1))
        await asyncio.gather(desk.admit(desk.key(call)), desk.switch._look_at(call.uuid))
        await until(lambda: desk.told(Answered))
        assert [type(event) for event in desk.events if not isinstance(event, Alerting)] == [Offered, Answered]


async def test_a_gate_without_callctl_refuses_at_once() -> None:
    async with laid(setup=Setup(gate=("127.0.0.1:1",))) as desk:
        call = desk.simulator.place_call(SCRIPT)
        assert (await call.outcome()).sip == 503


async def test_a_gate_without_a_link_takes_no_call() -> None:
    port = free_port(socket.SOCK_STREAM)
    async with laid(setup=Setup(gate=(f"127.0.0.1:{port}",)), listen=("127.0.0.1", port)) as desk:
        await until(lambda: desk.switch._gate and desk.switch._gate.is_listening)
        await desk.simulator.stop_listening()
        await desk.simulator.drop_links()
        await until(lambda: not desk.switch.state().up)
        call = desk.simulator.place_call(SCRIPT)
        assert (await call.outcome()).sip == 503
        assert not desk.told(Offered)


async def test_without_a_link_the_next_of_the_list_is_asked() -> None:
    """FreeSWITCH asks nobody else where somebody has listened."""
    asked = asyncio.Event()

    async def other(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.set()
        writer.close()

    server = await asyncio.start_server(other, "127.0.0.1", 0)
    port = free_port(socket.SOCK_STREAM)
    gate = tuple(f"127.0.0.1:{each}" for each in (port, server.sockets[0].getsockname()[1]))
    async with server, laid(setup=Setup(gate=gate), listen=("127.0.0.1", port)) as desk:
        await until(lambda: desk.switch._gate and desk.switch._gate.is_listening)
        await desk.gated()
        assert not asked.is_set()
        await desk.simulator.stop_listening()
        await desk.simulator.drop_links()
        await until(lambda: desk.switch._gate and not desk.switch._gate.is_listening)
        desk.simulator.place_call(SCRIPT)
        await asyncio.wait_for(asked.wait(), PATIENCE_S)


# -------------------------------------------------------------------- the link


@pytest.mark.parametrize("state", ["offered", "ringing", "answered"])
async def test_a_call_survives_the_loss_of_the_link(desk: Desk, state: str) -> None:
    call = await desk.in_state(state)
    await desk.simulator.drop_links()
    await until(lambda: desk.relinked == 2)
    (seen,) = await desk.switch.live_calls()
    assert seen.call == desk.key(call)
    assert (seen.answered_at is not None) == (state == "answered")
    if state == "offered":
        await desk.admit(seen.call)
        await until(lambda: desk.told(Answered))
    await desk.switch.hang_up(seen.call, 16)
    await until(lambda: desk.told(Released))


async def test_a_call_that_came_while_the_link_was_down_is_offered_after_it(desk: Desk) -> None:
    await desk.simulator.stop_listening()
    await desk.simulator.drop_links()
    await until(lambda: not desk.switch.state().up)
    call = desk.simulator.place_call(SCRIPT)
    await desk.simulator.core.clock.sleep_ms(desk.simulator.core.setup.list_lag_ms)
    await desk.simulator.listen_again()
    await until(lambda: desk.told(Offered))
    assert desk.told(Offered)[0].call == desk.key(call)


UNHEARD = Script(caller="1", called="2", ring_s=4, talk_s=2)


async def test_a_call_wholly_within_an_outage_is_told_of(desk: Desk) -> None:
    """The scheduler has noted that it was answered and has ended, and in which second."""
    call = await desk.admitted(UNHEARD)
    await desk.simulator.stop_listening()
    await desk.simulator.drop_links()
    await call.outcome()
    assert not desk.told(Answered)
    with capture_logs() as logs:
        await desk.simulator.listen_again()
        await until(lambda: desk.relinked == 2)
    await has_read_the_notes(desk, call)
    assert ("freeswitch_answered_unseen", call.uuid) in [(log["event"], log.get("call_id")) for log in logs]


async def test_a_call_wholly_between_two_processes_is_told_of() -> None:
    async with EslSimulator("ClueCon", clock=ScaledClock(PatientClock(), SPEED)) as simulator:
        async with at(simulator) as before:
            await until(lambda: before.relinked)
            call = await before.admitted(UNHEARD)
        await call.outcome()
        assert not before.told(Answered)
        async with at(simulator) as after:
            await until(lambda: after.relinked)
            await has_read_the_notes(after, call)


async def has_read_the_notes(desk: Desk, call: SimCall) -> None:
    outcome = await call.outcome()
    ((answered,), (released,)) = desk.told(Answered), desk.told(Released)
    assert (answered.call, released.call, released.estimated) == (desk.key(call), desk.key(call), True)
    assert 0 < answered.at.wall_ms - outcome.answered_us // 1_000 <= 1_100
    assert 0 < released.at.wall_ms - outcome.ended_us // 1_000 <= 1_100
    assert released.answered_at == answered.at
    assert await desk.switch.live_calls() == []
    assert desk.switch.counts.unseen_answers == 1
    await until(lambda: not desk.simulator.core.tasks)


async def test_the_end_of_a_call_taken_over_is_understood() -> None:
    """By an adapter that has never seen its beginning, as after a restart."""
    async with laid() as before:
        call = await before.answered()
        await before.switch.arm(before.key(call), 400_000)
        async with at(before.simulator) as after:
            await until(lambda: after.relinked)
            (seen,) = await after.switch.live_calls()
            assert seen.answered_at is not None
            assert seen.answered_at.wall_ms == call.caller.answered_us // 1000
            await after.switch.arm(seen.call, 500_000)
            assert tasks(after, call) == [("ours", "callee"), ("ours", "caller")]  # the former process's are gone
            call.hang_up()
            await until(lambda: before.told(Released) and after.told(Released))
            ((ours,), (theirs,)) = after.told(Released), before.told(Released)
            assert (ours.at.wall_ms, ours.released_by) == (theirs.at.wall_ms, theirs.released_by)
            assert ours.answered_at.wall_ms == theirs.answered_at.wall_ms


async def test_a_call_taken_over_has_lasted_as_long_as_the_switch_says() -> None:
    """Though nothing has told before how its clock stands to ours: else the call would have its grant once more."""
    clock, soon = PatientClock(), Script(caller="1", called="2", ring_s=0)
    async with EslSimulator("ClueCon", clock=clock, setup=Setup(heartbeat_ms=3_600_000)) as simulator:
        async with at(simulator) as before:
            await until(lambda: before.relinked)
            call = await before.answered(soon)
            await until(lambda: clock.now().wall_ms - call.caller.answered_us // 1000 > 300)
        async with at(simulator, list_lag_ms=250) as after:
            await until(lambda: after.relinked)
            (seen,) = await after.switch.live_calls()
            assert seen.answered_at is not None
            assert seen.at.since_ms(seen.answered_at) > 250  # the clock ticks every 20 ms


async def test_tasks_of_calls_long_gone_are_removed_at_the_start(desk: Desk) -> None:
    desk.simulator.core.schedule("+3600", "callctl-17-27760a05-46ad-494f-a14f-bece41115e99", "uuid_kill x")
    desk.simulator.core.schedule("+3600", "mod_hash", "status")
    async with at(desk.simulator) as after:
        await until(lambda: after.relinked)
        assert [task.group for task in desk.simulator.core.tasks] == ["mod_hash"]


async def test_what_ended_while_the_link_was_down_is_not_listed(desk: Desk) -> None:
    """But it has left a note of when."""
    call = await desk.answered()
    await desk.simulator.stop_listening()
    await desk.simulator.drop_links()
    await until(lambda: not desk.switch.state().up)
    call.hang_up()
    outcome = await call.outcome()
    await desk.simulator.listen_again()
    await until(lambda: desk.relinked == 2)  # though the list, which is late, may have it still
    assert await desk.switch.live_calls() == []
    (released,) = desk.told(Released)
    assert (released.call, released.estimated) == (desk.key(call), True)
    assert 0 < released.at.wall_ms - outcome.ended_us // 1_000 <= 1_100
    await until(lambda: not desk.simulator.core.tasks)


@pytest.mark.parametrize("lag_ms", [0, 60_000])
async def test_the_lag_of_the_list_hides_nothing(lag_ms: int) -> None:
    async with laid(setup=Setup(list_lag_ms=lag_ms)) as desk:
        call = await desk.answered()
        (seen,) = await desk.switch.live_calls()
        assert (seen.call, seen.answered_at is not None) == (desk.key(call), True)
        call.hang_up()
        await until(lambda: desk.told(Released))
        assert await desk.switch.live_calls() == []


async def test_without_a_link_every_command_fails_at_once(desk: Desk) -> None:
    call = await desk.answered()
    await desk.simulator.stop_listening()
    await desk.simulator.drop_links()
    await until(lambda: not desk.switch.state().up)
    outcomes = await command_all(desk, desk.key(call))
    assert [type(outcome) for outcome in outcomes] == [SwitchUnavailable] * 5
    with pytest.raises(SwitchUnavailable):
        await desk.switch.live_calls()
    await desk.simulator.listen_again()
    await until(lambda: desk.relinked == 2)
    assert not call.is_over  # nothing of it is sent later
    assert call.warnings == []


@pytest.mark.parametrize("cleanly", [True, False])
async def test_a_restart_of_the_switch_leaves_no_call(desk: Desk, cleanly: bool) -> None:
    call = await desk.answered()
    await desk.simulator.restart(cleanly=cleanly)
    await until(lambda: desk.relinked == 2)
    assert await desk.switch.live_calls() == []
    (released,) = desk.told(Released)
    assert (released.call, released.estimated) == (desk.key(call), not cleanly)
    assert released.answered_at is not None
    call = await desk.answered()
    assert not call.is_over


async def test_a_frozen_switch_is_noticed() -> None:
    times = LinkTimes(command_ms=100, ping_every_ms=50, ping_answer_ms=50, connect_ms=200, tick_ms=5, retry_first_ms=10)
    async with laid(times=times) as desk:
        call = await desk.answered()
        desk.simulator.freeze()
        with pytest.raises(SwitchUnavailable):
            await desk.switch.hang_up(desk.key(call), 16)
        await until(lambda: not desk.switch.state().up)
        assert desk.switch.state().detail
        desk.simulator.thaw()
        await until(lambda: desk.relinked == 2)
        assert desk.switch.state().up


async def test_a_list_that_fails_is_asked_for_again() -> None:
    async with laid(wait=False) as desk:
        desk.simulator.faults.fail_api = frozenset({"show"})
        await until(lambda: desk.asked("show"))
        assert desk.relinked == 0
        desk.simulator.faults.fail_api = frozenset()
        await until(lambda: desk.relinked == 1)


@pytest.mark.parametrize("user", ["", "meter@rig"])
async def test_a_wrong_password_is_said_once_and_loudly(user: str) -> None:
    with capture_logs() as logs:
        async with laid(secret="wrong", user=user, wait=False) as desk:
            await until(lambda: "refused" in desk.switch.state().detail)
            assert not desk.switch.state().up
            with pytest.raises(SwitchUnavailable, match="login refused"):
                await desk.switch.live_calls()
            assert desk.simulator.logins == 1
    assert [(log["event"], log["log_level"]) for log in logs] == [("freeswitch_login_refused", "error")]
    assert "wrong" not in str(logs)


async def test_a_user_of_its_own_may_log_in() -> None:
    async with laid(secret="pw", user="meter@rig") as desk:
        assert not (await desk.answered()).is_over


async def test_a_user_that_could_never_extend_a_call_is_not_worked_with() -> None:
    """FreeSWITCH takes the time in `sched_api +60 ...` for a command, and no list has it."""
    with capture_logs() as logs:
        async with laid(secret="pw", user="few@rig", wait=False) as desk:
            await until(lambda: "esl-allowed-api" in desk.switch.state().detail)
            assert not desk.switch.state().up
    assert [(log["event"], log["log_level"]) for log in logs] == [("freeswitch_login_refused", "error")]
