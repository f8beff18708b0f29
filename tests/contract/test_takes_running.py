"""Port Takes: what a running call holds more, and how it ends."""

import pytest
from msgspec.structs import replace

from callctl.call.events import Extended, ExtendRefused, Taken
from callctl.call.session import Purchase, State
from callctl.call.takes import Post
from callctl.errors import CallConflict, UnknownCall
from callctl.limits.concurrency import Slot
from callctl.ports import Existing
from callctl.rating.charge import Price, Tier
from tests.contract.calls import (
    COUNTED,
    LEASE_MS,
    NOW,
    ROOT,
    admitted,
    all_live,
    extend,
    extension,
    figures,
    outbox,
    refusal,
    session,
    set_limit,
    settlement,
    take,
    top_up,
)

CHAIN = ("shop", "city", ROOT)


# ---- extend


async def test_more_is_held_on_top(store):
    await store.top_up(top_up(100))
    call = await admitted(store, take(session(), 30))
    answer = await extend(store, extension(replace(call, warned_s=30), 50))
    assert answer == Extended(call.call, (20,))
    assert await figures(store) == (100, 80, {"outbound": 1, "total": 1})
    remembered = await store.find(call.call)
    assert (remembered.warned_s, remembered.version, remembered.levels[0].held) == (30, 2, 80)


async def test_a_price_of_more_than_64_bits_is_kept_exactly(store):
    """From the take to the end, of the row and of the carrier that answered."""
    fine = Price(0, 3**60, (Tier(0, 5**60, 1),))
    await store.top_up(top_up(100))
    levels = tuple(replace(level, sell=fine) for level in session().levels)
    call = await admitted(store, take(session(levels=levels), 30))
    assert (await store.find(call.call)).levels[0].sell == fine
    bought = Purchase("carrier", "31", fine)
    await extend(store, extension(replace(call, purchase=bought), 10))
    assert (await store.find(call.call)).purchase == bought


async def test_what_one_level_lacks_no_level_holds(store):
    for account, amount in zip(CHAIN, (100, 99, 100), strict=True):
        await store.top_up(top_up(amount, account))
    call = await admitted(store, take(session(accounts=CHAIN), 50))
    answer = await extend(store, extension(replace(call, warned_s=30), 50, 50, 50))
    assert answer == ExtendRefused(call.call, (50, 49, 50))
    assert [(await figures(store, account))[1] for account in CHAIN] == [50, 50, 50]
    remembered = await store.find(call.call)
    assert (remembered.warned_s, remembered.version) == (None, 1)
    assert await extend(store, extension(call, 50, 49, 50)) == Extended(call.call, (0, 0, 0))


async def test_saving_needs_no_credit(store):
    await store.top_up(top_up(30))
    call = await admitted(store, take(session(), 30))
    await store.top_up(top_up(-10, id="taken out"))
    answer = await extend(store, extension(replace(call, state=State.ANSWERED), 0))
    assert answer == Extended(call.call, (-10,))
    assert (await store.find(call.call)).state is State.ANSWERED


async def test_a_part_can_be_given_back(store):
    await store.top_up(top_up(100))
    call = await admitted(store, take(session(), 80))
    assert await extend(store, extension(call, -30)) == Extended(call.call, (50,))
    await store.settle(settlement(replace(call, version=2)))
    assert await figures(store) == (100, 0, {})


async def test_force_extends_without_credit(store):
    call = await admitted(store, take(session(), 0))
    assert await extend(store, extension(call, 70, force=True)) == Extended(call.call, (-70,))


async def test_extending_an_unlimited_account(store):
    await set_limit(store, ROOT, ROOT, None)
    call = await admitted(store, take(session(), 10))
    assert await extend(store, extension(call, 20)) == Extended(call.call, (None,))
    assert (await figures(store))[1] == 30


async def test_overflow_outlives_extensions(store):
    await store.top_up(top_up(1_000))
    call = await admitted(store, take(session(), 100, slots=(Slot("outbound", 0, 5),), overflow=5))
    careless = replace(call, levels=tuple(replace(level, overflow=False) for level in call.levels))
    await extend(store, extension(careless, 10))
    level = (await store.find(call.call)).levels[0]
    assert (level.overflow, level.held) == (True, 115)


@pytest.mark.parametrize("version", [0, 2, 7])
async def test_a_stale_extension_changes_nothing(store, version):
    await store.top_up(top_up(100))
    call = await admitted(store, take(session(), 30))
    answer = await extend(store, extension(replace(call, version=version), 50))
    assert isinstance(answer, Existing)
    assert (answer.session.version, answer.session.levels[0].held) == (1, 30)
    assert (await figures(store))[1] == 30


async def test_an_extension_that_was_done_answers_what_is(store):
    """A caller that repeats it by itself learns the new version from the record."""
    await store.top_up(top_up(100))
    call = await admitted(store, take(session(), 30))
    await extend(store, extension(call, 20))
    answer = await extend(store, extension(call, 20))
    assert isinstance(answer, Existing)
    assert (answer.session.version, answer.session.levels[0].held) == (2, 50)
    assert (await figures(store))[1] == 50


