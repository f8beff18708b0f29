"""Spend thresholds in the atomic take: the vectors of their definition, every rule, every mode, the end of a call."""

import asyncio
import random

import pytest
from msgspec.structs import replace

from callctl.call.events import Extended, ExtendRefused, Taken, TakeRefused
from callctl.errors import CallConflict, StoreUnavailable
from callctl.limits.ids import Alert, Mode, Rule, Thresholds
from callctl.limits.watching import Allow, Release, Tell, Told
from tests.contract.calls import NOW, ROOT, admitted, extend, moved, refusal, session, top_up
from tests.contract.watched import (
    AGREED,
    DAY,
    EUR,
    day_ms,
    further,
    mode,
    over,
    spent_before,
    statistics,
    today,
    watched,
    watched_take,
    word,
)

SIXTY = [(ago, 10 * EUR) for ago in range(1, 61)]
MINUTE = 60_000


async def spent(store, amount, call_id="spent", agreed=AGREED):
    """A call that is over."""
    call = await admitted(store, watched_take(watched(session(call_id), agreed), amount))
    await store.settle(over(call, amount))


async def asking(store, amount, call_id="c1", agreed=AGREED, **fields):
    return await store.admit(watched_take(watched(session(call_id), agreed), amount, **fields))


# ---- the vectors of the definition


async def test_sixty_days_of_ten_euro_make_the_average(store):
    await spent_before(store, SIXTY)
    await spent(store, 49 * EUR)
    seen = (await asking(store, EUR + 1)).watched[0]
    assert (seen.baseline, seen.threshold, seen.exposure) == (10 * EUR, 50 * EUR, 49 * EUR)
    assert (seen.rule, seen.refuses, seen.seen, seen.limit) == (Rule.THRESHOLD, True, 50 * EUR + 1, 50 * EUR)
    assert isinstance(await asking(store, EUR), Taken)


async def test_a_new_accounts_average_is_over_fourteen_days(store):
    await spent_before(store, [(ago, 10 * EUR) for ago in range(1, 7)])
    assert (await asking(store, 0)).watched[0].baseline == 4_285_714


async def test_a_day_of_fraud_is_clipped_at_its_own_threshold(store):
    await spent_before(store, SIXTY[:59])
    await spent_before(store, [(60, 500 * EUR)])
    assert (await asking(store, 0)).watched[0].baseline == 10_666_666


async def test_of_ten_calls_at_once_exactly_as_many_pass_as_there_is_room_for(store):
    """In every interleaving: some run out before others begin."""
    for seed in range(5):
        order = random.Random(seed)
        calls = [f"{seed}-{number}" for number in range(10)]
        order.shuffle(calls)
        await store.say(word(Release()))
        held = (await today(store)).exposure
        assert held == 0
        answers = await asyncio.gather(*(asking(store, 5 * EUR, call_id) for call_id in calls))
        assert sum(isinstance(answer, Taken) for answer in answers) == 8
        for call_id, answer in zip(calls, answers, strict=True):
            if isinstance(answer, Taken):
                await store.settle(over(replace(watched(session(call_id)), version=1), 0))


async def test_calls_whose_end_nobody_saw_are_estimates_until_the_truth_comes(store):
    calls = [await admitted(store, watched_take(watched(session(f"c{n}")), 2 * EUR)) for n in range(3)]
    for call in calls:
        await store.settle(over(call, None, estimated=True))
    day = await today(store)
    assert (day.exposure, day.held, day.estimated) == (6 * EUR, 0, 6 * EUR)
    for call, truth in zip(calls, (1_100_000, 2_000_000), strict=False):
        ended = replace(call, version=call.version + 1)
        await store.settle(over(ended, truth - 2 * EUR, more=True, guessed=2 * EUR))
    day = await today(store)
    assert (day.settled, day.estimated) == (5_100_000, 2 * EUR)


