"""Taxes on a charge: on its rounded net, each rounded by itself, none on another (`docs/rules.md`, Tax). In micros."""

from collections.abc import Sequence

import msgspec

from callctl.money import MICROS, Rounding, parse_amount, parse_percent, round_ratio


class Tax(msgspec.Struct, frozen=True):
    """`percent`: of the net, in millionths of it (21 % is 210_000). `fixed`: once, where the net is above 0."""

    name: str
    percent: int = 0
    fixed: int = 0


def tax_from(name: str, percent: str = "0", fixed: str = "0") -> Tax:
    """As a plan states it, in decimal strings. ValueError where they are none."""
    return Tax(name, parse_percent(percent), parse_amount(fixed))


def taxes(levied: Sequence[Tax], net: int, *, decimals: int = 4, fixed: bool = True) -> tuple[int, ...]:
    """What each tax takes of a charge that was rounded to `decimals`: half up, to as many decimals.

    Of what is given back (below 0), it gives as much back as it took of as much. `fixed` False: percentages alone.
    """
    if not net:
        return (0,) * len(levied)
    if net < 0:
        return tuple(-amount for amount in taxes(levied, -net, decimals=decimals, fixed=fixed))
    quantum: int = 10 ** (6 - decimals)
    return tuple(
        tax.fixed * fixed + round_ratio(net * tax.percent, MICROS * quantum, Rounding.HALF_UP) * quantum
        for tax in levied
    )


def gross(levied: Sequence[Tax], net: int, *, decimals: int = 4) -> int:
    """A charge with its taxes."""
    return net + sum(taxes(levied, net, decimals=decimals))


def affordable_net(levied: Sequence[Tax], credit: int, *, decimals: int = 4) -> int:
    """The largest net of so many decimals whose gross the credit pays: the inverse of `gross`.

    A credit that is negative pays nothing, and is answered as it is.
    """
    if credit < 0:
        return credit
    quantum: int = 10 ** (6 - decimals)
    rate = MICROS + sum(tax.percent for tax in levied)
    # Rounding gives each tax half a quantum at the most, so this is never too little, and too much by few quanta.
    generous = credit - sum(tax.fixed for tax in levied) + len(levied) * quantum
    net = max(0, generous * MICROS // (rate * quantum) * quantum)
    while gross(levied, net, decimals=decimals) > credit:
        net -= quantum
    return net
