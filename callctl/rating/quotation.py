"""What a service would cost: its prices, and what would be charged on which day. The same for API and command line."""

from collections.abc import Mapping
from datetime import date, timedelta

import msgspec
from msgspec.structs import replace

from callctl.money import format_amount
from callctl.rating.services import Amount, Catalogue, ChargeKind, Wanted, amount_of
from callctl.rating.subscriptions import ON_THE_WIRE, Subscription, check_subscription, next_step

CHARGES, MOST_CHARGES = 12, 120


class AmountShown(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Decimal strings; `cost` and `margin` null where no purchase price is known."""

    charge: str
    cost: str | None
    margin: str | None


class ChargeShown(
    AmountShown,
    frozen=True,
    forbid_unknown_fields=True,
    kw_only=True,
    rename=ON_THE_WIRE,
):
    """One charge: made on `due`, for the days from `from` up to and including `until`."""

    kind: ChargeKind
    due: date
    from_day: date
    until_day: date


class ServicePrice(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Of so many units: once, for a month, and (with a first day) charge by charge."""

    service: str
    name: str
    quantity: int
    price_list: str | None
    partner: str | None
    currency: str
    nrc: AmountShown
    mrc: AmountShown
    charges: tuple[ChargeShown, ...]


def asked(terms: Mapping[str, str]) -> Wanted:
    """What is asked for, from words: a Subscription where its days or periods are named. ValueError otherwise."""
    kind = Wanted if terms.keys() <= set(Wanted.__struct_fields__) else Subscription
    return msgspec.convert(dict(terms), kind, strict=False)


def quote(catalogue: Catalogue, wanted: Wanted, charges: int = CHARGES) -> ServicePrice:
    """Of a Subscription also its first `charges` days of charging. ValueError where it has no price."""
    nrc, mrc = (amount_of(catalogue, wanted, kind) for kind in ChargeKind)
    return ServicePrice(
        wanted.service,
        catalogue.service(wanted.service).name,
        wanted.quantity,
        wanted.price_list,
        wanted.partner,
        catalogue.currency,
        AmountShown(*_shown(nrc)),
        AmountShown(*_shown(mrc)),
        _charges(catalogue, wanted, charges) if isinstance(wanted, Subscription) else (),
    )


def _charges(catalogue: Catalogue, subscription: Subscription, at_most: int) -> tuple[ChargeShown, ...]:
    counted = catalogue.service(subscription.service).counted
    check_subscription(catalogue, replace(subscription, quantity=1) if counted else subscription)
    found: list[ChargeShown] = []
    charged = None
    for _ in range(at_most):
        step = next_step(catalogue, subscription, None, charged, date.max)
        if step is None:
            break
        charged = step.charged
        for kind, amount in ((ChargeKind.NRC, step.nrc), (ChargeKind.MRC, step.mrc)):
            if amount is not None:
                last = charged.from_day if kind is ChargeKind.NRC else charged.to_day - timedelta(days=1)
                made = ChargeShown(*_shown(amount), kind=kind, due=step.due, from_day=charged.from_day, until_day=last)
                found.append(made)
    return tuple(found)


def _shown(amount: Amount) -> tuple[str, str | None, str | None]:
    cost, margin = (None if it is None else format_amount(it) for it in (amount.cost, amount.margin))
    return format_amount(amount.charge), cost, margin