@pytest.mark.parametrize(("first", "hours"), [("2026-10-24T22:00:00", 25), ("2026-03-28T23:00:00", 23)])
async def test_a_day_is_the_accounts_calendar_day(store, first, hours):
    """The nights in which Amsterdam's clocks change: the day before, the day itself, the day after."""
    from datetime import UTC, datetime

    begins_ms = int(datetime.fromisoformat(first).replace(tzinfo=UTC).timestamp()) * 1000
    ends_ms = begins_ms + hours * 3_600_000
    moments = (begins_ms - 1, begins_ms, ends_ms - 1, ends_ms)
    asks = [
        watched_take(watched(session(f"c{n}"), timezone="Europe/Amsterdam"), EUR, at_ms=at)
        for n, at in enumerate(moments)
    ]
    days = [proposed.levels[0].watch.day for proposed in asks]
    assert [day - days[1] for day in days] == [-1, 0, 0, 1]


# ---- what counts


async def test_what_a_running_call_holds_counts_and_what_it_did_not_use_comes_back(store):
    call = await admitted(store, watched_take(watched(session()), 5 * EUR))
    day = await today(store)
    assert (day.exposure, day.held, day.settled) == (5 * EUR, 5 * EUR, 0)
    await store.settle(over(call, 2 * EUR))
    day = await today(store)
    assert (day.exposure, day.held, day.settled) == (2 * EUR, 0, 2 * EUR)


async def test_a_slice_that_is_used_up_is_settled(store):
    call = await admitted(store, watched_take(watched(session()), 5 * EUR))
    assert isinstance(await extend(store, further(call, 7 * EUR)), Extended)
    day = await today(store)
    assert (day.exposure, day.held, day.settled) == (12 * EUR, 7 * EUR, 5 * EUR)
    await store.settle(over(replace(call, version=2), 6 * EUR))
    day = await today(store)
    assert (day.exposure, day.held) == (6 * EUR, 0)


async def test_a_slice_that_turns_out_cheaper_gives_back(store):
    call = await admitted(store, watched_take(watched(session()), 5 * EUR))
    await extend(store, further(call, -2 * EUR))
    day = await today(store)
    assert (day.exposure, day.held) == (3 * EUR, 3 * EUR)


async def test_more_than_was_held_counts_in_full(store):
    call = await admitted(store, watched_take(watched(session()), 5 * EUR))
    await store.settle(over(call, 9 * EUR))
    assert (await today(store)).exposure == 9 * EUR


async def test_a_call_that_is_refused_after_all_gives_everything_back(store):
    call = await admitted(store, watched_take(watched(session()), 5 * EUR))
    await store.settle(refusal(call))
    day = await today(store)
    assert (day.exposure, day.held) == (0, 0)


async def test_a_refused_call_counts_nothing(store):
    assert isinstance(await asking(store, 41 * EUR), TakeRefused)
    assert (await today(store)).exposure == 0


async def test_a_slice_belongs_to_the_day_in_which_it_was_granted(store):
    call = await admitted(store, watched_take(watched(session()), 5 * EUR))
    await extend(store, further(call, 10 * EUR, at_ms=day_ms(1)))
    assert (await today(store, day=DAY + 1)).exposure == 10 * EUR
    (yesterday,) = (await statistics(store, day=DAY + 1)).past
    assert yesterday.exposure == 5 * EUR
    await store.settle(over(replace(call, version=2), 7 * EUR, day=DAY + 1))
    told = await statistics(store, day=DAY + 1)
    assert (told.past[0].exposure, told.today.exposure, told.today.held) == (5 * EUR, 2 * EUR, 0)


async def test_a_call_that_ends_the_day_after_gives_back_to_its_own_day(store):
    call = await admitted(store, watched_take(watched(session()), 5 * EUR))
    await asking(store, EUR, "next", at_ms=day_ms(1))
    await store.settle(over(call, 4 * EUR, day=DAY + 1))
    told = await statistics(store, day=DAY + 1)
    assert (told.past[0].exposure, told.today.exposure) == (4 * EUR, EUR)


async def test_a_clock_that_steps_over_midnight_and_back_finds_its_day_again(store):
    await spent(store, 39 * EUR)
    assert isinstance(await asking(store, 2 * EUR, "tomorrow", at_ms=day_ms(1)), Taken)
    assert isinstance(await asking(store, 2 * EUR, "today"), TakeRefused)
    assert (await today(store)).exposure == 39 * EUR


async def test_what_the_store_has_lost_counts_all_the_same(store):
    lost = replace(watched(session()), version=0)
    await store.settle(over(lost, 3 * EUR))
    assert (await today(store)).exposure == 3 * EUR


