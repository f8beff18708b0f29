"""What an account subscribes to, and when which part of it is charged.

Days are dates in the account's time zone. A period is charged on its first day, in advance; what is counted at the
end of a month, on the day after it. A part of a period costs its share of the period's days. Two neighbouring parts
may differ from the whole by the rounding of each: half of the last decimal per part of the service and charge.
"""

import calendar
from collections.abc import Mapping
from datetime import date, timedelta
from enum import StrEnum
from fractions import Fraction

import msgspec
from msgspec.structs import replace

from callctl.rating.services import (
    Amount,
    Catalogue,
    ChargeKind,
    Count,
    Name,
    Wanted,
    amount_of,
    check_catalogue,
    has,
    rounded,
)

FIRST_YEAR, LAST_YEAR = 2000, 2199
LONGEST_ARREARS_DAYS = 366
_DAY = timedelta(days=1)


class Period(StrEnum):
    """How much is charged at a time."""

    MONTHLY = "monthly"
    QUARTERLY = "quarterly"
    HALF_YEARLY = "half-yearly"
    YEARLY = "yearly"


MONTHS = {Period.MONTHLY: 1, Period.QUARTERLY: 3, Period.HALF_YEARLY: 6, Period.YEARLY: 12}


class Align(StrEnum):
    """Where periods begin: with the calendar's months, quarters, halves and years, or with the subscription.

    From 31 January on, months begin on 31 January, 28 February, 31 March.
    """

    CALENDAR = "calendar"
    START = "start"


ON_THE_WIRE = {"from_day": "from", "until_day": "until"}


class Subscription(Wanted, frozen=True, kw_only=True, omit_defaults=True, rename=ON_THE_WIRE):
    """From its first day up to and including its last. `waive_nrc`: without the charge that is made once."""

    from_day: date
    until_day: date | None = None
    period: Period = Period.MONTHLY
    align: Align = Align.CALENDAR
    waive_nrc: bool = False

    @property
    def over(self) -> date | None:
        """The first day that is no longer paid for."""
        return None if self.until_day is None else self.until_day + _DAY


class Subscriptions(msgspec.Struct, frozen=True):
    """All subscriptions of one account (`id`) by name, and what was counted for them, by name and month."""

    id: str
    by_name: dict[Name, Subscription] = {}
    counts: dict[str, dict[str, Count]] = {}


class Charged(msgspec.Struct, frozen=True):
    """How far a subscription was charged: the last charge, from its first day to the first day after it.

    `charge`, `cost`: its MRC in micro-units. `corrections`: how often it was shortened since.
    """

    from_day: date
    to_day: date
    charge: int = 0
    cost: int | None = None
    quantity: int = 0
    corrections: int = 0


class Step(msgspec.Struct, frozen=True):
    """The next thing to charge. `due`: on this day. `charged`: how far it is then.

    `nrc`, `mrc` None: there is no such price. `correction`: `mrc` is a difference, what an early end gives back.
    """

    due: date
    quantity: int
    charged: Charged
    nrc: Amount | None = None
    mrc: Amount | None = None
    correction: bool = False


class ServiceBook(msgspec.Struct, frozen=True):
    """The catalogue, and everybody's subscriptions by account. `lost`: there is less than there was."""

    catalogue: Catalogue = Catalogue()
    subscriptions: dict[str, Subscriptions] = {}
    lost: bool = False

    def of(self, account: str) -> Subscriptions:
        return self.subscriptions.get(account) or Subscriptions(account)


def check_book(book: ServiceBook, catalogue: Catalogue) -> None:
    """ValueError where a new catalogue cannot be read, or would leave a subscription without its price."""
    check_catalogue(catalogue)
    good: set[Wanted] = set()  # many thousands subscribe to the same
    for own in book.subscriptions.values():
        for name, subscription in own.by_name.items():
            terms = replace(subscription, from_day=date.min, until_day=None)
            if terms in good:
                continue
            place = f"subscription {name} of {own.id}"
            if catalogue.currency != book.catalogue.currency:
                raise ValueError(f"{place} is in {book.catalogue.currency}, not in {catalogue.currency}")
            try:
                check_subscription(catalogue, subscription)
            except ValueError as wrong:
                raise ValueError(f"{place}: {wrong}") from None
            good.add(terms)


def check_subscription(catalogue: Catalogue, subscription: Subscription) -> None:
    """ValueError where it contradicts itself or cannot be priced."""
    for kind in ChargeKind:
        amount_of(catalogue, subscription, kind)
    first, last = subscription.from_day, subscription.until_day or subscription.from_day
    if last < first:
        raise ValueError("until is before from")
    if not FIRST_YEAR <= first.year <= last.year <= LAST_YEAR:
        raise ValueError(f"from and until are expected between {FIRST_YEAR} and {LAST_YEAR}")
    if catalogue.service(subscription.service).counted and (
        (subscription.period, subscription.align, subscription.quantity) != (Period.MONTHLY, Align.CALENDAR, 1)
    ):
        raise ValueError("what is counted at the end of each month is charged by calendar months, without a quantity")


