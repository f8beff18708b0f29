"""The auditor can object: each promise is broken on purpose, and it says so."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest
from msgspec.structs import replace

from callctl.accounts import Account
from callctl.call import cdr, ending, grant, running, settlement, watched
from callctl.call.session import Level
from callctl.call.takes import Settlement
from callctl.clock import local_moment
from callctl.control import facts
from callctl.control.calls import CallControl
from callctl.errors import StoreUnavailable, SwitchUnavailable
from callctl.limits import exposure, ids
from callctl.limits.exposure import Day
from callctl.limits.ids import Rule
from callctl.numbering import DialRules, normalise
from callctl.prepaid import slicing
from callctl.rating.levels import price_levels
from callctl.rating.tariff import Direction
from callctl.store.memory import store as memory
from callctl.store.memory.watch import WatchedDays
from callctl.store.moving import Move
from tests.simulation.clock import EPOCH_MS
from tests.simulation.faults import Faults
from tests.simulation.store import Archive
from tests.simulation.switch import FakeSwitch
from tests.simulation.world import World, simulate

SEEDS = range(40)
Prepare = Callable[[World], None]


def objects(words: str, faults: Faults | None = None, prepare: Prepare = lambda world: None) -> bool:
    """Whether one of some runs gets an objection with these words."""
    return any(
        words in objection
        for seed in SEEDS
        for objection in simulate(seed, prepare, faults=Faults() if faults is None else faults).auditor.objections
    )


def test_1_credit_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    place = memory.MemoryStore.place

    async def boundless(self: memory.MemoryStore, it: Move, at_ms: int) -> None:
        await place(self, replace(it, limits=dict.fromkeys(it.limits)), at_ms)

    monkeypatch.setattr(memory.MemoryStore, "place", boundless)
    assert objects("and has but")


def test_1_a_prepaid_account_charged_beyond_its_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    settle = memory.MemoryStore.settle

    async def dearer(self: memory.MemoryStore, request: Settlement) -> Any:
        posts = tuple(replace(post, amount=post.amount + 100_000) for post in request.posts)
        return await settle(self, replace(request, posts=posts))

    monkeypatch.setattr(memory.MemoryStore, "settle", dearer)
    assert objects("below its limit")


def test_2_a_channel_that_leaks(monkeypatch: pytest.MonkeyPatch) -> None:
    settle = memory.MemoryStore.settle

    async def leaking(self: memory.MemoryStore, request: Settlement) -> Any:
        known = self._calls.get(request.session.trace_id)
        if known is not None and request.session.call.call_id.endswith("5"):
            known.slots.clear()
        return await settle(self, request)

    monkeypatch.setattr(memory.MemoryStore, "settle", leaking)
    assert objects("shows channels")


def test_2_a_lease_that_nobody_watches(monkeypatch: pytest.MonkeyPatch) -> None:
    async def blind(self: object, name: str) -> None:
        """Does not compare."""

    monkeypatch.setattr("callctl.control.reconciler.Reconciler.compare", blind)
    assert objects("has a channel still", Faults(events_lost=0.3))


@pytest.mark.parametrize(
    ("keep", "words"),
    [
        (lambda records: records[1:], "written and not delivered"),
        (lambda records: [replace(it, sequence=it.sequence + it.sequence // 5) for it in records], "has gaps"),
    ],
)
def test_3_a_record_lost_at_the_sink(keep: Callable[[Any], Any], words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    deliver = Archive.deliver

    async def losing(self: Archive, records: Any) -> None:
        await deliver(self, keep(records))

    monkeypatch.setattr(Archive, "deliver", losing)
    assert objects(words)


@pytest.mark.parametrize(
    ("times", "words"), [(0, "was admitted and has no record"), (2, "records with the id"), (2, "CDRs charge")]
)
def test_3_and_4_records_that_are_not_one(times: int, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    records = cdr.records
    monkeypatch.setattr(cdr, "records", lambda session, owed: records(session, owed) * times)
    assert objects(words)


def test_more_of_a_bundle_than_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "covers", lambda left, more: True)
    assert objects("and shows Stock")


@pytest.mark.parametrize(("times", "words"), [(0, "has used"), (3, "held were")])
def test_what_is_used_of_a_bundle_is_not_what_is_told(times: int, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    used = settlement._used

    def wrong(level: Level, amounts: Sequence[int]) -> tuple[tuple[str, int], ...]:
        return tuple((source, amount * times) for source, amount in used(level, amounts))

    monkeypatch.setattr(settlement, "_used", wrong)
    assert objects(words)


def test_a_threshold_that_nobody_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exposure, "broken", lambda day, ask, counters: (Rule.NONE, 0, 0))
    assert objects("goes beyond its threshold")


def test_what_is_held_of_a_day_and_not_given_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(WatchedDays, "over", lambda self, exposure, used, is_estimate: None)
    assert objects("spent and")


def test_a_day_that_is_not_the_accounts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ids, "local_moment", lambda timezone, minute: local_moment("UTC", minute))
    assert objects("asks of day")


def test_a_threshold_that_counts_taxes_and_bundles(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watched, "exposure", slicing.cost)
    assert objects("of its threshold with")


def test_a_blocked_account_whose_calls_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(CallControl, "tripped", lambda self, account: None)
    assert objects("went on after its account was blocked")


def test_a_trip_that_nobody_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "seen_by", lambda looks, goes, tells: tuple(look.seen for look in looks))
    assert objects("nobody is told")


def test_more_that_is_released_than_was_spent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Day, "settled", property(lambda day: day.spent - day.held + 1_000_000))
    assert objects("exposure, average and threshold are")


def test_a_warning_that_is_never_said_and_always_due(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(running, "_warn", lambda session, now: (replace(session, warn_due=False), ()))
    assert objects("asks the store without end")


def test_4_charging_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    settle = memory.MemoryStore.settle

    async def twice(self: memory.MemoryStore, request: Settlement) -> Any:
        return await settle(self, replace(request, posts=request.posts * 2))

    monkeypatch.setattr(memory.MemoryStore, "settle", twice)
    assert objects("posts are")


def test_4_money_that_moves_beside_the_ledger(monkeypatch: pytest.MonkeyPatch) -> None:
    settle = memory.MemoryStore.settle

    async def beside(self: memory.MemoryStore, request: Settlement) -> Any:
        for post in request.posts:
            self._accounts[request.session.root, post.account].balance -= 1
        return await settle(self, request)

    monkeypatch.setattr(memory.MemoryStore, "settle", beside)
    assert objects("its ledger says")


def test_5_a_timer_that_is_never_armed(monkeypatch: pytest.MonkeyPatch) -> None:
    def unarmed(world: World) -> None:
        for switch in world.switches.values():
            switch.enforces = False

    assert objects("granted were", Faults(kills=4), unarmed)


def test_5_a_timer_that_is_armed_too_long(monkeypatch: pytest.MonkeyPatch) -> None:
    armed = grant.armed

    def longer(*asked: Any) -> Any:
        return tuple(replace(arm, remaining_ms=arm.remaining_ms + 3_000) for arm in armed(*asked))

    monkeypatch.setattr(grant, "armed", longer)
    assert objects("granted were", Faults(kills=4))


def test_6_an_emergency_call_like_any_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(facts, "understood", lambda dialled, rules, own: (None, normalise(dialled, rules)))
    assert objects("was refused")


def test_7_silence_taken_for_absence(monkeypatch: pytest.MonkeyPatch) -> None:
    live_calls = FakeSwitch.live_calls

    async def silent(self: FakeSwitch) -> Any:
        try:
            return await live_calls(self)
        except SwitchUnavailable:
            return []

    monkeypatch.setattr(FakeSwitch, "live_calls", silent)
    assert objects("while it talks", Faults(commands_lost=0.5))


def test_8_a_reload_that_reprices(monkeypatch: pytest.MonkeyPatch) -> None:
    dues = settlement.dues

    def todays(world: World) -> None:
        number = normalise("0612345678", DialRules("NL"))
        assert number is not None

        def repriced(session: Any) -> Any:
            levels = []
            for level in session.levels:
                plan = world.market.accounts[level.account].plan
                deck = world.market.registry.deck(plan, EPOCH_MS)
                (price,) = price_levels([(level.account, deck)], None, number, EPOCH_MS, Direction.OUTBOUND)
                levels.append(replace(level, sell=price.sell))
            return dues(replace(session, levels=tuple(levels)))

        monkeypatch.setattr(settlement, "dues", repriced)

    assert objects("is charged", Faults(reloads=20), todays)


def test_an_estimate_that_the_truth_does_not_correct(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ending, "knows_better", lambda ours, stored: False)
    assert objects("its true end was told", Faults(events_late=0.8))


def test_a_duration_that_is_not_the_true_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("callctl.call.cdr.duration_ms", lambda session: 1_000)
    assert objects("its record says 1000")


def test_a_call_that_is_never_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    async def never(self: object, request: Settlement) -> None:
        raise StoreUnavailable("not today")

    monkeypatch.setattr(memory.MemoryStore, "settle", never)
    assert objects("still holds")


def test_4_a_call_that_is_priced_by_its_set_up(monkeypatch: pytest.MonkeyPatch) -> None:
    for room in (running, settlement):
        monkeypatch.setattr(room, "anchored", lambda session: session)
    assert objects("is charged")


def test_4_taxes_of_who_is_not_liable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Account, "bears", lambda account, levied: levied)
    assert objects("is charged")
