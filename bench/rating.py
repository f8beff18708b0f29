"""Charges per second of one core: of a flat row, and of a row in five bands; neither may tire of a long call."""

import time
from collections.abc import Callable

from bench.figures import Figure, Limit, at_least, fastest, ratio_at_least
from callctl.numbering import Number, NumberType
from callctl.rating.bands import parse_band
from callctl.rating.builder import DeckBuilder
from callctl.rating.charge import Price, affordable_seconds, anchored, charge
from callctl.rating.levels import NoRate, price_levels
from callctl.rating.tariff import Direction, Plan, Row

ROUNDS = 5
CALLS = 20_000  # of a round; more than any cache keeps
SHORT_S, LONG_S = 180, 3 * 3600
MORNING_S = 1_795_415_400  # 2026-11-23 07:30 in Amsterdam: three hours from here are in all five bands
NUMBER = Number("+31612345678", "31612345678", "NL", "31", NumberType.MOB)
FROM = ("00:00", "08:00", "08:30", "09:00", "10:00")


def figures() -> list[Figure]:
    flat, banded = _price(Row("31", per_minute=8_000_000)), _price(*_five_bands())
    answered = [anchored(banded, _answer_s(n)) for n in range(CALLS)]
    short = _rate(lambda n: charge(anchored(banded, _answer_s(n)), SHORT_S))
    return [
        Figure("charges of a flat 1/1 row", _rate(lambda n: charge(flat, n)), "/s", (at_least(200_000),)),
        Figure(
            "charges of three hours in five bands, with their answer",
            _rate(lambda n: charge(anchored(banded, _answer_s(n)), LONG_S)),
            "/s",
            (at_least(50_000), ratio_at_least(0.5)),
            Limit("of three minutes", short),
        ),
        Figure("how long 5.00 lasts there", _rate(lambda n: affordable_seconds(answered[n], 5_000_000, LONG_S)), "/s"),
    ]


def _answer_s(n: int) -> int:
    """Another second for each call, from 07:30 to 08:00 in Amsterdam on one of twelve days."""
    day, second = divmod(n, 1_800)
    return MORNING_S + day * 86_400 + second


def _five_bands() -> list[Row]:
    ends = [*FROM[1:], "24:00"]
    return [
        Row("31", per_minute=2_000_000 * (n + 1), band=parse_band(("", begin, end, "", "", "")))
        for n, (begin, end) in enumerate(zip(FROM, ends, strict=True))
    ]


def _price(*rows: Row) -> Price:
    builder = DeckBuilder(Plan("retail", timezone="Europe/Amsterdam"))
    for row in rows:
        builder.add(row)
    found = price_levels([("customer", builder.build())], None, NUMBER, MORNING_S * 1000, Direction.OUTBOUND)
    assert not isinstance(found, NoRate)
    return found[0].sell


def _rate(charged: Callable[[int], object]) -> float:
    rounds = []
    for _ in range(ROUNDS):
        before = time.process_time()
        for n in range(CALLS):
            charged(n)
        rounds.append(CALLS / (time.process_time() - before))
    return fastest(rounds)