def revise(before: Subscription | None, asked: Subscription, charged: Charged | None, today: date) -> Subscription:
    """What it becomes. Once it was charged only its end may move, back to within what was charged last. ValueError.

    `before` None: a new one, whose name may have been charged for another, which is over and settled.
    """
    if charged is None:
        if asked.from_day < today - timedelta(days=LONGEST_ARREARS_DAYS):
            raise ValueError(f"from is more than {LONGEST_ARREARS_DAYS} days ago")
        return asked
    if before is not None and replace(before, until_day=asked.until_day) != asked:
        raise ValueError("it has been charged: only until can change; end it, and begin another")
    if asked.until_day is not None:
        if before is None and asked.until_day < charged.to_day:
            raise ValueError(f"under this name all is charged before {charged.to_day}: until cannot be before that")
        if asked.until_day < charged.from_day:
            raise ValueError(f"it has been charged from {charged.from_day} on: until cannot be before that")
    return asked


def end(catalogue: Catalogue, subscription: Subscription, charged: Charged | None, today: date) -> Subscription | None:
    """What taking it away leaves: nothing where nothing was charged, or all was; else its end today."""
    if charged is None:
        removed = today < subscription.from_day or not catalogue.service(subscription.service).counted
    else:
        removed = subscription.over == charged.to_day
    if removed:
        return None
    last = today if charged is None else max(today, charged.from_day)
    return replace(subscription, until_day=min(last, subscription.until_day or last))


def count(
    catalogue: Catalogue, own: Subscriptions, name: str, month: str, counted: int, charged: Charged | None, today: date
) -> Subscriptions:
    """With what was counted at the end of a month ("2026-01"). ValueError where nothing is to be counted any more."""
    subscription, before = own.by_name[name], own.counts.get(name, {})
    if not catalogue.service(subscription.service).counted:
        raise ValueError(f"service {subscription.service} is not counted")
    if month > month_of(today):
        raise ValueError(f"{month} is to come")
    if month < month_of(subscription.from_day) or (subscription.until_day and month > month_of(subscription.until_day)):
        raise ValueError(f"{month} is not subscribed to")
    if before.get(month) != counted and charged is not None and month <= month_of(charged.from_day):
        raise ValueError(f"{month} has been charged with a count of {before.get(month)}")
    amount_of(catalogue, replace(subscription, quantity=counted), ChargeKind.MRC)
    return replace(own, counts=own.counts | {name: before | {month: counted}})


def month_of(day: date) -> str:
    """Its key among the counts: "2026-01"."""
    return day.isoformat()[:7]


def next_step(
    catalogue: Catalogue,
    subscription: Subscription,
    counts: Mapping[str, int] | None,
    charged: Charged | None,
    today: date,
) -> Step | None:
    """What is to be charged next; None where nothing is due today, or where its count is not known.

    `counts` None: every month counts the subscription's quantity, for a quotation. ValueError: it has no price.
    """
    over = subscription.over
    if charged is not None and over is not None and max(over, charged.from_day + _DAY) < charged.to_day:
        return _shortened(catalogue, subscription, charged, max(over, charged.from_day + _DAY))
    from_day = subscription.from_day if charged is None else max(subscription.from_day, charged.to_day)
    if over is not None and over <= from_day:
        return None
    begins, ends = period_around(subscription, from_day)
    to_day = min(ends, over or ends)
    arrears = catalogue.service(subscription.service).counted
    due = to_day if arrears else from_day
    quantity = counts.get(month_of(from_day)) if arrears and counts is not None else subscription.quantity
    if due > today or quantity is None:
        return None
    months = Fraction(MONTHS[subscription.period] * (to_day - from_day).days, (ends - begins).days)
    nrc, mrc = (_priced(catalogue, subscription, quantity, kind, months) for kind in ChargeKind)
    done = Charged(from_day, to_day, mrc.charge if mrc else 0, mrc.cost if mrc else None, quantity)
    return Step(due, quantity, done, nrc if charged is None and not subscription.waive_nrc else None, mrc)


def _priced(catalogue: Catalogue, of: Wanted, quantity: int, kind: ChargeKind, months: Fraction) -> Amount | None:
    wanted = Wanted(service=of.service, quantity=quantity, price_list=of.price_list, partner=of.partner)
    return amount_of(catalogue, wanted, kind, months) if has(catalogue, wanted, kind) else None


def _shortened(catalogue: Catalogue, subscription: Subscription, charged: Charged, to_day: date) -> Step:
    """An end within what was charged: the days that are left of it cost their share of that charge."""
    share = Fraction((to_day - charged.from_day).days, (charged.to_day - charged.from_day).days)
    left = rounded(charged.charge * share, catalogue.decimals)
    cost = None if charged.cost is None else rounded(charged.cost * share, catalogue.decimals)
    given_back = Amount(left - charged.charge, None if charged.cost is None or cost is None else cost - charged.cost)
    done = Charged(charged.from_day, to_day, left, cost, charged.quantity, charged.corrections + 1)
    return Step(to_day, charged.quantity, done, mrc=given_back, correction=True)


def period_around(subscription: Subscription, day: date) -> tuple[date, date]:
    """The whole period that a day is in: its first day, and the first day after it."""
    months = MONTHS[subscription.period]
    if subscription.align is Align.CALENDAR:
        first = date(day.year, (day.month - 1) // months * months + 1, 1)
        return first, _months_later(first, months)
    start = subscription.from_day
    passed = (day.year - start.year) * 12 + day.month - start.month
    if _months_later(start, passed) > day:
        passed -= 1
    whole = passed // months * months
    return _months_later(start, whole), _months_later(start, whole + months)


def _months_later(day: date, months: int) -> date:
    """The same day of a later month, or that month's last."""
    year, month = divmod(day.year * 12 + day.month - 1 + months, 12)
    return date(year, month + 1, min(day.day, calendar.monthrange(year, month + 1)[1]))