async def test_every_level_counts_for_itself(store):
    call = watched(session("c1", ("shop", ROOT)))
    taken = await store.admit(watched_take(call, 3 * EUR, 2 * EUR))
    assert [seen.level for seen in taken.watched] == [0, 1]
    assert (await today(store, "shop")).exposure == 3 * EUR
    assert (await today(store)).exposure == 2 * EUR


async def test_a_level_above_refuses_and_nobody_counts(store):
    tight = watched(session("c1", ("shop", ROOT)))
    own, above = tight.levels
    tight = replace(tight, levels=(own, replace(above, watch=replace(above.watch, thresholds=Thresholds(EUR)))))
    answer = await store.admit(watched_take(tight, 3 * EUR, 2 * EUR))
    assert [seen.refuses for seen in answer.watched] == [False, True]
    assert (await today(store, "shop")).exposure == 0


async def test_a_level_that_is_not_watched_beside_one_that_is(store):
    call = watched(session("c1", ("shop", ROOT)))
    call = replace(call, levels=(replace(call.levels[0], watch=None), call.levels[1]))
    taken = await store.admit(watched_take(call, 0, 2 * EUR))
    assert [seen.level for seen in taken.watched] == [1]
    longer = await extend(store, further(replace(call, version=1), 0, EUR))
    assert [seen.level for seen in longer.watched] == [1]


async def test_a_dry_look_leaves_nothing(store):
    assert isinstance(await asking(store, 41 * EUR, dry=True), TakeRefused)
    assert isinstance(await asking(store, 40 * EUR, dry=True), Taken)
    day = await today(store)
    assert (day.exposure, day.tripped_ms, day.told) == (0, 0, 0)


async def test_force_counts_and_knows_no_limit(store):
    assert isinstance(await asking(store, 100 * EUR, force=True), Taken)
    assert (await today(store)).exposure == 100 * EUR


async def test_the_answer_is_remembered_with_what_was_seen(store):
    proposed = watched_take(watched(session()), 5 * EUR)
    taken = await store.admit(proposed)
    known = await store.find(proposed.session.call)
    assert known.taken.watched == taken.watched
    assert known.levels[0].exposed == 5 * EUR


# ---- the threshold


async def test_a_ceiling_bounds_average_and_range_together(store):
    await spent_before(store, SIXTY)
    agreed = Thresholds(40 * EUR, ceiling=30 * EUR)
    assert isinstance(await asking(store, 30 * EUR + 1, agreed=agreed), TakeRefused)
    assert isinstance(await asking(store, 30 * EUR, agreed=agreed), Taken)


async def test_an_extension_that_does_not_fit_is_refused_and_the_grant_stands(store):
    call = await admitted(store, watched_take(watched(session()), 39 * EUR))
    answer = await extend(store, further(call, 2 * EUR))
    assert isinstance(answer, ExtendRefused)
    assert answer.watched[0].refuses
    assert (await today(store)).exposure == 39 * EUR
    assert isinstance(await extend(store, further(call, EUR)), Extended)


async def test_no_slice_is_judged_that_money_does_not_pay_for(store):
    """It will be asked for again, shorter."""
    await store.top_up(top_up(5))
    proposed = watched_take(watched(session()), 41 * EUR)
    poor = replace(proposed, levels=(replace(proposed.levels[0], hold=10, hold_overflow=10),))
    seen = (await store.admit(poor)).watched[0]
    assert (seen.rule, seen.refuses, seen.news) == (Rule.THRESHOLD, False, 0)
    assert (await today(store)).tripped_ms == 0


# ---- modes


async def test_off_and_monitor_refuse_nothing_but_tell(store):
    answer = await asking(store, 41 * EUR, agreed=mode(Mode.MONITOR))
    assert isinstance(answer, Taken)
    assert answer.watched[0].rule is Rule.THRESHOLD
    assert answer.watched[0].alerts == (Alert.WARNED, Alert.TRIPPED)


async def test_soft_goes_on_refusing_only_what_does_not_fit(store):
    assert isinstance(await asking(store, 41 * EUR, "c1"), TakeRefused)
    assert isinstance(await asking(store, 40 * EUR, "c2"), Taken)


