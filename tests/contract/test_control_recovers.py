"""Call control when it is told late or too early, killed, or started on a machine whose clock was set back."""

import asyncio
import stat
from collections.abc import AsyncIterator, Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from callctl.accounts import Kind, Trunk
from callctl.call.events import Answered, CallKey, Deadline, DeadlineReached, Offered, Released, SeenAlive
from callctl.call.session import Session, State
from callctl.call.takes import Balance, Extension
from callctl.clock import Instant
from callctl.control.journal import Journal
from callctl.control.reconciler import BATCH, STALE_MS
from callctl.errors import StoreUnavailable
from callctl.limits.ids import Thresholds
from callctl.ports import Capabilities
from callctl.rating.tariff import Plan, Row, TrafficClass
from tests.control_room import EURO, ControlRoom, Notes
from tests.patient import PatientClock
from tests.waiting import until

CALL = CallKey("pbx1", "c1")
AGREED = Thresholds(10 * EURO, watch=(TrafficClass.MOB,))


class Obedient:
    """A switch that does what it is told, and lists what a test says."""

    name = "pbx1"
    capabilities = Capabilities()

    def __init__(self) -> None:
        self.listed: list[SeenAlive] = []
        self.hung_up: list[CallKey] = []
        self.asked = asyncio.Event()

    async def run(self, report: object, relinked: Callable[[], None]) -> None:
        relinked()
        await asyncio.Event().wait()

    async def live_calls(self) -> Sequence[SeenAlive]:
        self.asked.set()
        return self.listed

    async def hang_up(self, call: CallKey, q850: int) -> None:
        self.hung_up.append(call)

    async def admit(self, call: CallKey, **told: Any) -> None: ...
    async def reject(self, call: CallKey, cause: object) -> None: ...
    async def arm(self, call: CallKey, remaining_ms: int) -> None: ...
    async def warn(self, *told: Any) -> None: ...


class SetClock(PatientClock):
    """A machine's clock, set back by `back_ms` before the process started."""

    back_ms = 0

    def now(self) -> Instant:
        return super().now().plus_ms(-self.back_ms)


@pytest.fixture
async def room(tmp_path: Path) -> AsyncIterator[ControlRoom]:
    async with ControlRoom(tmp_path, clock=SetClock()) as room:
        yield room


@pytest.fixture
def switch() -> Obedient:
    return Obedient()


async def offered(room: ControlRoom, switch: Obedient, state: State) -> Instant:
    """A call, once it is decided; it begins after the list was asked for."""
    await switch.asked.wait()
    now = room.clock.now()
    call = Offered(CALL, now, "+31201234567", "0612345678", account="acme", can_extend=True, attended=True)
    room.calls.receive(call)
    await until(lambda: [session.state for session in room.calls.live()] == [state])
    return now


async def answered(room: ControlRoom, switch: Obedient) -> Instant:
    begun = await offered(room, switch, State.ADMITTED)
    room.calls.receive(Answered(CALL, begun))
    await until(lambda: [(s.state, s.busy) for s in room.calls.live()] == [(State.ANSWERED, False)])
    return begun


