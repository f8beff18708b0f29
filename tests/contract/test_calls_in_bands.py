"""Calls from one band into another over every store: what it holds, posts and remembers, also for the next process."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from callctl.accounts import Account, Kind
from callctl.call.admission import Policy
from callctl.call.events import Answered, CallKey, Offered, Released
from callctl.call.session import Session, State
from callctl.call.takes import TopUp
from callctl.clock import Instant
from callctl.control.calls import CallControl
from callctl.control.journal import Journal
from callctl.money import parse_amount
from callctl.rating.bands import parse_band
from callctl.rating.builder import DeckBuilder
from callctl.rating.tariff import Plan, Row
from callctl.rating.tax import Tax
from callctl.store.registry import Registry
from tests.contract.calls import figures, outbox
from tests.control_room import Notes

EIGHT = Instant(1_795_248_000_000, 5_000)  # 2026-11-21T08:00:00Z
CALL = CallKey("http", "c1")
VAT = Tax("VAT", percent=210_000)


class SetClock:
    """A clock that stands still until it is told."""

    def __init__(self) -> None:
        self.instant = EIGHT

    def now(self) -> Instant:
        return self.instant

    async def sleep_ms(self, ms: int) -> None:
        self.instant = self.instant.plus_ms(ms)


def registry() -> Registry:
    """0.006 a minute by night with a fee of 0.10, 0.60 by day; with 21 % of tax."""
    known, plan = Registry(), Plan("retail", taxes=(VAT,))
    builder = DeckBuilder(plan)
    night, day = parse_band(("", "18:00", "08:00", "", "", "")), parse_band(("", "08:00", "18:00", "", "", ""))
    builder.add(Row("31", per_minute=600_000, connection_fee=100_000, band=night))
    builder.add(Row("31", per_minute=60_000_000, band=day))
    known.put_plan(plan)
    known.put_deck(builder.build())
    known.put_account(Account("acme", Kind.PREPAID, "retail"))
    return known


class House:
    """One process after the other over one store; the clock and the definitions go on."""

    def __init__(self, store: Any, folder: Path) -> None:
        self.store, self.clock, self.tariffs = store, SetClock(), registry()
        self._folder, self._journal = folder, Journal(folder / "journal-0")
        self.calls: CallControl
        self.start()

    def start(self) -> None:
        self._journal.close()
        self._journal = Journal(self._folder / "journal")
        self.calls = CallControl(
            clock=self.clock,
            tariffs=self.tariffs,
            takes=self.store,
            sessions=self.store,
            switches={},
            journal=self._journal,
            observer=Notes(),
            policy=Policy(longest_unattended_s=60),
            wake=lambda _root: None,
        )

    def close(self) -> None:
        self._journal.close()

    def at(self, seconds: int) -> Instant:
        """So many seconds after eight; the clock is put there."""
        self.clock.instant = EIGHT.plus_ms(seconds * 1000)
        return self.clock.instant

    async def pay(self, micros: int) -> None:
        await self.store.top_up(TopUp("acme", "acme", f"pay-{micros}", micros, EIGHT.wall_ms))

    async def offer(self, at: Instant) -> Session:
        return await self.calls.authorize(Offered(CALL, at, "+31201234567", "+31612345678", account="acme"))

    async def answer(self, at: Instant) -> Session:
        return await self.calls.report(Answered(CALL, at, stated=True))

    async def end(self, at: Instant) -> dict[str, Any]:
        """The record of the call; its gross is what the ledger says."""
        ended = await self.calls.report(Released(CALL, at, stated=True))
        assert ended.state is State.ENDED
        ((_, payload),) = await outbox(self.store, "acme")
        record: dict[str, Any] = json.loads(payload)
        entries = await self.store.ledger("acme", "acme", "", 10)
        assert [entry.amount for entry in entries if entry.call] == [-parse_amount(record["gross"])]
        return record


@pytest.fixture
def house(store: Any, tmp_path: Path) -> Iterator[House]:
    house = House(store, tmp_path)
    yield house
    house.close()


async def test_a_hold_for_the_dearest_answer_becomes_that_of_the_answer(house: House) -> None:
    await house.pay(2_000_000)
    assert (await house.offer(house.at(-60))).granted_s == 60
    assert (await figures(house.store))[1] == 726_000  # a minute by day, and 21 % of it
    await house.answer(house.at(-40))
    # The night's fee and 40 s of it, 20 s of the day: 0.1040 and 0.2000, and the tax.
    assert (await figures(house.store))[1] == 367_800
    record = await house.end(house.at(-10))
    assert (record["charge"], record["connection_fee"], record["gross"]) == ("0.1030", "0.1000", "0.1246")
    assert (await figures(house.store))[:2] == (2_000_000 - 124_600, 0)


@pytest.mark.parametrize("restarted", [False, True])
async def test_what_the_bands_cost_together_is_not_charged_beyond_the_hold(house: House, restarted: bool) -> None:
    """0.7260 is there, and held: of the fee by night and the minute by day together the rest is not to be had."""
    await house.pay(726_000)
    await house.offer(house.at(-60))
    if restarted:
        house.start()
    answered = await house.answer(house.at(-1))
    assert answered.granted_s == 50  # 0.1 + 0.0001 for a second, then 0.01 each
    if restarted:
        house.start()
    record = await house.end(house.at(59))
    assert (record["billed_s"], record["unbilled_s"], record["gross"]) == (50, 10, "0.7140")
    assert (await figures(house.store))[:2] == (12_000, 0)


async def test_a_cut_grant_is_whole_again_where_there_is_money(house: House) -> None:
    await house.pay(5_000_000)
    await house.offer(house.at(-60))
    assert (await house.answer(house.at(-1))).granted_s == 60
    record = await house.end(house.at(59))
    assert (record["billed_s"], record["unbilled_s"], record["gross"]) == (60, 0, "0.8350")


async def test_an_answer_that_only_the_end_tells_of_prices_the_call(house: House) -> None:
    await house.pay(2_000_000)
    await house.offer(house.at(-60))
    house.start()
    answered = house.at(10)
    ended = Released(CALL, house.at(40), stated=True, answered_at=answered)
    assert (await house.calls.report(ended)).state is State.ENDED
    ((_, payload),) = await outbox(house.store, "acme")
    assert json.loads(payload)["charge"] == "0.3000"