async def test_hard_blocks_from_the_first_refusal_to_midnight(store):
    hard = mode(Mode.HARD)
    running = await admitted(store, watched_take(watched(session("up"), hard), EUR))
    tripped = await asking(store, 40 * EUR, "c1", hard)
    assert tripped.watched[0].alerts == (Alert.WARNED, Alert.TRIPPED) or tripped.watched[0].alerts == (Alert.TRIPPED,)
    blocked = (await asking(store, 1, "c2", hard)).watched[0]
    assert (blocked.rule, blocked.refuses, blocked.since_ms) == (Rule.BLOCKED, True, NOW.wall_ms)
    assert isinstance(await extend(store, further(running, 1)), ExtendRefused)
    assert isinstance(await asking(store, 1, "c3", hard, at_ms=day_ms(1)), Taken)


async def test_a_release_forgets_what_was_spent_and_lifts_the_block(store):
    hard = mode(Mode.HARD)
    await spent(store, 39 * EUR, agreed=hard)
    up = await admitted(store, watched_take(watched(session("up"), hard), EUR))
    await asking(store, 2 * EUR, "c1", hard)
    await store.say(word(Release()))
    day = await today(store)
    assert (day.exposure, day.tripped_ms) == (EUR, 0)
    assert isinstance(await asking(store, 39 * EUR, "c2", hard), Taken)
    await store.settle(over(up, 0))
    assert (await today(store)).exposure == 39 * EUR


async def test_until_a_moment_nothing_is_refused(store):
    await store.say(word(Release(NOW.wall_ms + MINUTE)))
    assert isinstance(await asking(store, 60 * EUR, "c1"), Taken)
    assert isinstance(await asking(store, 1, "c2", at_ms=NOW.wall_ms + MINUTE), TakeRefused)


async def test_more_may_be_allowed_for_today_beyond_the_ceiling(store):
    agreed = Thresholds(40 * EUR, ceiling=40 * EUR)
    await store.say(word(Allow(20 * EUR)))
    assert isinstance(await asking(store, 60 * EUR + 1, agreed=agreed), TakeRefused)
    assert isinstance(await asking(store, 60 * EUR, agreed=agreed), Taken)
    assert isinstance(await asking(store, 41 * EUR, "next", agreed, at_ms=day_ms(1)), TakeRefused)


async def test_a_word_with_an_id_is_heard_once(store):
    for id, said in (("t1", Allow(EUR)), ("t2", Release()), ("t3", Release(NOW.wall_ms + MINUTE))):
        for _ in range(3):
            await store.say(replace(word(said), id=id))
    found = await statistics(store)
    assert (found.today.extra, len(found.notes)) == (EUR, 3)
    for id, other in (("t1", Allow(EUR + 1)), ("t1", Release()), ("t2", Release(1)), ("t3", Release())):
        with pytest.raises(CallConflict):
            await store.say(replace(word(other), id=id))
    assert (await statistics(store)).today == found.today
    await asyncio.gather(*(store.say(replace(word(Allow(EUR)), id=f"n{n % 2}")) for n in range(6)))
    assert (await today(store)).extra == 3 * EUR


async def test_what_is_allowed_for_today_does_not_raise_later_averages(store):
    await store.say(word(Allow(100 * EUR)))
    await spent(store, 140 * EUR)
    assert (await asking(store, 0, at_ms=day_ms(1))).watched[0].baseline == 40 * EUR // 14


async def test_a_day_of_which_only_a_word_is_known_is_clipped_by_no_threshold(store):
    await store.say(word(Allow(EUR)))
    await store.say(word(Tell((Told(DAY, 14 * EUR),)), day=DAY + 1))
    assert (await today(store, day=DAY + 1)).baseline == EUR


async def test_an_incident_is_left_out_and_the_days_shrink(store):
    await spent_before(store, [(ago, 10 * EUR) for ago in range(1, 31)])
    await store.say(word(Tell((Told(DAY - 1, 45 * EUR),))))
    assert (await asking(store, 0, "c1")).watched[0].baseline == (29 * 10 + 45) * EUR // 30
    await store.say(word(Tell((Told(DAY - 1, incident=True),))))
    assert (await asking(store, 0, "c2")).watched[0].baseline == 10 * EUR
    await store.say(word(Tell((Told(DAY - 1, incident=False),))))
    assert (await asking(store, 0, "c3")).watched[0].baseline == (29 * 10 + 45) * EUR // 30