async def test_calls_are_taken_up_some_at_a_time_and_what_happens_meanwhile_counts(room: ControlRoom) -> None:
    await room.furnish(kind=Kind.POSTPAID, credit_limit=None)
    await room.start()
    names = [CallKey("http", f"c{n}") for n in range(5 * BATCH // 2)]
    for name in names:
        call = Offered(name, room.clock.now(), "+31201234567", "0612345678", account="acme")
        assert (await room.calls.authorize(call)).state is State.ADMITTED
    await room.kill()
    starting, known = asyncio.ensure_future(room.start()), [0]
    while not starting.done():
        await asyncio.sleep(0)
        known.append(sum(map(room.calls.knows, names)))
        if known[-2:] == [0, BATCH]:  # one that is taken up by now ends, and one that is not
            for name in (names[0], names[-1]):
                await room.calls.end(Released(name, room.clock.now()))
                assert not room.calls.knows(name)
    assert max(after - before for before, after in pairwise(known)) == BATCH
    assert {call.call for call in room.calls.live()} == set(names[1:-1])
    assert (await room.balance()).slots == {"outbound": len(names) - 2, "total": len(names) - 2}


class Heard(Notes):
    """The order in which call control tells of a call."""

    def __init__(self) -> None:
        super().__init__()
        self.news: list[str] = []

    def decided(self, session: Session, took_s: float) -> None:
        self.news.append("decided")

    def answered(self, session: Session) -> None:
        self.news.append("answered")


@pytest.mark.parametrize(("balance", "news"), [(10 * EURO, ["decided", "answered"]), (0, ["decided"])])
async def test_a_call_that_is_answered_before_it_is_decided(
    room: ControlRoom, switch: Obedient, balance: int, news: list[str]
) -> None:
    """An answer is told, after the decision; and its carrier's price is that of the call."""
    room.notes = heard = Heard()
    await room.furnish(balance=balance)
    await room.definitions.put_plan(Plan("carrier"))
    await room.definitions.put_rows("carrier", [Row(prefix="", per_minute=1_000_000)])
    await room.definitions.put_trunk(Trunk("carrier-a", "acme", buy_plan="carrier"))
    await room.start(switch)
    begun = room.clock.now()
    call = Offered(CALL, begun, "+31201234567", "0612345678", account="acme", can_extend=True, attended=True)
    room.calls.receive(call)
    room.calls.receive(Answered(CALL, begun, trunk_out="carrier-a"))
    await until(lambda: heard.news)
    room.calls.receive(Released(CALL, begun.plus_ms(5_000)))
    await until(lambda: len(room.cdrs()) == 1)
    assert heard.news == news
    assert room.cdrs()[0]["buy_plan"] == "carrier"


async def test_the_true_end_of_a_call_that_is_long_closed_corrects_its_estimate(
    room: ControlRoom, switch: Obedient
) -> None:
    await room.furnish()
    await room.start(switch)
    begun = await answered(room, switch)
    room.calls.receive(Released(CALL, begun.plus_ms(8_000), estimated=True))
    await until(lambda: not room.calls.knows(CALL))
    room.calls.receive(Released(CALL, begun.plus_ms(5_000), answered_at=begun))
    await until(lambda: len(room.cdrs()) == 2)
    original, correction = room.cdrs()
    assert (original["charge"], original["estimated"]) == ("0.0080", True)
    assert (correction["corrects"], correction["charge"], correction["duration_s"]) == (original["id"], "-0.0030", 5)
    assert (await room.balance()).balance == 10 * EURO - 5_000
    assert not room.calls.knows(CALL)


async def test_whoever_ends_a_call_is_told_the_records_that_are_written(room: ControlRoom, switch: Obedient) -> None:
    await room.furnish()
    await room.start(switch)
    end = Released(CALL, (await answered(room, switch)).plus_ms(8_000))
    session, told = await room.calls.end(end)
    assert (session.state, [msgspec.json.decode(record.payload) for record in told]) == (State.ENDED, room.cdrs())
    assert room.cdrs()[0]["charge"] == "0.0080"
    assert (await room.calls.end(end))[1] == told  # it is long closed: they are made again


async def test_whoever_states_the_true_end_of_an_estimated_call_is_told_what_it_costs_in_all(
    room: ControlRoom, switch: Obedient
) -> None:
    await room.furnish()
    await room.start(switch)
    begun = await answered(room, switch)
    room.calls.receive(Released(CALL, begun.plus_ms(8_000), estimated=True))
    await until(lambda: not room.calls.knows(CALL))
    _, (told,) = await room.calls.end(Released(CALL, begun.plus_ms(5_000)))
    assert msgspec.json.decode(told.payload)["charge"] == "0.0050"
    assert [record["charge"] for record in room.cdrs()] == ["0.0080", "-0.0030"]


async def test_a_call_that_was_given_up_and_is_up_after_all_is_hung_up(room: ControlRoom, switch: Obedient) -> None:
    await room.furnish()
    await room.start(switch)
    begun = await answered(room, switch)
    room.calls.receive(Released(CALL, begun, estimated=True))
    await until(lambda: not room.calls.knows(CALL))
    await room.kill()
    switch.listed = [SeenAlive(CALL, begun, answered_at=begun)]
    await room.start(switch)
    await until(lambda: switch.hung_up == [CALL])


async def test_the_end_of_a_call_that_nobody_knows_is_no_news(room: ControlRoom, switch: Obedient) -> None:
    await room.furnish()
    await room.start(switch)
    room.calls.receive(Released(CALL, room.clock.now()))
    await room.calls.performer.drain()
    assert not room.calls.knows(CALL)
    assert room.cdrs() == []


async def test_a_blind_call_goes_on_after_a_restart(
    room: ControlRoom, switch: Obedient, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(take: object) -> None:
        raise StoreUnavailable("away")

    await room.furnish(kind=Kind.POSTPAID, credit_limit=None)
    await room.start(switch)
    with monkeypatch.context() as broken:
        broken.setattr(room.store, "admit", away)
        begun = await offered(room, switch, State.BLIND)
        room.calls.receive(Answered(CALL, begun))
        await room.kill()
    switch.listed = [SeenAlive(CALL, room.clock.now(), answered_at=begun)]
    await room.start(switch)
    await until(lambda: [session.state for session in room.calls.live()] == [State.ANSWERED])
    assert (await room.balance()).slots == {"outbound": 1, "total": 1}
    assert switch.hung_up == []
    room.calls.receive(Released(CALL, begun.plus_ms(5_000)))
    await until(lambda: len(room.cdrs()) == 1)
    assert room.cdrs()[0]["duration_s"] == 5


async def test_a_call_that_was_refused_without_the_store_and_allowed_since_goes_on_after_a_restart(
    room: ControlRoom, switch: Obedient, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(_: object) -> None:
        raise StoreUnavailable("away")

    await room.furnish()
    await room.start(switch)
    await switch.asked.wait()
    asked = Offered(CALL, room.clock.now(), "+31201234567", "0612345678", account="acme", attended=True)
    with monkeypatch.context() as broken:
        broken.setattr(room.store, "admit", away)
        broken.setattr(room.store, "settle", away)
        assert (await room.calls.authorize(asked)).state is State.REFUSED
        await until(lambda: not room.calls.knows(CALL))
    assert (await room.calls.authorize(asked)).state is State.ADMITTED
    await room.kill()
    assert isinstance(room.clock, SetClock)
    room.clock.back_ms = -STALE_MS
    switch.listed = [SeenAlive(CALL, room.clock.now())]
    await room.start(switch)
    assert [session.state for session in room.calls.live()] == [State.ADMITTED]
    assert (await room.balance()).slots == {"outbound": 1, "total": 1}


async def test_the_end_of_a_call_of_ours_that_was_refused_does_not_wait_for_the_store(
    room: ControlRoom, switch: Obedient, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(_: object) -> None:
        raise StoreUnavailable("away")

    await room.furnish()
    await room.start(switch)
    for asked in ("admit", "settle", "find"):
        monkeypatch.setattr(room.store, asked, away)
    now = room.clock.now()
    refused = Offered(CALL, now, "+31201234567", "0612345678", account="acme", attended=True)
    await room.calls.authorize(refused)
    await until(lambda: not room.calls.knows(CALL))
    assert (await room.calls.report(Released(CALL, now))).state is State.REFUSED


async def test_a_clock_that_was_set_back_hides_no_call_that_is_gone(room: ControlRoom, switch: Obedient) -> None:
    await room.furnish()
    await room.start(switch)
    await answered(room, switch)
    await room.kill()
    assert isinstance(room.clock, SetClock)
    room.clock.back_ms = 3_600_000
    await room.start(switch)  # whose list is empty
    await until(lambda: len(room.cdrs()) == 1)
    assert room.cdrs()[0]["estimated"]
    assert (await room.balance()).held == 0


async def test_a_settlement_that_breaks_is_kept_and_posted_later(
    room: ControlRoom, switch: Obedient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Even by a fault of our own: the call is let go, its charge is in the journal, and no other call is held up."""

    async def broken(settlement: object) -> None:
        raise RuntimeError("nobody foresaw this")

    await room.furnish()
    await room.start(switch)
    begun = await answered(room, switch)
    with monkeypatch.context() as broken_store:
        broken_store.setattr(room.store, "settle", broken)
        room.calls.receive(Released(CALL, begun.plus_ms(8_000)))
        await until(lambda: not room.calls.knows(CALL))
        await room.kill()
        await room.start(switch)  # the replay breaks too, and the start goes on
        assert room.cdrs() == []
    await room.kill()
    await room.start(switch)
    (cdr,) = room.cdrs()
    assert (cdr["charge"], cdr["estimated"]) == ("0.0080", False)
    assert await room.balance() == Balance("acme", 10 * EURO - 8_000, 0, 10 * EURO - 8_000, {})


async def agree(room: ControlRoom, agreed: Thresholds | None) -> None:
    account = room.tariffs.directory.accounts["acme"]
    await room.definitions.put_account(replace(account, thresholds=agreed))


async def counted(room: ControlRoom, begun: Instant) -> tuple[int, int]:
    """Of the day on which the call began: what was spent in all, and what of it is held."""
    today = (await room.store.statistics("acme", "acme", begun.wall_ms // 86_400_000)).today
    return today.spent, today.held


@pytest.mark.parametrize("is_journalled", [False, True])
@pytest.mark.parametrize(("is_agreed_before", "held"), [(True, 30_000), (False, 0)])
async def test_thresholds_that_were_agreed_meanwhile_count_what_is_settled_as_the_store_remembers_it(
    room: ControlRoom,
    switch: Obedient,
    is_agreed_before: bool,
    held: int,
    is_journalled: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The answer of an extension is lost, so that the store knows more of the call, but not who watches it by now."""
    extend = room.store.extend

    async def unheard(extensions: Sequence[Extension]) -> None:
        await extend(extensions)
        raise StoreUnavailable("done, but nobody heard")

    async def away(settlement: object) -> None:
        raise StoreUnavailable("not done")

    await room.furnish()
    await room.start(switch)
    begun = await answered(room, switch)
    if is_agreed_before:
        await agree(room, AGREED)
    with monkeypatch.context() as lost:
        lost.setattr(room.store, "extend", unheard)
        room.calls.receive(DeadlineReached(CALL, Deadline.EXTEND))
        await room.calls.performer.drain()
        assert await counted(room, begun) == (held, held)
        await agree(room, AGREED)
        if is_journalled:
            lost.setattr(room.store, "settle", away)
        room.calls.receive(Released(CALL, begun.plus_ms(8_000)))
        await until(lambda: not room.calls.knows(CALL))
    if is_journalled:
        await room.kill()
        await room.start(switch)
    assert room.cdrs()[0]["charge"] == "0.0080"
    assert await counted(room, begun) == (8_000, 0)


async def test_a_call_counts_on_after_a_restart_though_its_account_has_no_thresholds_any_more(
    room: ControlRoom, switch: Obedient
) -> None:
    await room.furnish()
    await room.start(switch)
    begun = await answered(room, switch)
    await agree(room, AGREED)
    room.calls.receive(DeadlineReached(CALL, Deadline.EXTEND))
    await room.calls.performer.drain()
    assert await counted(room, begun) == (30_000, 30_000)
    await agree(room, None)
    await room.kill()
    await room.start(switch)
    room.calls.receive(Released(CALL, begun.plus_ms(8_000)))
    await until(lambda: not room.calls.knows(CALL))
    assert await counted(room, begun) == (8_000, 0)


async def test_an_extension_that_breaks_leaves_the_grant_as_it_was(
    room: ControlRoom, switch: Obedient, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(extension: object) -> None:
        raise RuntimeError("nobody foresaw this")

    await room.furnish()
    await room.start(switch)
    monkeypatch.setattr(room.store, "extend", broken)
    begun = await offered(room, switch, State.ADMITTED)
    room.calls.receive(Answered(CALL, begun))
    await room.calls.performer.drain()
    (session,) = room.calls.live()
    assert (session.busy, session.granted_s) == (False, 10)


def test_who_called_whom_is_nobody_elses_business(tmp_path: Path) -> None:
    file = tmp_path / "journal"
    file.touch()
    file.chmod(0o644)  # as an earlier version left it
    for _ in range(2):  # there already, and new
        Journal(file).close()
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        file.unlink()
