"""Subscription prices: what a service costs once (NRC) and every month (MRC), and what it was bought for.

A `Catalogue` is the document that a provider writes (`docs/services.md`), kept as it was written: money is a decimal
string, or such a string divided by a whole number ("195/12": a price per year). Inside, prices are exact fractions of
micro-units; they are rounded once per part and charge, half up, to the catalogue's decimals.
"""

import re
from enum import StrEnum
from fractions import Fraction
from functools import lru_cache
from typing import Annotated

import msgspec

from callctl.money import MAX_MICROS, Rounding, parse_amount, parse_percent, round_ratio

LEAST_PERCENT, LARGEST_PERCENT = 100, 999
_PERCENT = 10_000  # what one percent is in `parse_percent`
_HUNDRED = 100 * _PERCENT
_DIVISOR = re.compile("[1-9][0-9]{0,2}")

Count = Annotated[int, msgspec.Meta(ge=0, le=1_000_000)]
Quantity = Annotated[int, msgspec.Meta(ge=1, le=1_000_000)]
# `$` alone would let a line break pass at the end.
Name = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._@+-]{0,63}$(?!\n)")]

VPS = {"0.5": ("PRO4",), "1": ("ENT4", "PRO8"), "5": ("PRO16", "PRO24", "ENT8"), "6": ("ENT16", "PRO32")}
"""Which VPS bundle a 3CX licence of an edition and size runs on (`docs/services.md`)."""


class ChargeKind(StrEnum):
    """Once, or for every month."""

    NRC = "nrc"
    MRC = "mrc"