async def test_days_without_calls_count_and_those_before_sixty_do_not(store):
    await spent_before(store, [(61, 50 * EUR), (60, 50 * EUR), (30, 10 * EUR)])
    assert (await asking(store, 0)).watched[0].baseline == EUR


# ---- alerts


async def test_a_warning_is_told_once_a_day(store):
    await spent_before(store, SIXTY)
    alerts = [(await asking(store, it, f"c{n}")).watched[0].alerts for n, it in enumerate((41_999_999, 1, 1))]
    assert alerts == [(), (Alert.WARNED,), ()]
    assert (await asking(store, 43 * EUR, "next", at_ms=day_ms(1))).watched[0].alerts == (Alert.WARNED,)


async def test_a_trip_is_told_once_and_noted(store):
    first = (await asking(store, 41 * EUR, "c1")).watched[0]
    again = (await asking(store, 41 * EUR, "c2")).watched[0]
    assert (first.alerts, again.alerts) == ((Alert.TRIPPED,), ())
    assert (await today(store)).tripped_ms == NOW.wall_ms


async def test_who_is_refused_for_something_else_trips_nothing(store):
    from callctl.limits.concurrency import Slot

    proposed = watched_take(watched(session()), 41 * EUR)
    full = replace(proposed, levels=(replace(proposed.levels[0], slots=(Slot("outbound", 0, 0),)),))
    seen = (await store.admit(full)).watched[0]
    assert (seen.rule, seen.refuses, seen.news) == (Rule.THRESHOLD, True, 0)
    assert (await today(store)).tripped_ms == 0


async def test_a_look_at_a_call_that_is_refused_otherwise_tells_nothing(store):
    seen = (await asking(store, 41 * EUR, agreed=mode(Mode.HARD), probe=True)).watched[0]
    assert (seen.rule, seen.refuses, seen.news) == (Rule.THRESHOLD, True, 0)


async def test_what_was_let_pass_does_not_keep_the_account_from_being_blocked(store):
    """By `monitor`, by a release until a moment, or because the store was away."""
    hard = mode(Mode.HARD)
    await asking(store, 41 * EUR, "c1", mode(Mode.MONITOR))
    tripped, blocked = [(await asking(store, EUR, call_id, hard)).watched[0] for call_id in ("c2", "c3")]
    assert (tripped.rule, tripped.alerts) == (Rule.THRESHOLD, (Alert.TRIPPED,))
    assert (blocked.rule, blocked.alerts) == (Rule.BLOCKED, ())


async def test_a_call_that_is_taken_by_force_trips(store):
    hard = mode(Mode.HARD)
    taken = await asking(store, 41 * EUR, "c1", hard, force=True)
    assert (taken.watched[0].refuses, taken.watched[0].alerts) == (True, (Alert.WARNED, Alert.TRIPPED))
    assert (await asking(store, 0, "c2", hard)).watched[0].rule is Rule.BLOCKED


async def test_who_asks_for_less_breaks_nothing(store):
    call = await admitted(store, watched_take(watched(session()), 39 * EUR))
    tight = watched(call, mode(Mode.HARD, ceiling=10 * EUR))
    longer = await extend(store, further(tight, -EUR))
    assert (longer.watched[0].rule, longer.watched[0].alerts) == (Rule.NONE, ())
    assert (await today(store)).tripped_ms == 0


# ---- days that turn


async def test_a_day_that_is_come_back_to_holds_what_its_calls_hold(store):
    """The clock is set back over midnight, twice; the call has gone on to another day, or has ended there."""
    up, gone = [await admitted(store, watched_take(watched(session(name)), 5 * EUR)) for name in ("up", "gone")]
    await extend(store, further(up, EUR, at_ms=day_ms(1)))
    await store.settle(over(gone, 2 * EUR))
    assert (await today(store, day=DAY + 1)).held == EUR
    assert isinstance(await asking(store, 0, "back"), Taken)
    day = await today(store)
    assert (day.exposure, day.held) == (7 * EUR, 0)
    await extend(store, further(replace(up, version=2), 3 * EUR))
    assert (await today(store)).held == 3 * EUR
    await store.settle(over(replace(up, version=3), 9 * EUR))
    told = await statistics(store, day=DAY + 1)
    assert (told.past[-1].exposure, told.past[-1].held) == (2 * EUR + 5 * EUR + 3 * EUR, 0)
    assert (told.today.exposure, told.today.held) == (EUR, 0)


