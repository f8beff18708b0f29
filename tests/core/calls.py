"""Builders for tests of the core: an account, a price, an offered call, and a call played through the machine."""

from collections.abc import Sequence
from typing import TypeVar

from callctl.accounts import Account, Chain, Kind, Trunk
from callctl.call import machine
from callctl.call.admission import Policy, propose
from callctl.call.checks import Facts
from callctl.call.effects import Effect
from callctl.call.events import CallEvent, CallKey, Offered
from callctl.clock import Instant
from callctl.numbering import DialRules, Number, NumberType
from callctl.rating.charge import Price, Tier
from callctl.rating.levels import LevelPrice, NoRate
from callctl.rating.terms import price_rules, standings

CALL = CallKey("sw", "c1")
E = TypeVar("E")

START = Instant(1_800_000_000_000, 5_000_000)
POLICY = Policy()
NUMBER = Number("+31612345678", "31612345678", "NL", "31", NumberType.MOB)


def price(per_minute_micros: int = 60_000, fee: int = 0, increment_s: int = 1, **other: object) -> Price:
    """A flat price; by default 0.001 a second, so that 1,000 micro-units buy one."""
    return Price(fee, 1, (Tier(0, per_minute_micros, increment_s),), **other)  # type: ignore[arg-type]


def account(id: str = "acme", **other: object) -> Account:
    fields: dict[str, object] = {"kind": Kind.PREPAID, "plan": "standard", "dial_rules": DialRules("NL")}
    return Account(id=id, **(fields | other))  # type: ignore[arg-type]


def offered(*, attended: bool = True, **other: object) -> Offered:
    fields: dict[str, object] = {"can_extend": attended, "attended": attended, "account": "acme"}
    return Offered(CALL, START, "+31201234567", "0612345678", **(fields | other))  # type: ignore[arg-type]


def facts(
    chain: Chain | None = None,
    prices: Sequence[Price] = (),
    *,
    number: Number | None = NUMBER,
    emergency: bool = False,
    trunk: Trunk | None = None,
    buy: Price | None = None,
    unpriced: NoRate | None = None,
) -> Facts:
    chain = (account(),) if chain is None else chain
    sold = list(prices) or [price()] * len(chain)
    levels = tuple(
        LevelPrice(a.plan, "31", "Netherlands", "MOB", "MOB", p, "carrier", "31", above)
        for a, p, above in zip(chain, sold, [*sold[1:], buy], strict=False)
    )
    priced = number is not None and unpriced is None
    return Facts(
        chain=chain,
        standings=standings(chain),
        rules=price_rules(chain),
        trunk=trunk,
        dialled="0612345678",
        a_number="+31201234567",
        b_number=number,
        emergency=emergency,
        trace_id=CALL.trace_id,
        caller="account acme",
        home=chain[0].dial_rules.country if chain else "",
        days=("2027-01-15",) * len(chain),
        trunk_day="2027-01-15" if trunk is not None else "",
        prices=levels if priced else (),
        unpriced=unpriced,
    )


class Played:
    """A call played by hand: what the machine wants stands in `effects` after each event."""

    def __init__(self, looked_up: Facts, call: Offered | None = None, policy: Policy = POLICY) -> None:
        self.now = START
        self.policy = policy
        self.proposal = propose(call or offered(), looked_up, START, policy)
        self.session, self.effects = machine.begin(self.proposal, START, policy)

    def put(self, event: CallEvent, *, after_ms: int = 0) -> Sequence[Effect]:
        self.now = self.now.plus_ms(after_ms)
        self.session, self.effects = machine.advance(self.session, event, self.now, self.policy)
        return self.effects

    def wanted(self, kind: type[E]) -> E:
        found = [effect for effect in self.effects if isinstance(effect, kind)]
        assert len(found) == 1, f"{kind.__name__}: {self.effects}"
        return found[0]

    def wants(self, kind: type) -> bool:
        return any(isinstance(effect, kind) for effect in self.effects)
