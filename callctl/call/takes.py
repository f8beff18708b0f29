"""What the core proposes to the store. The store's script is the judge: all of it happens, or nothing.

Every value names the session's record version it builds on, so that repeating it after a lost answer is harmless.
"""

import msgspec

from callctl.call.session import Session
from callctl.limits.concurrency import Rate, Slot
from callctl.limits.ids import Ask, Settled


class Draw(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """How much is held of a source (`rating.bundles`): seconds or micro-units."""

    source: str
    allowance: int
    amount: int


class TakeLevel(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One account's share of a take. `hold` micro-units are held; with overflow `hold_overflow` instead.

    `root`: where its money is; empty: where the customer's is. `watch`: what it asks of its spend thresholds.
    """

    account: str
    slots: tuple[Slot, ...]
    hold: int
    hold_overflow: int
    draws: tuple[Draw, ...] = ()
    root: str = ""
    watch: Ask | None = None


class Take(msgspec.Struct, frozen=True, gc=False):
    """Channels and credit for a call that is about to be admitted, for the payer and every account above it.

    `trunk_slots`: counters of the caller's trunk. `rates`: whose tokens are taken, even when the rest is refused.
    `force`: take without any limit (emergency; a blind admission replayed). `probe`: look at everything, take nothing
    but the tokens; `dry`: not even those. `lease_until_ms`: wall time at which the take lapses unless it is renewed.
    `now_ms`: wall time of the take.
    """

    session: Session
    levels: tuple[TakeLevel, ...]
    trunk_slots: tuple[Slot, ...] = ()
    rates: tuple[Rate, ...] = ()
    lease_until_ms: int = 0
    now_ms: int = 0
    force: bool = False
    probe: bool = False
    dry: bool = False


class Extension(msgspec.Struct, frozen=True, gc=False):
    """More held for a running call, or (all zero) only its record saved and its lease renewed.

    Of `session` the store keeps what changes while a call runs, granted what it wants; what the levels hold it knows
    itself.
    `more[i]` micro-units for level i, judged together: all fit, or nothing is held. `force`: held without any limit.
    `draws[i]`: how much more of each source that level i draws upon; empty where no level does. `watch[i]`: what it
    asks of its spend thresholds; empty where no level asks anything.
    """

    session: Session
    more: tuple[int, ...]
    lease_until_ms: int
    force: bool = False
    draws: tuple[tuple[int, ...], ...] = ()
    watch: tuple[Ask | None, ...] = ()


class Post(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One ledger movement of a settlement: `amount` micro-units leave the account (negative: come back).

    `used`: (source, how much leaves it), beside the money. `root`: as in `TakeLevel`.
    """

    account: str
    kind: str  # post | estimate | correction
    amount: int
    used: tuple[tuple[str, int], ...] = ()
    root: str = ""


class Record(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One CDR on its way to the outbox: JSON without `sequence`, which each feed adds."""

    account: str
    payload: bytes


class Settlement(msgspec.Struct, frozen=True, gc=False):
    """The end of a call: posts, CDRs, channels and what is left of the holds given back, in one step.

    `session` is as it shall be remembered (state ended, or refused: then `posts` is empty and nothing was held).
    `watched`: what it has used of spend thresholds.
    """

    session: Session
    posts: tuple[Post, ...]
    records: tuple[Record, ...]
    watched: tuple[Settled, ...] = ()


class TopUp(msgspec.Struct, frozen=True, gc=False):
    """Money into (or out of, negative) an account, once per `id`. `cause`: topup, or correction."""

    account: str
    root: str
    id: str
    amount: int
    at_ms: int
    cause: str = "topup"
    note: str = ""


class Balance(msgspec.Struct, frozen=True, gc=False):
    """An account's money and channels now. `available` None: a postpaid account without a limit."""

    account: str
    balance: int
    held: int
    available: int | None
    slots: dict[str, int]


class LedgerEntry(msgspec.Struct, frozen=True, gc=False):
    """One movement. `cursor` pages on; `balance` is the balance after it."""

    cursor: str
    id: str
    kind: str
    amount: int
    balance: int
    at_ms: int
    call: str = ""
    note: str = ""