async def test_a_guess_is_corrected_on_the_days_that_have_it(store):
    """The calls were given up after midnight; the truth names the day of that."""
    calls = [await admitted(store, watched_take(watched(session(f"c{n}")), 5 * EUR)) for n in range(2)]
    await extend(store, further(calls[1], 2 * EUR, at_ms=day_ms(1)))
    calls[1] = replace(calls[1], version=2)
    for call in calls:
        await store.settle(over(call, None, estimated=True, day=DAY + 1))
    await store.settle(over(replace(calls[0], version=2), EUR - 5 * EUR, more=True, guessed=5 * EUR, day=DAY))
    await store.settle(over(replace(calls[1], version=3), 4 * EUR - 7 * EUR, more=True, guessed=7 * EUR, day=DAY + 1))
    told = await statistics(store, day=DAY + 1)
    assert (told.past[-1].exposure, told.past[-1].estimated) == (EUR + 4 * EUR, 0)
    assert (told.today.exposure, told.today.estimated) == (0, 0)


async def test_a_correction_gives_nothing_back_of_what_was_released(store):
    call = await admitted(store, watched_take(watched(session()), 5 * EUR))
    await store.settle(over(call, None, estimated=True))
    await store.say(word(Release()))
    await store.settle(over(replace(call, version=2), -4 * EUR, more=True, guessed=5 * EUR))
    day = await today(store)
    assert (day.spent, day.exposure) == (EUR, 0)


async def test_a_release_until_a_moment_outlives_midnight_before_anybody_calls(store):
    await store.say(word(Release(day_ms(2))))
    assert (await today(store, day=DAY + 1)).free_until_ms == day_ms(2)


# ---- further rules


async def test_an_hour_has_six_hours_of_the_average_and_half_the_range(store):
    await spent_before(store, SIXTY)
    agreed = mode(Mode.SOFT, hourly=True)
    assert isinstance(await asking(store, 22_500_000, "c1", agreed), Taken)
    seen = (await asking(store, 1, "c2", agreed)).watched[0]
    assert (seen.rule, seen.seen, seen.limit) == (Rule.HOUR, 22_500_001, 22_500_000)
    assert seen.alerts == (Alert.HOUR,)
    assert isinstance(await asking(store, 1, "c3", agreed, at_ms=NOW.wall_ms + 60 * MINUTE), Taken)


async def test_what_an_hour_did_not_use_comes_back_to_it(store):
    agreed = mode(Mode.SOFT, hourly=True)
    call = await admitted(store, watched_take(watched(session("up"), agreed), 20 * EUR))
    assert isinstance(await asking(store, EUR, "c1", agreed), TakeRefused)
    await store.settle(over(call, 15 * EUR))
    assert isinstance(await asking(store, 5 * EUR, "c2", agreed), Taken)


async def test_so_many_at_once_as_twice_the_most_of_the_days_before(store):
    agreed = mode(Mode.SOFT, concurrent=True)
    answers = [await asking(store, 1, f"c{n}", agreed) for n in range(4)]
    assert [isinstance(answer, Taken) for answer in answers] == [True, True, True, False]
    assert answers[3].watched[0].rule is Rule.CONCURRENT
    await store.say(word(Tell((Told(DAY - 1, peak=3),))))
    answers = [await asking(store, 1, f"d{n}", agreed) for n in range(4)]
    assert [isinstance(answer, Taken) for answer in answers] == [True, True, True, False]
    assert answers[3].watched[0].limit == 6


async def test_the_most_at_once_is_kept_for_the_days_after(store):
    agreed = mode(Mode.SOFT, concurrent=True)
    for n in range(3):
        await store.settle(over(await admitted(store, watched_take(watched(session(f"a{n}"), agreed), 1)), 1))
    calls = [await admitted(store, watched_take(watched(session(f"b{n}"), agreed), 1)) for n in range(2)]
    for call in calls:
        await store.settle(over(call, 1))
    assert (await today(store)).peak == 2
    assert (await asking(store, 1, "c", agreed, at_ms=day_ms(1))).watched[0].rule is Rule.NONE
    assert (await today(store, day=DAY + 1)).most == 2


