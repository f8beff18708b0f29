"""Which counters an offered call takes, at its payers, its trunk and the provider, and whose attempts it is one of."""

from collections.abc import Sequence

from callctl.accounts import Account, Trunk
from callctl.call.checks import Facts
from callctl.call.events import Offered
from callctl.call.session import Level
from callctl.clock import Instant
from callctl.limits.concurrency import Rate, Slot, group_slots, slots
from callctl.rating.tariff import Direction


def account_slots(
    facts: Facts,
    owner: Account | Trunk,
    direction: Direction,
    day: str,
    number_type: str,
    traffic_class: str,
    *,
    within: bool = False,
) -> tuple[Slot, ...]:
    """What the call takes of one account or trunk, on its `day`."""
    caps, licence = owner.caps, owner.licence
    if licence is not None and licence.from_switch is not None:
        licence = licence.as_told(facts.licences.get(licence.from_switch))
    taken = slots(caps, licence, direction, day, within)
    if caps is None or not caps.groups:
        return taken
    number = facts.b_number
    if not taken or number is None or direction is Direction.INTERNAL:
        return taken
    return taken + group_slots(caps, direction, number.digits, number_type or number.type, traffic_class)


def trunk_slots(facts: Facts, offered: Offered, levels: Sequence[Level]) -> tuple[Slot, ...]:
    """What the call takes of its trunk, on the day of whose trunk it is. `levels`: first those of a priced chain."""
    trunk = facts.trunk
    if trunk is None or (trunk.caps is None and trunk.licence is None):
        return ()
    within, day = offered.within is not None, facts.trunk_day
    seen = (levels[facts.trunk_level].type, levels[facts.trunk_level].traffic_class) if facts.prices else ("", "")
    return account_slots(facts, trunk, offered.direction, day, *seen, within=within)


def rates(facts: Facts, now: Instant) -> tuple[Rate, ...]:
    """The tokens that this attempt takes: of its trunk, of the account and of every account above it."""
    found, second = [], now.wall_ms // 1000
    trunk = facts.trunk
    if trunk is not None and trunk.calls_per_second is not None:
        found.append(Rate(f"trunk {trunk.id}", trunk.calls_per_second, second))
    for account in facts.chain:
        if account.calls_per_second is not None:
            level = facts.above(account.id)
            found.append(Rate(f"account {account.id}", account.calls_per_second, second, level))
    return tuple(found)
