"""Is the sale worth it: minimum margins, and bounds on the purchase price (`docs/rules.md`, Margin). Exact integers.

Prices per minute are compared as they are charged, fees apart, for every tier and band that the grant can reach.
"""

from collections.abc import Iterator, Sequence
from fractions import Fraction
from functools import lru_cache

import msgspec

from callctl.money import MICROS, format_amount, format_percent, format_rate
from callctl.rating.charge import Price, charge, first_charged_second, unfolded
from callctl.rating.levels import LevelPrice, Part

_RATE_DENOMINATOR = 100  # a rule's 10^-8 per minute are hundredths of a micro-unit


class MarginRule(msgspec.Struct, frozen=True, cache_hash=True):
    """The least that the seller must earn: every part that is set must hold, for a sell price of 0 too.

    `min_per_minute`: 10^-8 per minute; `min_percent`: of the purchase price per minute, in millionths of it;
    `min_per_call`: micro-units on a whole call of `assumed_seconds`, with fees and increments.
    """

    min_per_minute: int | None = None
    min_percent: int | None = None
    min_per_call: int | None = None
    assumed_seconds: int = 180


class MaxCost(msgspec.Struct, frozen=True, cache_hash=True):
    """Bounds of the purchase price: `per_minute` in 10^-8; `connection` and `per_call` in micro-units.

    `per_call`: of all that a level buys for one call, its parts included; it refuses only what the first charged second
    exceeds, and shortens any other grant. The others are of each purchase by itself.
    """

    per_minute: int | None = None
    connection: int | None = None
    per_call: int | None = None


class Found(msgspec.Struct, frozen=True, gc=False):
    """Whether a rule holds, what it saw (both prices) and what it demands (with the shortfall, if any).

    `no_buy`: it cannot be judged, for there is no purchase price.
    """

    kept: bool
    saw: str
    limit: str = ""
    no_buy: bool = False


NO_BUY = Found(kept=False, saw="no purchase price", limit="a rule on the purchase price needs one", no_buy=True)


def margin_kept(rule: MarginRule, price: LevelPrice | Part, until_s: int | None = None) -> Found:
    """Whether the sale earns what the rule demands, over calls of up to `until_s` (None: of any length)."""
    sell, buy = price.sell, price.buy
    if buy is None:
        return _no_buy(price)
    prices = list(_minutes(sell, buy, until_s))
    for sold, bought in prices:
        least = bought + Fraction(rule.min_per_minute or 0, _RATE_DENOMINATOR)
        if rule.min_per_minute is not None and sold < least:
            return _short(price, sold, bought, least, f"{_shown(least - bought)} per minute more than the purchase")
        share = bought + bought * (rule.min_percent or 0) / MICROS
        if rule.min_percent is not None and sold < share:
            return _short(price, sold, bought, share, f"{format_percent(rule.min_percent)} % more than the purchase")
    if rule.min_per_call is not None:
        seconds = rule.assumed_seconds
        sold_micros, bought_micros = charge(sell, seconds).micros, charge(buy, seconds).micros
        short = bought_micros + rule.min_per_call - sold_micros
        if short > 0:
            saw = f"{_pair(price, format_amount(sold_micros), format_amount(bought_micros))} for {seconds} s"
            limit = f"at least {format_amount(rule.min_per_call)} per call, {format_amount(short)} short"
            return Found(kept=False, saw=saw, limit=limit)
    return Found(kept=True, saw=_per_minute(price, *prices[0]))


def cost_within(rule: MaxCost, price: LevelPrice | Part, until_s: int | None = None) -> Found:
    """Whether a purchase is within its bounds, over calls of up to `until_s` (None: any); `per_call` apart."""
    sell, buy = price.sell, price.buy
    if buy is None:
        return _no_buy(price)
    if rule.connection is not None and buy.connection_fee > rule.connection:
        saw = f"buy {format_amount(buy.connection_fee)} per connection"
        return Found(kept=False, saw=saw, limit=f"at most {format_amount(rule.connection)}")
    dearest = max(bought for _, bought in _minutes(sell, buy, until_s))
    saw = f"buy {_shown(dearest)} per minute"
    if rule.per_minute is not None and dearest > (most := Fraction(rule.per_minute, _RATE_DENOMINATOR)):
        return Found(kept=False, saw=saw, limit=f"at most {_shown(most)}")
    return Found(kept=True, saw=saw)


@lru_cache(maxsize=8_192)
def margins_kept(rule: MarginRule, price: LevelPrice, until_s: int | None = None) -> tuple[Found, ...]:
    """The rule held against every sale of a level: its row, and each part that is bought."""
    return tuple([margin_kept(rule, sale, until_s) for sale in price.sales])


@lru_cache(maxsize=8_192)
def costs_within(rule: MaxCost, price: LevelPrice, until_s: int | None = None) -> tuple[Found, ...]:
    """The bounds held against every purchase of a level; and against all together, where a call costs too much."""
    found = [cost_within(rule, sale, until_s) for sale in price.sales]
    if rule.per_call is not None and (first := _first_cost(purchases(price))) > rule.per_call:
        saw = f"buy {format_amount(first)} for the first increment{' with parts' if len(found) > 1 else ''}"
        found.append(Found(kept=False, saw=saw, limit=f"at most {format_amount(rule.per_call)} per call"))
    return tuple(found)


def purchases(price: LevelPrice) -> tuple[Price, ...]:
    """All that a level's seller buys for the call: what the row costs, and each part."""
    return tuple([sale.buy for sale in price.sales if sale.buy is not None])


def _first_cost(bought: Sequence[Price]) -> int:
    """What the shortest call that costs something is bought for."""
    first_s = min(filter(None, map(first_charged_second, bought)), default=0)
    return sum([charge(buy, first_s).micros for buy in bought])


def _no_buy(price: LevelPrice | Part) -> Found:
    return msgspec.structs.replace(NO_BUY, saw=f"{NO_BUY.saw}: {price.no_buy}") if price.no_buy else NO_BUY


def _minutes(sell: Price, buy: Price, until_s: int | None) -> Iterator[tuple[Fraction, Fraction]]:
    """Both prices per minute (micro-units) from the first second, and wherever one of them changes."""
    sell, buy = unfolded(sell, until_s), unfolded(buy, until_s)
    changes = {tier.from_s + price.free_s for price in (sell, buy) for tier in price.tiers[1:]}
    for from_s in sorted({0} | changes):
        if from_s == 0 or until_s is None or from_s < until_s:
            yield _minute_price(sell, from_s), _minute_price(buy, from_s)


def _minute_price(price: Price, second: int) -> Fraction:
    charged_s = max(0, second - price.free_s)
    per_minute = [tier.per_minute for tier in price.tiers if tier.from_s <= charged_s][-1]
    return Fraction(per_minute, price.denominator)


def _short(price: LevelPrice | Part, sold: Fraction, bought: Fraction, least: Fraction, demand: str) -> Found:
    limit = f"at least {demand}, {_shown(least - sold)} short"
    return Found(kept=False, saw=_per_minute(price, sold, bought), limit=limit)


def _per_minute(price: LevelPrice | Part, sold: Fraction, bought: Fraction) -> str:
    return f"{_pair(price, _shown(sold), _shown(bought))} per minute"


def _pair(price: LevelPrice | Part, sold: str, bought: str) -> str:
    """Both prices, each with its plan and row."""
    return f"sell {sold} ({price.plan} {price.row}), buy {bought} ({price.buy_plan} {price.buy_row})"


def _shown(per_minute: Fraction) -> str:
    return format_rate(per_minute.numerator, per_minute.denominator)