async def test_a_high_risk_country_that_is_new_has_a_small_range_of_its_own(store):
    agreed = mode(Mode.SOFT, new_country=5 * EUR)

    async def calling(country, amount, call_id, at_ms=NOW.wall_ms):
        return await store.admit(watched_take(watched(session(call_id), agreed, country), amount, at_ms=at_ms))

    assert isinstance(await calling("CU", 5 * EUR, "c1"), Taken)
    refused = await calling("CU", 1, "c2")
    assert (refused.watched[0].rule, refused.watched[0].seen) == (Rule.COUNTRY, 5 * EUR + 1)
    assert isinstance(await calling("SO", 5 * EUR, "c3"), Taken)
    assert isinstance(await calling("CU", 9 * EUR, "c4", day_ms(1)), Taken), "it was called yesterday"
    assert isinstance(await calling("CU", 9 * EUR, "c5", day_ms(62)), TakeRefused), "61 days ago is long ago"
    assert isinstance(await calling("CU", 9 * EUR, "c6", day_ms(61)), Taken)


async def test_what_a_new_country_did_not_use_comes_back_to_it(store):
    agreed = mode(Mode.SOFT, new_country=5 * EUR)
    call = await admitted(store, watched_take(watched(session("up"), agreed, "CU"), 5 * EUR))
    await store.settle(over(call, EUR))
    assert isinstance(await store.admit(watched_take(watched(session("c"), agreed, "CU"), 4 * EUR)), Taken)


async def test_a_burst_of_attempts_is_refused_for_a_minute(store):
    agreed = mode(Mode.SOFT, attempts_per_minute=3)
    at = [NOW.wall_ms + n for n in range(4)]
    answers = [await asking(store, 1, f"c{n}", agreed, at_ms=at[n]) for n in range(4)]
    assert [isinstance(answer, Taken) for answer in answers] == [True, True, True, False]
    assert (answers[3].watched[0].rule, answers[3].watched[0].seen) == (Rule.BURST, 4)
    assert isinstance(await asking(store, 1, "d1", agreed, at_ms=at[0] + MINUTE - 1), TakeRefused)
    assert isinstance(await asking(store, 1, "d2", agreed, at_ms=at[3] + 2 * MINUTE), Taken)


async def test_an_explanation_is_no_attempt(store):
    agreed = mode(Mode.SOFT, attempts_per_minute=1)
    for n in range(3):
        assert isinstance(await asking(store, 1, f"c{n}", agreed, dry=True), Taken)


async def test_in_the_middle_of_a_burst_an_explanation_says_what_the_attempt_would_hear(store):
    agreed = mode(Mode.SOFT, attempts_per_minute=1)
    for n in range(4):
        explained, asked = [(await asking(store, 1, f"c{n}", agreed, dry=dry)).watched[0] for dry in (True, False)]
        assert (explained.rule, explained.seen) == (asked.rule, asked.seen)


async def test_an_attempt_that_asks_again_for_less_is_one(store):
    agreed = mode(Mode.SOFT, attempts_per_minute=1)
    proposed = watched_take(watched(session(), agreed), 1)
    again = replace(proposed, levels=tuple(replace(lv, watch=replace(lv.watch, again=True)) for lv in proposed.levels))
    poor = replace(again, levels=tuple(replace(lv, hold=1, hold_overflow=1) for lv in again.levels))
    assert (await store.admit(poor)).watched[0].rule is Rule.NONE
    assert isinstance(await store.admit(again), Taken)
    assert isinstance(await asking(store, 1, "c2", agreed), Taken)
    assert isinstance(await asking(store, 1, "c3", agreed), TakeRefused)


# ---- moving


async def test_the_days_move_with_their_account(store):
    await spent_before(store, SIXTY)
    await spent(store, 3 * EUR)
    before = await statistics(store)
    await moved(store, to="other")
    after = await statistics(store, root="other")
    assert (after.today, after.past) == (before.today, before.past)
    assert (await statistics(store)).past == ()


async def test_of_an_account_that_has_another_root_now_nothing_is_said(store):
    await moved(store, to="other")
    with pytest.raises(StoreUnavailable, match="left root acme"):
        await store.say(word(Allow(EUR)))
    assert (await statistics(store)).today.extra == 0