class Prices(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Of one unit: once, and a month."""

    nrc: str = "0"
    mrc: str = "0"


class Part(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What a bundle consists of. Sold at its own price, else at a percentage of its purchase price.

    `licence`: a partner's discount comes off it.
    """

    name: str
    purchase: Prices | None = None
    sell: Prices | None = None
    licence: bool = False


class Quota(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """So many units are free; there are never more than `at_most` (None: any number)."""

    free: Count = 0
    at_most: Quantity | None = None


class Service(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Something that is subscribed to: priced as a whole, or by its parts.

    `counted`: charged afterwards for what was counted at the end of each month (a PBX's extensions).
    """

    name: str
    category: str = ""
    purchase: Prices | None = None
    sell: Prices | None = None
    parts: tuple[Part, ...] = ()
    quota: Quota = Quota()
    counted: bool = False

    @property
    def all_parts(self) -> tuple[Part, ...]:
        """A service that is priced as a whole is its only part."""
        return self.parts or (Part(self.name, self.purchase, self.sell),)


class Special(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What a price list asks for one service instead of its category's percentage: another one, or prices."""

    percent: str | None = None
    sell: Prices | None = None


class PriceList(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Percentages of the purchase price by category (150: half as much again), and exceptions by service."""

    categories: dict[str, str] = {}
    exceptions: dict[str, Special] = {}


class Catalogue(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """All services by id, price lists by name, partners by name with their discount in percent, VPS bundles.

    `decimals`: to which each part of a charge is rounded.
    """

    currency: Annotated[str, msgspec.Meta(pattern=r"^[A-Z]{3}$(?!\n)")] = "EUR"
    decimals: Annotated[int, msgspec.Meta(ge=0, le=6)] = 2
    services: dict[Name, Service] = {}
    price_lists: dict[Name, PriceList] = {}
    partners: dict[Name, str] = {}
    vps: dict[str, tuple[str, ...]] = msgspec.field(default_factory=lambda: dict(VPS))

    def service(self, id: str) -> Service:
        """ValueError when there is none."""
        if id not in self.services:
            raise ValueError(f"service {id} does not exist")
        return self.services[id]


class Wanted(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is asked for: so many units of a service, at the terms of a price list and a partner."""

    service: str
    quantity: Quantity = 1
    price_list: str | None = None
    partner: str | None = None


class Amount(msgspec.Struct, frozen=True):
    """A charge and what it was bought for, in micro-units. `cost` None: the catalogue does not say."""

    charge: int
    cost: int | None

    @property
    def margin(self) -> int | None:
        return None if self.cost is None else self.charge - self.cost


class _PartPrice(msgspec.Struct, frozen=True):
    """Exact micro-units of one unit."""

    sell: Fraction
    buy: Fraction | None


def check_catalogue(catalogue: Catalogue) -> None:
    """ValueError, with its place, for the first thing that contradicts or cannot be read."""
    for id, service in catalogue.services.items():
        _check_service(f"service {id}", service)
    for name, listed in catalogue.price_lists.items():
        place = f"price list {name}"
        for category, percent in listed.categories.items():
            _percentage(f"{place}, category {category}", percent)
        for id, special in listed.exceptions.items():
            _check_special(f"{place}, exception {id}", special, catalogue.service(id))
    for partner, discount in catalogue.partners.items():
        _discount(f"partner {partner}", discount)
    licences: set[str] = set()
    for licence in (_size(each) for listed in catalogue.vps.values() for each in listed):
        if licence in licences:
            raise ValueError(f"vps: {licence} stands in more than one place")
        licences.add(licence)


def _check_service(place: str, service: Service) -> None:
    if service.parts and (service.purchase or service.sell):
        raise ValueError(f"{place}: prices of its own, or parts, not both")
    if service.quota.at_most is not None and service.quota.at_most < service.quota.free:
        raise ValueError(f"{place}: {service.quota.free} are free, and at most {service.quota.at_most} allowed")
    for part in service.all_parts:
        if part.purchase is None and part.sell is None:
            raise ValueError(f"{place}: {part.name!r} has neither a purchase nor a sell price")
        for prices in filter(None, (part.purchase, part.sell)):
            _check_prices(f"{place}, {part.name}", prices)
            if service.counted and _price(prices, ChargeKind.NRC):
                raise ValueError(f"{place}: what is counted every month has no NRC")


def _check_special(place: str, special: Special, service: Service) -> None:
    if (special.percent is None) == (special.sell is None):
        raise ValueError(f"{place}: either a percent or a sell price")
    if special.sell is not None:
        if len(service.all_parts) > 1:
            raise ValueError(f"{place}: a bundle of {len(service.all_parts)} parts has no price of its own")
        _check_prices(place, special.sell)
    if special.percent is not None:
        _percentage(place, special.percent)
        if any(part.purchase is None for part in service.all_parts):
            raise ValueError(f"{place}: a percentage of a purchase price that is not stated")


def _check_prices(place: str, prices: Prices) -> None:
    for kind in ChargeKind:
        try:
            _price(prices, kind)
        except ValueError as wrong:
            raise ValueError(f"{place}: {kind}: {wrong}") from None


def amount_of(catalogue: Catalogue, wanted: Wanted, kind: ChargeKind, months: Fraction = Fraction(1)) -> Amount:
    """The NRC, or the MRC of `months`: each part rounded once, then summed.

    Free units cost the customer nothing; their purchase counts. ValueError where there is no such price.
    """
    service = catalogue.service(wanted.service)
    charged = wanted.quantity - service.quota.free
    if service.quota.at_most is not None and wanted.quantity > service.quota.at_most:
        raise ValueError(f"service {wanted.service}: at most {service.quota.at_most}, not {wanted.quantity}")
    times = Fraction(1) if kind is ChargeKind.NRC else months
    charge, cost = 0, 0
    bought = True
    for part in _parts(catalogue, wanted, kind):
        charge += rounded(part.sell * max(0, charged) * times, catalogue.decimals)
        bought = bought and part.buy is not None
        cost += rounded((part.buy or 0) * wanted.quantity * times, catalogue.decimals)
    if max(charge, cost) > MAX_MICROS:
        raise ValueError(f"service {wanted.service}: the amount is larger than this system counts")
    return Amount(charge, cost if bought else None)


def has(catalogue: Catalogue, wanted: Wanted, kind: ChargeKind) -> bool:
    """Whether the service has such a price at all, whatever the quota makes of it."""
    return any(part.sell or part.buy for part in _parts(catalogue, wanted, kind))


def vps_bundle(catalogue: Catalogue, licence: str) -> str:
    """The VPS bundle that a licence such as "PRO8" runs on. ValueError for a size that nobody has listed."""
    for bundle, licences in catalogue.vps.items():
        if _size(licence) in map(_size, licences):
            return bundle
    raise ValueError(f"no VPS bundle is listed for licence {licence!r}")


def _size(licence: str) -> str:
    return licence.strip().upper()


def _parts(catalogue: Catalogue, wanted: Wanted, kind: ChargeKind) -> list[_PartPrice]:
    """Precedence: the list's exception, the part's own sell price, the list's percentage for the category."""
    service = catalogue.service(wanted.service)
    special, category = _list_terms(catalogue, wanted, service)
    off = _partner_discount(catalogue, wanted.partner)
    priced = []
    for part in service.all_parts:
        buy = None if part.purchase is None else _price(part.purchase, kind)
        own = special.sell or (None if special.percent else part.sell)
        percent = special.percent or category
        if own is not None:
            sell = _price(own, kind)
        elif buy is not None and percent is not None:
            sell = buy * _percentage("", percent) / _HUNDRED
        else:
            where = f"price list {wanted.price_list} has" if wanted.price_list else "without a price list there is"
            raise ValueError(f"service {wanted.service}: {where} no percentage for category {service.category!r}")
        priced.append(_PartPrice(sell * (_HUNDRED - off) / _HUNDRED if part.licence else sell, buy))
    return priced


def _list_terms(catalogue: Catalogue, wanted: Wanted, service: Service) -> tuple[Special, str | None]:
    if wanted.price_list is None:
        return Special(), None
    if wanted.price_list not in catalogue.price_lists:
        raise ValueError(f"price list {wanted.price_list} does not exist")
    listed = catalogue.price_lists[wanted.price_list]
    return listed.exceptions.get(wanted.service, Special()), listed.categories.get(service.category)


def _partner_discount(catalogue: Catalogue, partner: str | None) -> int:
    if partner is None:
        return 0
    if partner not in catalogue.partners:
        raise ValueError(f"partner {partner} does not exist")
    return _discount("", catalogue.partners[partner])


def _price(prices: Prices, kind: ChargeKind) -> Fraction:
    return _exact(prices.nrc if kind is ChargeKind.NRC else prices.mrc)


@lru_cache(maxsize=65_536)
def _exact(text: str) -> Fraction:
    """Micro-units of "12.50" or "195/12". ValueError on anything else."""
    whole, slash, divisor = text.partition("/")
    if slash and not _DIVISOR.fullmatch(divisor):
        raise ValueError(f"{text[:40]!r} is not an amount, nor one divided by a number from 1 to 999")
    micros = parse_amount(whole)
    if micros < 0:
        raise ValueError(f"{text!r} is negative")
    return Fraction(micros, int(divisor) if slash else 1)


def _percentage(place: str, text: str) -> int:
    percent = _readable_percent(place, text)
    if not LEAST_PERCENT * _PERCENT <= percent <= LARGEST_PERCENT * _PERCENT:
        raise ValueError(f"{place}: {text} % of the purchase price; {LEAST_PERCENT} to {LARGEST_PERCENT} is possible")
    return percent


def _discount(place: str, text: str) -> int:
    discount = _readable_percent(place, text)
    if discount > _HUNDRED:
        raise ValueError(f"{place}: a discount of {text} %; 0 to 100 is possible")
    return discount


def _readable_percent(place: str, text: str) -> int:
    try:
        return parse_percent(text)
    except ValueError as wrong:
        raise ValueError(f"{place}: {wrong}") from None


def rounded(micros: Fraction, decimals: int) -> int:
    """Half up to so many decimals: the one rounding."""
    quantum: int = 10 ** (6 - decimals)
    return round_ratio(micros.numerator, micros.denominator * quantum, Rounding.HALF_UP) * quantum