async def test_an_ended_call_is_not_extended(store):
    call = await admitted(store, take(session()))
    await store.settle(settlement(call))
    for version in (1, 2):
        answer = await extend(store, extension(replace(call, version=version), 0))
        assert isinstance(answer, Existing)
        assert answer.session.state is State.ENDED
    assert await all_live(store, [ROOT]) == []


async def test_a_refused_call_is_not_extended(store):
    await store.settle(refusal(session()))
    assert isinstance(await extend(store, extension(session(version=1), 0)), Existing)
    assert await all_live(store, [ROOT]) == []


async def test_extending_a_call_that_the_store_lost(store):
    with pytest.raises(UnknownCall, match="http/c1"):
        await extend(store, extension(session(version=3), 0))


# ---- settle


async def test_the_end_posts_records_and_gives_back(store):
    await store.top_up(top_up(100))
    call = await admitted(store, take(session(), 60))
    assert await store.settle(settlement(call, 45)) is None
    assert await figures(store) == (55, 0, {})
    assert await outbox(store) == [(ROOT, b'{"id": "http/c1:acme"}')]
    ended = await store.find(call.call)
    assert (ended.state, ended.version, ended.posted) == (State.ENDED, 2, (45,))
    (_, entry) = await store.ledger(ROOT, ROOT, "", 10)
    assert (entry.id, entry.kind, entry.amount, entry.balance) == ("http/c1:post:0", "post", -45, 55)
    assert (entry.at_ms, entry.call) == (NOW.wall_ms + 60_000, "http/c1")


async def test_every_level_pays_its_own(store):
    for account in CHAIN:
        await store.top_up(top_up(100, account))
    call = await admitted(store, take(session(accounts=CHAIN), 60))
    await store.settle(settlement(call, 50, 40, 30))
    assert [await figures(store, account) for account in CHAIN] == [(50, 0, {}), (60, 0, {}), (70, 0, {})]
    assert [account for account, _ in await outbox(store)] == list(CHAIN)


async def test_what_is_given_back_is_what_the_record_says(store):
    """A caller that missed two extensions, and remembers other holds and counters, does no harm."""
    await store.top_up(top_up(1_000))
    call = await admitted(store, take(session(trunk="t1"), 100, trunk_slots=(Slot("outbound"),)))
    await extend(store, extension(call, 50))
    await extend(store, extension(replace(call, version=2), 70))
    wrong = tuple(replace(level, held=9, slots=(Slot("inbound"),)) for level in call.levels)
    await store.settle(settlement(replace(call, version=3, levels=wrong), 10))
    assert await figures(store) == (990, 0, {})
    capped = (Slot("outbound", 1, 1),)
    again = await store.admit(take(session("c2", trunk="t1"), trunk_slots=capped))
    assert isinstance(again, Taken)


@pytest.mark.parametrize("version", [0, 2])
async def test_a_stale_settlement_changes_nothing(store, version):
    await store.top_up(top_up(100))
    call = await admitted(store, take(session(), 60))
    answer = await store.settle(settlement(replace(call, version=version), 45))
    assert isinstance(answer, Existing)
    assert answer.session.version == 1
    assert await figures(store) == (100, 60, {"outbound": 1, "total": 1})
    assert await outbox(store) == []
    assert len(await store.ledger(ROOT, ROOT, "", 10)) == 1


async def test_settling_twice_posts_once(store):
    await store.top_up(top_up(100))
    call = await admitted(store, take(session(), 60))
    await store.settle(settlement(call, 45))
    again = await store.settle(settlement(call, 45))
    assert isinstance(again, Existing)
    assert again.session.state is State.ENDED
    assert await figures(store) == (55, 0, {})
    assert len(await outbox(store)) == 1


async def test_a_refused_attempt_is_recorded_and_found(store):
    call = session()
    assert await store.settle(refusal(call)) is None
    remembered = await store.find(call.call)
    assert (remembered.state, remembered.version) == (State.REFUSED, 1)
    assert await store.by_trace(call.trace_id) == remembered
    assert len(await outbox(store)) == 1
    assert await all_live(store, [ROOT]) == []


async def test_every_refused_attempt_has_a_record_of_its_own(store):
    await store.settle(refusal(session()))
    assert await store.settle(refusal(session(setup=NOW.plus_ms(1)))) is None
    assert len(await outbox(store)) == 2


async def test_a_refused_attempt_is_recorded_once_however_often_it_is_told(store):
    """The answer was lost, and the journal tells it again."""
    assert await store.settle(refusal(session())) is None
    assert await store.settle(refusal(session())) is None
    assert len(await outbox(store)) == 1


async def test_a_refusal_gives_back_what_was_taken_after_all(store):
    """The answer to the take was lost, the call was refused, and then the record is found in the way."""
    await store.top_up(top_up(100))
    await store.admit(take(session(), 60))
    in_the_way = await store.settle(refusal(session()))
    assert isinstance(in_the_way, Existing)
    assert await store.settle(refusal(in_the_way.session)) is None
    assert await figures(store) == (100, 0, {})
    assert await all_live(store, [ROOT]) == []
    assert isinstance(await store.admit(take(session(), 60)), Taken)


