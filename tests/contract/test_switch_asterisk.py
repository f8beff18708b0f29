"""`AsteriskSwitch` as the port of a switch, over a simulated Asterisk: every command, every way to lose the link."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from msgspec.structs import replace
from structlog.testing import capture_logs

from callctl.accounts import WarnTo
from callctl.adapters.asterisk import rights
from callctl.adapters.asterisk.link import LinkTimes
from callctl.adapters.asterisk.rights import CHECK, NO_CALLS, NO_COMMANDS, NO_FILTER, NO_OFFERS, SHARED
from callctl.adapters.asterisk.switch import LATE_MS, AsteriskSwitch
from callctl.adapters.asterisk.translate import Translator
from callctl.adapters.asterisk.wire import Message
from callctl.adapters.switch_time import MOST_DISORDER_MS, SwitchTime
from callctl.call.events import Alerting, Answered, CallEvent, CallKey, Offered, Released, ReleasedBy
from callctl.causes import REFUSALS, Cause, Refusal, cause_of
from callctl.errors import SwitchUnavailable
from callctl.rating.tariff import Direction
from callctl.simulators.ami import AmiSimulator, EndedBy, Script, Setup, SimCall, User
from callctl.simulators.ami.actions import Rule
from callctl.simulators.ami.channel import RING
from callctl.simulators.scaled_clock import ScaledClock
from tests.patient import PatientClock
from tests.waiting import until

NUMBER = "+31612345678"
SPEED = 20
SCRIPT = Script(caller="+31201234567", called="0612345678", account="acme", endpoint="acme-pbx", ring_s=1)
RINGS = Script(caller="+31201234567", called="0612345678", account="acme", ring_s=600)
SOON = LinkTimes(retry_first_ms=10, retry_longest_ms=20, tick_ms=5)
NO_CREDIT = REFUSALS[Refusal.NO_CREDIT]


class Desk:
    """A simulated switch, our adapter on it, and all that the adapter reported."""

    def __init__(self, simulator: AmiSimulator, switch: AsteriskSwitch) -> None:
        self.simulator = simulator
        self.switch = switch
        self.events: list[CallEvent] = []
        self.relinked = 0

    def has_relinked(self) -> None:
        self.relinked += 1

    def told(self, kind: type[CallEvent]) -> list[Any]:
        return [event for event in self.events if isinstance(event, kind)]

    def key(self, call: SimCall) -> CallKey:
        return CallKey("pbx1", call.uniqueid)

    async def gated(self, script: Script = SCRIPT) -> SimCall:
        call = self.simulator.place_call(script)
        await until(lambda: any(event.call == self.key(call) for event in self.told(Offered)))
        return call

    async def admitted(self, script: Script = SCRIPT, *, granted_s: int = 600, account: str = "acme") -> SimCall:
        call = await self.gated(script)
        await self.switch.admit(self.key(call), granted_s=granted_s, setup_s=120, b_number=NUMBER, account=account)
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
async def laid(
    *, user: User | None = None, setup: Setup | None = None, wait: bool = True, **options: Any
) -> AsyncIterator[Desk]:
    """Time in the switch runs twenty times as fast as in the link."""
    clock = ScaledClock(PatientClock(), SPEED)
    async with (
        AmiSimulator({"ccgate": user or User("pw")}, clock=clock, setup=setup or Setup()) as simulator,
        at(simulator, **options) as desk,
    ):
        if wait:
            await until(lambda: desk.relinked)
        yield desk


@asynccontextmanager
async def at(simulator: AmiSimulator, **options: Any) -> AsyncIterator[Desk]:
    """An adapter on a simulator; whether it is connected yet is for the test to see."""
    known = {"username": "ccgate", "secret": "pw", "clock": PatientClock(), "times": SOON, **options}
    desk = Desk(simulator, AsteriskSwitch(name="pbx1", host="127.0.0.1", port=simulator.port, **known))
    running = asyncio.create_task(desk.switch.run(desk.events.append, desk.has_relinked))
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


async def test_an_offer_says_who_calls_whom_and_who_may_pay(desk: Desk) -> None:
    call = await desk.gated()
    (offered,) = desk.told(Offered)
    assert offered.call == desk.key(call)
    assert (offered.a_number, offered.b_number, offered.account) == ("+31201234567", "0612345678", "acme")
    assert (offered.direction, offered.source_ip, offered.trunk) == (Direction.OUTBOUND, "192.0.2.10", None)
    assert (offered.attended, offered.can_extend) == (True, True)


async def test_an_endpoint_that_is_a_trunk_is_named() -> None:
    async with laid(is_trunk=lambda endpoint: endpoint == "acme-pbx") as desk:
        await desk.gated(Script(caller="1", called="2", endpoint="acme-pbx"))
        (offered,) = desk.told(Offered)
        assert (offered.account, offered.trunk) == (None, "acme-pbx")


async def test_a_talk_is_reported_by_the_switchs_clock(desk: Desk) -> None:
    script = Script(caller="1", called="2", ring_s=1, talk_s=2, hung_up_by=EndedBy.CALLEE)
    call = await desk.admitted(script)
    outcome = await call.outcome()
    await until(lambda: desk.told(Released))
    (alerting,), (answered,), (released,) = desk.told(Alerting), desk.told(Answered), desk.told(Released)
    assert alerting.at.wall_ms <= answered.at.wall_ms
    assert (answered.stated, answered.trunk_out) == (True, "carrier-a")
    assert answered.at.wall_ms == (outcome.answered_us or 0) // 1000
    assert (released.released_by, released.q850, released.stated) == (ReleasedBy.CALLEE, 16, True)
    assert released.at.wall_ms - answered.at.wall_ms >= 2000
    assert released.answered_at == answered.at


@pytest.mark.parametrize("lost", ["DialEnd", "DialBegin", "DialState", "HangupRequest", "BridgeEnter", "Newchannel"])
async def test_a_lost_kind_of_event_hides_no_talk(desk: Desk, lost: str) -> None:
    desk.simulator.faults.lose = frozenset({lost})
    call = await desk.admitted(Script(caller="1", called="2", ring_s=0.1, talk_s=1))
    await call.outcome()
    await until(lambda: desk.told(Released))
    assert len(desk.told(Answered)) == 1


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
async def test_an_old_asterisk_refuses_by_the_nearest_cause(refusal: Refusal) -> None:
    async with laid(setup=Setup(release=16)) as desk:
        for _ in range(2):  # the second time it is known what this Asterisk cannot do
            call = await desk.gated()
            await desk.switch.reject(desk.key(call), cause_of(refusal))
            wanted = cause_of(refusal).sip
            assert (await call.outcome()).sip == (403 if wanted == 402 else wanted)


async def test_a_channel_that_is_not_sip_is_refused_by_cause(desk: Desk) -> None:
    call = desk.simulator.place_call(SCRIPT)
    call.caller.name = "IAX2/acme-1"
    await until(lambda: desk.told(Offered))
    await desk.switch.reject(desk.key(call), NO_CREDIT)
    assert (await call.outcome()).sip == 403


async def test_a_refusal_is_told_where_there_is_a_sound_for_it() -> None:
    async with laid(announcements={"no-credit": "callctl/no-credit"}) as desk:
        call, other = await desk.gated(), await desk.gated()
        await desk.switch.reject(desk.key(call), NO_CREDIT)
        await desk.switch.reject(desk.key(other), REFUSALS[Refusal.NO_RATE])
        outcome = await call.outcome()
        assert (outcome.sip, outcome.announcement) == (402, "callctl/no-credit")
        outcome = await other.outcome()
        assert (outcome.sip, outcome.announcement) == (404, "")


# -------------------------------------------------------------------- yes


async def test_an_admitted_call_has_a_limit_to_ring_and_its_grant_from_the_answer(desk: Desk) -> None:
    call = await desk.answered(granted_s=30)
    assert call.callee is not None
    limits = [(limit.channel, limit.seconds) for limit in call.limits]
    assert limits == [(call.caller.name, 120), (call.callee.name, 29.95), (call.caller.name, 29.95)]
    assert call.caller.exten == NUMBER
    outcome = await call.outcome()
    assert outcome.ended_by is EndedBy.LIMIT
    assert outcome.talked_ms >= 29_950
    await until(lambda: desk.told(Released))


@pytest.mark.parametrize(("waited_ms", "before"), [(0, "Status"), (LATE_MS + 100, "Ping")])
async def test_a_late_yes_hears_first_what_was_told_meanwhile(waited_ms: int, before: str) -> None:
    """The call may have gone on without us, and must not be dialled twice."""
    async with laid(setup=Setup(gate_ms=600_000)) as desk:
        call = await desk.gated()
        await PatientClock().sleep_ms(waited_ms)
        await desk.switch.admit(desk.key(call), granted_s=600, setup_s=120, b_number=NUMBER, account="acme")
        asked = [action["Action"] for action in desk.simulator.actions.asked]
        asked = [action for action in asked if action not in ("ListCommands", "UserEvent")]
        assert asked[asked.index("Setvar") - 1] == before


async def test_an_inbound_call_goes_to_the_endpoint_of_its_account(desk: Desk) -> None:
    call = await desk.answered(Script(caller="1", called="31201234567", direction="inbound", ring_s=0.1))
    assert call.callee is not None
    assert call.callee.name.startswith("PJSIP/acme-")
    assert desk.told(Offered)[0].direction is Direction.INBOUND


async def test_both_legs_are_armed_to_the_millisecond(desk: Desk) -> None:
    call = await desk.answered()
    await desk.switch.arm(desk.key(call), 12_345)
    assert call.callee is not None
    armed = {(limit.channel, limit.seconds) for limit in call.limits[-2:]}
    assert armed == {(call.caller.name, 12.295), (call.callee.name, 12.295)}
    await desk.switch.arm(desk.key(call), 0)
    assert (await call.outcome()).ended_by is EndedBy.LIMIT
    await until(lambda: desk.told(Released))
    assert desk.told(Released)[0].released_by is ReleasedBy.CALLCTL


async def test_commands_to_a_call_are_carried_out_in_their_order(desk: Desk) -> None:
    call = await desk.answered()
    key = desk.key(call)
    await asyncio.gather(*[desk.switch.arm(key, seconds * 1000) for seconds in range(100, 120)])
    armed = [limit.seconds for limit in call.limits if limit.channel == call.caller.name]
    assert armed[2:] == [seconds - 0.05 for seconds in range(100, 120)]  # after the limit to ring and the grant


@pytest.mark.parametrize("to", WarnTo)
async def test_a_warning_is_for_whom_it_is_meant(to: WarnTo) -> None:
    async with laid(sounds={60: "sixty", 30: "thirty", 10: "ten"}) as desk:
        call = await desk.answered()
        for left_s in (61, 29, 11, 1):
            await desk.switch.warn(desk.key(call), left_s, to)
        await until(lambda: len(call.warnings) == 4)
        assert [(warning.to, warning.sound) for warning in call.warnings] == [
            (to, "sixty"),
            (to, "thirty"),
            (to, "ten"),
            (to, "ten"),
        ]
        assert not desk.told(Released)


async def test_without_sounds_a_warning_is_a_beep(desk: Desk) -> None:
    call = await desk.answered()
    await desk.switch.warn(desk.key(call), 60, WarnTo.CALLER)
    await until(lambda: call.warnings)
    assert call.warnings[0].sound == "beep"


@pytest.mark.parametrize("state", ["offered", "ringing", "answered"])
async def test_a_call_is_hung_up_in_any_state(desk: Desk, state: str) -> None:
    call = await desk.in_state(state)
    await desk.switch.hang_up(desk.key(call), 42)
    outcome = await call.outcome()
    assert (outcome.ended_by, outcome.q850) == (EndedBy.CONTROLLER, 42)
    await until(lambda: desk.told(Released))
    assert (desk.told(Released)[0].answered_at is not None) == (state == "answered")


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


async def test_a_channel_that_is_gone_is_no_failure(desk: Desk) -> None:
    call = await desk.answered()
    call.hang_up()
    await until(lambda: desk.told(Released))
    assert await command_all(desk, desk.key(call)) == [None] * 5


async def test_a_channel_that_is_about_to_go_is_no_failure(desk: Desk) -> None:
    """As a real Asterisk 22 says it of a caller that has just cancelled."""
    call = await desk.gated()
    says = Rule(frozenset(), lambda action: action.error("Redirect failed, channel not up."))
    desk.simulator.actions._rules["Redirect"] = says
    await desk.switch.admit(desk.key(call), granted_s=60, setup_s=120, b_number=NUMBER, account="acme")


async def test_what_the_switch_refuses_is_a_failure() -> None:
    async with laid() as desk:
        call = await desk.gated()
        desk.simulator._server.users["ccgate"] = User("pw", write=frozenset())
        await desk.simulator.drop_links()
        await until(lambda: desk.switch.counts.connections == 2)
        outcomes = await command_all(desk, desk.key(call))
        assert [type(outcome) for outcome in outcomes] == [SwitchUnavailable] * 5
        with pytest.raises(SwitchUnavailable, match="Permission denied"):
            await desk.switch.live_calls()


async def test_a_value_that_would_be_another_header_is_refused(desk: Desk) -> None:
    call = await desk.gated()
    with pytest.raises(SwitchUnavailable, match="control character"):
        await desk.switch.admit(desk.key(call), granted_s=1, setup_s=1, b_number="1\r\nAction: X", account="a")
    assert not call.is_over


async def test_nobody_touches_an_emergency_call(desk: Desk) -> None:
    call = desk.simulator.place_call(Script(caller="1", called="112", ring_s=0.1))
    await until(lambda: desk.told(Answered))
    assert desk.told(Offered)[0].b_number == "112"
    limits = list(call.limits)
    assert await command_all(desk, desk.key(call)) == [None] * 5
    await desk.simulator.drop_links()
    await until(lambda: desk.relinked == 2)
    assert await command_all(desk, desk.key(call)) == [None] * 5
    assert (call.limits, call.warnings, call.is_over) == (limits, [], False)


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
        await desk.switch.admit(seen.call, granted_s=60, setup_s=60, b_number=NUMBER, account="acme")
        await until(lambda: desk.told(Answered))
    await desk.switch.hang_up(seen.call, 16)
    await until(lambda: desk.told(Released))


async def test_the_end_of_a_call_taken_over_is_understood() -> None:
    """By an adapter that has never seen its beginning, as after a restart."""
    async with laid() as before:
        call = await before.answered()
        async with at(before.simulator) as after:
            await until(lambda: after.relinked)
            (seen,) = await after.switch.live_calls()
            assert seen.answered_at is not None
            assert seen.answered_at.wall_ms == (call.answered_us or 0) // 1000
            await after.switch.arm(seen.call, 500_000)
            assert [limit.seconds for limit in call.limits[-2:]] == [499.95, 499.95]
            call.hang_up()
            await until(lambda: before.told(Released) and after.told(Released))
            ((ours,), (theirs,)) = after.told(Released), before.told(Released)
            assert (ours.at.wall_ms, ours.released_by) == (theirs.at.wall_ms, theirs.released_by)
            assert ours.answered_at.wall_ms == theirs.answered_at.wall_ms


@pytest.mark.parametrize("asks_once", [True, False])
async def test_a_call_that_waits_is_offered_to_who_comes_later(asks_once: bool) -> None:
    """As it was to who was there, once; not one that has been let through."""
    async with laid(setup=Setup(gate_ms=600_000, asks_once=asks_once)) as before:
        waits = await before.gated(replace(SCRIPT, direction="inbound", endpoint="carrier-a"))
        rings = await before.admitted(RINGS)
        await until(lambda: before.told(Alerting))
        async with at(before.simulator, is_trunk=lambda endpoint: endpoint == "carrier-a") as after:
            await until(lambda: after.relinked)
            (ours,) = after.told(Offered)
            theirs = next(offered for offered in before.told(Offered) if offered.call == ours.call)
            assert ours == replace(theirs, at=ours.at, trunk="carrier-a")
            await before.switch.live_calls()
            await after.switch.live_calls()
            await after.switch.admit(ours.call, granted_s=60, setup_s=60, b_number=NUMBER, account="acme")
            await waits.answer()
        assert [offered.call for offered in after.told(Offered)] == [ours.call]
        assert len(before.told(Offered)) == 2
        assert not rings.is_over


@pytest.mark.parametrize(("line", "offers"), [("", 1), ("Context: callctl-gate", 0)])
async def test_a_number_with_line_breaks_cannot_say_that_it_waits_at_the_gate(line: str, offers: int) -> None:
    told = "Variable: GOSUB_RETVAL=Caller: 1,Called: 2,Account: globex"
    lines = [line, "Event: Status", "Context: callctl-gate", "Uniqueid: 1.1", "Variable: CC_CALL=1.1", told]
    channel = Message("\r\n".join(filter(None, lines)).encode())
    translator = Translator("pbx1", SwitchTime(), is_trunk=lambda endpoint: False)
    assert len(translator.missed([channel], PatientClock().now())) == offers


async def test_what_ended_while_the_link_was_down_is_not_listed(desk: Desk) -> None:
    call = await desk.answered()
    await desk.simulator.stop_listening()
    await desk.simulator.drop_links()
    await until(lambda: not desk.switch.state().up)
    call.hang_up()
    await call.outcome()
    await desk.simulator.listen_again()
    await until(lambda: desk.relinked == 2)
    assert await desk.switch.live_calls() == []
    assert desk.switch._calls.known() == frozenset()


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
    await desk.answered()
    await desk.simulator.restart(cleanly=cleanly)
    await until(lambda: desk.relinked == 2)
    assert await desk.switch.live_calls() == []
    assert bool(desk.told(Released)) == cleanly
    call = await desk.answered()
    assert not call.is_over


async def test_a_frozen_switch_is_noticed() -> None:
    times = LinkTimes(action_ms=100, ping_every_ms=50, ping_answer_ms=50, connect_ms=200, tick_ms=5, retry_first_ms=10)
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
    async with laid(times=LinkTimes(action_ms=100, tick_ms=5, ping_every_ms=60_000), wait=False) as desk:
        desk.simulator.faults.delay_ms = 4_000
        await until(lambda: desk.switch.counts.timeouts)
        assert desk.relinked == 0
        desk.simulator.faults.delay_ms = 0
        await until(lambda: desk.relinked == 1)


async def test_a_wrong_password_is_said_once_and_loudly() -> None:
    with capture_logs() as logs:
        async with laid(secret="wrong", wait=False) as desk:
            await until(lambda: "refused" in desk.switch.state().detail)
            assert not desk.switch.state().up
            with pytest.raises(SwitchUnavailable, match="login refused"):
                await desk.switch.live_calls()
            assert desk.simulator.logins == 1
    assert [(log["event"], log["log_level"]) for log in logs] == [("asterisk_login_refused", "error")]
    assert "wrong" not in str(logs)


# -------------------------------------------------------------------- the rights of its user

READS, WRITES = frozenset({"call", "user"}), frozenset({"call", "originate", "user"})


@asynccontextmanager
async def logged_in(user: User) -> AsyncIterator[tuple[Desk, list[Any]]]:
    """A desk of this user, and what was logged."""
    with capture_logs() as logs:
        async with laid(user=user) as desk:
            yield desk, logs


def faults(logs: list[Any]) -> list[tuple[str, str]]:
    return [(log["log_level"], log["fault"]) for log in logs if log["event"].startswith("asterisk_rights")]


async def test_a_user_as_it_is_shipped_lacks_nothing() -> None:
    async with logged_in(User("pw", READS, WRITES, filtered=True)) as (desk, logs):
        await until(lambda: any(action["Action"] == "UserEvent" for action in desk.simulator.actions.asked))
        call = await desk.answered()
        await desk.switch.live_calls()
        assert (desk.switch.state().up, desk.switch.state().detail) == (True, "up")
        assert desk.switch.capabilities.warns == tuple(WarnTo)
        call.hang_up(EndedBy.CALLER)
        await until(lambda: desk.told(Released))
    assert faults(logs) == []


@pytest.mark.parametrize(
    ("read", "write", "fault"), [(READS, {"originate", "user"}, NO_COMMANDS), ({"call"}, WRITES, NO_OFFERS)]
)
async def test_a_right_that_is_missing_is_said_once_and_loudly(read: set[str], write: set[str], fault: str) -> None:
    async with logged_in(User("pw", frozenset(read), frozenset(write | {"reporting"}), filtered=True)) as (desk, logs):
        await until(lambda: desk.switch.state().detail == fault)
        assert not desk.switch.state().up
        await desk.simulator.drop_links()
        await until(lambda: desk.relinked == 2)
        await until(lambda: desk.switch.state().detail == fault)
    assert faults(logs) == [("error", fault)]


async def test_a_user_that_hears_nothing_of_calls_is_found_out_by_the_list() -> None:
    async with logged_in(User("pw", frozenset({"user"}), WRITES, filtered=True)) as (desk, logs):
        call = await desk.admitted()
        clock = desk.simulator.exchange
        await until(lambda: clock.now_us() - (call.answered_us or clock.now_us()) > MOST_DISORDER_MS * 1_000)
        await desk.switch.live_calls()
        assert desk.switch.state().detail == NO_CALLS
        assert not desk.switch.state().up
    assert faults(logs) == [("error", NO_CALLS)]


async def test_one_answer_that_was_not_told_is_that_calls_alone() -> None:
    """The list tells it, and the switch stays ready: other events are heard."""
    async with logged_in(User("pw", READS, WRITES, filtered=True)) as (desk, logs):
        desk.simulator.faults.lose = frozenset({"DialEnd", "BridgeEnter"})
        call = await desk.admitted()
        clock = desk.simulator.exchange
        await until(lambda: clock.now_us() - (call.answered_us or clock.now_us()) > MOST_DISORDER_MS * 1_000)
        for _ in range(2):
            (seen,) = await desk.switch.live_calls()
            assert seen.answered_at is not None
            assert (desk.switch.state().up, desk.switch.state().detail) == (True, "up")
    assert [log["call_id"] for log in logs if log["event"] == "asterisk_answer_not_told"] == [call.uniqueid]
    assert faults(logs) == []


async def test_a_channel_that_is_no_call_of_ours_says_nothing_of_our_variables() -> None:
    """A server may leave out a variable that is not set."""
    async with logged_in(User("pw", READS, WRITES, filtered=True)) as (desk, logs):
        exchange = desk.simulator.exchange
        stranger = exchange.add("SIP/door-1", state=RING, context="door", exten="1")
        exchange.emit("Hangup", [("Channel", stranger.name), ("Uniqueid", stranger.uniqueid)])
        await desk.answered()
        assert desk.switch.state().detail == "up"
    assert faults(logs) == []


async def test_without_the_filter_it_works_and_says_that_it_is_dangerous() -> None:
    async with logged_in(User("pw", READS, WRITES)) as (desk, logs):
        await desk.answered()
        assert (desk.switch.state().up, desk.switch.state().detail) == (True, NO_FILTER)
    assert faults(logs) == [("error", NO_FILTER)]


async def test_without_the_right_to_originate_it_is_known_that_nobody_is_warned() -> None:
    async with logged_in(User("pw", READS, frozenset({"call", "user"}), filtered=True)) as (desk, logs):
        await until(lambda: desk.switch.capabilities.warns == ())
        call = await desk.answered()
        await desk.switch.warn(desk.key(call), 30, WarnTo.CALLER)
        assert desk.switch.state().up
        assert not any(action["Action"] == "Originate" for action in desk.simulator.actions.asked)
    assert faults(logs) == []


async def test_where_its_rights_cannot_be_learnt_it_works_all_the_same() -> None:
    with capture_logs() as logs:
        async with laid(user=User("pw", READS, WRITES, filtered=True), wait=False) as desk:
            del desk.simulator.actions._names["listcommands"]
            await until(lambda: any(action["Action"] == "ListCommands" for action in desk.simulator.actions.asked))
            await desk.answered()
            assert desk.switch.state().up
    assert faults(logs) == []


async def test_another_callctl_on_the_same_switch_is_said_by_both_until_it_is_gone() -> None:
    async with logged_in(User("pw", READS, WRITES, filtered=True)) as (desk, logs):
        await until(lambda: desk.switch._rights._may_speak)
        async with at(desk.simulator) as another:
            await until(lambda: desk.switch.state().detail == SHARED)
            await desk.switch.live_calls()
            await until(lambda: another.switch.state().detail == SHARED)
            assert not desk.switch.state().up
        for _ in range(2):
            await desk.switch.live_calls()
        assert desk.switch.state().up
    assert faults(logs) == [("error", SHARED), ("error", SHARED), ("info", SHARED)]


async def test_an_echo_that_does_not_say_whose_it_is_is_no_other_callctl() -> None:
    """A server may tell a UserEvent without the ActionID that caused it."""
    async with logged_in(User("pw", READS, WRITES, filtered=True)) as (desk, logs):
        await until(lambda: desk.switch._rights._may_speak)
        desk.simulator.exchange.emit("UserEvent", [("UserEvent", CHECK)], of="user")
        await desk.switch.live_calls()
        assert desk.switch.state().up
    assert faults(logs) == []


async def test_an_event_that_is_not_sent_need_not_be_heard(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rights, "HEARD_WITHIN_S", 0.1)
    async with logged_in(User("pw", READS, WRITES, filtered=True)) as (desk, logs):
        actions = desk.simulator.actions
        actions._rules["UserEvent"] = Rule(frozenset({"user"}), lambda action: action.error("Not here"))
        await desk.switch._rights.examine()
        assert any(action["Action"] == "UserEvent" for action in actions.asked)
        assert desk.switch.state().up
        actions._rules["UserEvent"] = Rule(frozenset({"user"}), lambda action: [])  # nor need it be answered
        with pytest.raises(SwitchUnavailable):
            await desk.switch._rights.examine()
        await desk.switch.live_calls()
    assert faults(logs) == []


async def test_that_nothing_was_heard_over_a_lost_link_is_no_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    async with logged_in(User("pw", READS, WRITES, filtered=True)) as (desk, logs):
        await until(desk.switch._rights._heard.is_set)
        monkeypatch.setattr(rights, "HEARD_WITHIN_S", 3.0)
        desk.simulator.faults.lose = frozenset({"UserEvent"})
        examined = asyncio.create_task(desk.switch._rights.examine())
        await until(lambda: sum(action["Action"] == "UserEvent" for action in desk.simulator.actions.asked) > 1)
        await desk.simulator.stop_listening()
        await desk.simulator.drop_links()
        await asyncio.wait({examined})
        assert isinstance(examined.exception(), SwitchUnavailable)
    assert faults(logs) == []


async def test_the_clocks_may_differ() -> None:
    """The simulator's clock runs 20 times as fast: what it tells is placed on ours, never after we read it."""
    async with laid() as desk:
        await desk.simulator.exchange.clock.sleep_ms(10_000)
        await desk.switch.live_calls()
        await desk.answered()
        (answered,) = desk.told(Answered)
        now = PatientClock().now()
        assert answered.at.monotonic_ms <= now.monotonic_ms
        assert answered.at.wall_ms > now.wall_ms  # stated by the switch, and kept as stated
