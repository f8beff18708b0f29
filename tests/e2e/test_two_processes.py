"""A call that no switch of ours carries is reported to any of several processes on one store."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from callctl.call.admission import Policy
from callctl.call.events import Answered, CallKey, Deadline, DeadlineReached, ExtendAsked, Offered, Released
from callctl.call.session import State
from callctl.call.takes import Take
from callctl.causes import Refusal
from callctl.clock import Instant
from callctl.control.calls import CallControl
from callctl.control.elsewhere import in_our_time
from callctl.control.journal import Journal
from callctl.errors import StoreUnavailable
from tests.contract.calls import all_live
from tests.e2e.front_door import NL_MOB, FrontDoor, SetClock
from tests.waiting import PATIENCE_S, until

CALL = CallKey("http", "c1")


@pytest.fixture
def there(door: FrontDoor, tmp_path: Path) -> Iterator[CallControl]:
    """Another process beside that of the door."""
    journal = Journal(tmp_path / "there")
    yield door.process(journal)
    journal.close()


async def admitted(door: FrontDoor, **other: object) -> None:
    offered = Offered(CALL, door.clock.now(), "+31201234567", NL_MOB, account="acme", can_extend=True, **other)
    assert (await door.calls.authorize(offered)).state is State.ADMITTED


async def test_what_is_answered_there_is_extended_here(door, there) -> None:
    await admitted(door)
    await there.report(Answered(CALL, door.clock.now(), stated=False))
    for granted_s, calls in ((30, door.calls), (70, there), (150, door.calls), (310, door.calls), (610, there)):
        session = await calls.report(ExtendAsked(CALL))
        assert (session.state, session.granted_s) == (State.ANSWERED, granted_s)


@pytest.mark.parametrize("deadline", [Deadline.CUT, Deadline.LOST])
async def test_what_is_extended_there_is_not_ended_here(door, there, deadline) -> None:
    await admitted(door)
    await door.calls.report(Answered(CALL, door.clock.now(), stated=False))
    for _ in range(3):
        await there.report(ExtendAsked(CALL))
    door.clock.pass_s(60)
    door.calls.receive(DeadlineReached(CALL, deadline))
    await door.calls.performer.drain()
    assert (await door.calls.find(CALL)).state is State.ANSWERED
    assert [it.state for it in await all_live(door.store, ["acme"])] == [State.ANSWERED]
    ended, (record, *_) = await there.end(Released(CALL, door.clock.now(), stated=False))
    assert (ended.state, ended.estimated, b'"duration_s":60' in record.payload) == (State.ENDED, False, True)


@pytest.mark.parametrize("by_webhook", [False, True])
async def test_what_is_answered_there_is_not_given_up_here(door, there, by_webhook) -> None:
    await admitted(door, attended=by_webhook, fingerprint="f" if by_webhook else "")
    await there.report(Answered(CALL, door.clock.now(), stated=False))
    door.calls.receive(DeadlineReached(CALL, Deadline.SETUP))
    await door.calls.performer.drain()
    session = await door.calls.find(CALL)
    assert (session.state, session.cut) == (State.ANSWERED, False)


async def test_what_nobody_has_heard_of_since_is_given_up(door, there) -> None:
    await admitted(door)
    await door.calls.report(Answered(CALL, door.clock.now(), stated=False))
    door.clock.pass_s(60)
    for deadline in (Deadline.CUT, Deadline.LOST):
        door.calls.receive(DeadlineReached(CALL, deadline))
        await door.calls.performer.drain()
    ended = await there.find(CALL)
    assert (ended.state, ended.estimated) == (State.ENDED, True)


async def test_each_lists_the_calls_of_all_as_they_are_now(door, there) -> None:
    await admitted(door)
    assert [(it.call, it.state) for it in await there.everywhere(["acme"])] == [(CALL, State.ADMITTED)]
    await there.report(Answered(CALL, door.clock.now(), stated=False))
    (listed,) = (await door.json("GET", "/v1/calls"))["calls"]
    assert (listed["call_id"], listed["state"]) == ("c1", "answered")
    await there.end(Released(CALL, door.clock.now(), stated=False))
    for account in ("", "?account=acme", "?account=nobody"):
        assert (await door.json("GET", f"/v1/calls{account}"))["total"] == 0
    assert (door.calls.live(), there.live()) == ([], [])


async def test_a_list_shows_nobody_what_is_not_its_own(door, there) -> None:
    offered = Offered(CALL, door.clock.now(), "+31201234567", NL_MOB, account="shop", can_extend=True)
    assert (await there.authorize(offered)).state is State.ADMITTED
    seen = {bearer: (await door.json("GET", "/v1/calls", bearer))["total"] for bearer in ("ops", "reseller", "acme")}
    assert seen == {"ops": 1, "reseller": 1, "acme": 0}


async def test_without_the_store_each_lists_what_it_has_heard_of(door, there, monkeypatch) -> None:
    await admitted(door)

    async def away(roots: object) -> None:
        raise StoreUnavailable("away")

    monkeypatch.setattr(door.store, "listed", away)
    assert (await door.json("GET", "/v1/calls"))["total"] == 1
    assert await there.everywhere(["acme"]) == []


@pytest.mark.parametrize("apart_s", [-3600, 3600])
async def test_a_process_whose_wall_clock_was_set_meanwhile_charges_what_another_has_seen(
    door, tmp_path, apart_s
) -> None:
    """The one was started before the clock was set, the other after: their monotonic clocks are an hour apart."""
    set_later = SetClock()
    now = door.clock.now()
    set_later.instant = Instant(now.wall_ms, now.monotonic_ms + apart_s * 1000)
    journal = Journal(tmp_path / "there")
    there = door.process(journal, clock=set_later, policy=Policy(clock="there"))
    await admitted(door)
    await door.calls.report(Answered(CALL, door.clock.now(), stated=False))
    for clock in (door.clock, set_later):
        clock.pass_s(7)
    ended, (record, *_) = await there.end(Released(CALL, set_later.now(), stated=False))
    assert (ended.state, ended.estimated, b'"duration_ms":7000' in record.payload) == (State.ENDED, False, True)
    journal.close()


async def test_a_call_that_is_taken_up_again_and_again_has_lasted_as_long(door) -> None:
    """Nothing of it is saved meanwhile: the store is away, and only the journal is handed on."""
    await admitted(door)
    await door.calls.report(Answered(CALL, door.clock.now(), stated=False))
    door.clock.pass_s(7)
    session, now = await door.calls.find(CALL), door.clock.now()
    for process, ahead_s in enumerate((-3600, 0, 3600)):
        there = Instant(now.wall_ms, now.monotonic_ms - ahead_s * 1000)
        session = in_our_time(session, there, f"process {process}")
        assert session.answered is not None
        assert there.since_ms(session.answered) == 7000


@pytest.mark.parametrize("clock", ["machine.2", "another.2"])
async def test_one_boot_is_one_clock_for_all_its_processes(door, clock) -> None:
    """The wall clock was set back by an hour, and then forward again, while none of them ran."""
    await admitted(door)
    await door.calls.report(Answered(CALL, door.clock.now(), stated=False))
    door.clock.pass_s(7)
    session, now = replace(await door.calls.find(CALL), clock="machine.1"), door.clock.now()
    for step_s in (-3600, 3600):
        there = Instant(now.wall_ms + step_s * 1000, now.monotonic_ms)
        again = in_our_time(session, there, clock)
        assert again.answered is not None
        lasted_ms = there.since_ms(again.answered)
        assert lasted_ms == (7000 if clock == "machine.2" else max(0, 7000 + step_s * 1000))


async def test_a_call_that_no_switch_carries_is_decided_within_its_budget(door, monkeypatch) -> None:
    async def hangs(_: object) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(door.store, "admit", hangs)
    offered = Offered(CALL, door.clock.now(), "+31201234567", NL_MOB, account="acme", fingerprint="f")
    asked = asyncio.ensure_future(door.calls.authorize(offered))
    await until(lambda: door.calls.knows(CALL))
    door.clock.pass_s(2)
    door.calls.deadlines.turn()
    async with asyncio.timeout(PATIENCE_S):
        session = await asked
    assert (session.state, session.refusal) == (State.REFUSED, Refusal.BUDGET_EXCEEDED)


async def test_a_call_that_is_up_elsewhere_goes_on_though_one_process_had_no_time_to_hear_of_it(
    door, tmp_path, monkeypatch
) -> None:
    journal, answers = Journal(tmp_path / "there"), asyncio.Event()
    there, admit = door.process(journal, policy=Policy(clock="there")), door.store.admit

    async def slow(take: Take) -> object:
        await answers.wait()
        return await admit(take)

    await admitted(door)
    await door.calls.report(Answered(CALL, door.clock.now(), stated=False))
    monkeypatch.setattr(door.store, "admit", slow)
    offered = Offered(CALL, door.clock.now(), "+31201234567", NL_MOB, account="acme")
    asked = asyncio.ensure_future(there.authorize(offered))
    await until(lambda: there.knows(CALL))
    there.receive(DeadlineReached(CALL, Deadline.SETUP))
    async with asyncio.timeout(PATIENCE_S):
        assert (await asked).refusal is Refusal.BUDGET_EXCEEDED
    answers.set()
    await there.performer.drain()
    assert not there.knows(CALL)
    assert [it.state for it in await all_live(door.store, ["acme"])] == [State.ANSWERED]
    journal.close()