async def test_a_late_settlement_does_not_revive_a_refused_call(store):
    call = await admitted(store, take(session()))
    await store.settle(refusal(call))
    answer = await store.settle(settlement(call, 10))
    assert isinstance(answer, Existing)
    assert (await figures(store))[0] == 0


async def test_a_call_that_the_store_lost_is_still_charged(store):
    """After a failover, or when it was admitted without the store."""
    await store.top_up(top_up(100))
    assert await store.settle(settlement(session(version=4), 45)) is None
    assert await figures(store) == (55, 0, {})
    assert isinstance(await store.settle(settlement(session(version=4), 45)), Existing)
    assert await figures(store) == (55, 0, {})


async def test_a_call_of_nobody_is_recorded(store):
    call = session(levels=(), root="", account="")
    assert await store.settle(refusal(call)) is None
    assert (await store.find(call.call)).state is State.REFUSED
    assert isinstance(await store.admit(take(session())), Taken)


async def test_a_correction_posts_the_difference_once(store):
    await store.top_up(top_up(100))
    call = await admitted(store, take(session(), 60))
    await store.settle(settlement(call, 60, kind="estimate"))
    ended = await store.find(call.call)
    correction = settlement(ended, -20, kind="correction")
    assert await store.settle(correction) is None
    assert isinstance(await store.settle(correction), Existing)
    assert await figures(store) == (60, 0, {})
    remembered = await store.find(call.call)
    assert (remembered.version, remembered.corrections) == (3, 1)
    await store.settle(settlement(remembered, 5, kind="correction"))
    entries = await store.ledger(ROOT, ROOT, "", 10)
    assert [(entry.id, entry.amount) for entry in entries[1:]] == [
        ("http/c1:estimate:0", -60),
        ("http/c1:correction:1", 20),
        ("http/c1:correction:2", -5),
    ]
    assert len(await outbox(store)) == 3


async def test_entries_of_one_account_have_names_of_their_own(store):
    """The called party may be the customer itself."""
    call = await admitted(store, take(session()))
    posts = (Post(ROOT, "post", 1), Post(ROOT, "post", 2), Post("other", "post", 3), Post(ROOT, "estimate", 4))
    await store.settle(replace(settlement(call), posts=posts))
    assert [entry.id for entry in await store.ledger(ROOT, ROOT, "", 10)] == [
        "http/c1:post:0",
        "http/c1:post:0.1",
        "http/c1:estimate:0",
    ]
    assert await figures(store, "other") == (-3, 0, {})


async def test_a_settlement_may_post_what_was_never_held(store):
    """Postpaid is billed in full, whatever was held."""
    await set_limit(store, ROOT, ROOT, None)
    call = await admitted(store, take(session(), 5))
    await store.settle(settlement(call, 10**15))
    assert await figures(store) == (-(10**15), 0, {})


# ---- top_up


async def test_a_top_up_moves_money_once(store):
    first = await store.top_up(top_up(100, note="bank transfer no. 7"))
    assert (first.id, first.kind, first.amount, first.balance) == ("pay-1", "topup", 100, 100)
    assert (first.at_ms, first.note) == (NOW.wall_ms, "bank transfer no. 7")
    await store.top_up(top_up(50, id="pay-2"))
    assert await store.top_up(top_up(100)) == first
    assert await figures(store) == (150, 0, {})
    assert [entry.id for entry in await store.ledger(ROOT, ROOT, "", 10)] == ["pay-1", "pay-2"]


async def test_one_id_may_serve_two_accounts(store):
    await store.top_up(top_up(100, "a:b", id="c"))
    await store.top_up(top_up(70, "a", id="b:c"))
    assert (await figures(store, "a:b"))[0] == 100
    assert (await figures(store, "a"))[0] == 70


@pytest.mark.parametrize("other", [{"amount": 101}, {"amount": -100}, {"cause": "voucher"}])
async def test_one_id_for_two_movements(store, other):
    await store.top_up(top_up(100))
    with pytest.raises(CallConflict, match="pay-1"):
        await store.top_up(replace(top_up(100), **other))
    assert await figures(store) == (100, 0, {})


@pytest.mark.parametrize("sign", [1, -1])
async def test_a_balance_beyond_counting_is_refused(store, sign):
    await store.top_up(top_up(sign * (2**53 - 2)))
    with pytest.raises(ValueError, match="acme"):
        await store.top_up(top_up(sign * 2, id="pay-2"))
    await store.top_up(top_up(sign, id="pay-3"))
    assert (await figures(store))[0] == sign * (2**53 - 1)
    assert len(await store.ledger(ROOT, ROOT, "", 10)) == 2


async def test_a_lower_limit_never_touches_what_is_held(store):
    await set_limit(store, ROOT, ROOT, 100)
    call = await admitted(store, take(session(), 80, slots=COUNTED, lease_until_ms=LEASE_MS))
    await set_limit(store, ROOT, ROOT, 0)
    assert await extend(store, extension(call, 1)) == ExtendRefused(call.call, (-80,))
    await store.settle(settlement(call, 80))
    assert await figures(store) == (-80, 0, {})
