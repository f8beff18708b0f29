"""What can happen to a call, as adapters, the store and the clock report it: frozen values, nothing else.

`at` of an event is when it happened: its wall half is the switch's own clock where `stated` is true (then billing
subtracts wall times of that one clock), its monotonic half is placed on ours (deadlines subtract on that).
"""

from enum import StrEnum
from functools import lru_cache
from hashlib import blake2b
from typing import TYPE_CHECKING

import msgspec

from callctl.clock import Instant
from callctl.limits.concurrency import Rate, Slot
from callctl.limits.ids import Seen
from callctl.rating.tariff import Direction

if TYPE_CHECKING:
    from callctl.call.session import Session


class CallKey(msgspec.Struct, frozen=True, array_like=True, gc=False, cache_hash=True):
    """A call's name: unique per switch."""

    switch: str
    call_id: str

    def __str__(self) -> str:
        return f"{self.switch}/{self.call_id}"

    @property
    def trace_id(self) -> str:
        """16 hexadecimal digits that any process derives from the name alone."""
        named = _of_switch(self.switch).copy()
        named.update(self.call_id.encode("utf-8", "surrogatepass"))
        return named.hexdigest()


@lru_cache(maxsize=1024)
def _of_switch(switch: str) -> blake2b:
    """What the trace ids of its calls begin with: the length keeps ("a", "bc") and ("ab", "c") apart."""
    return blake2b(f"{len(switch)}:{switch}".encode("utf-8", "surrogatepass"), digest_size=8)


class ReleasedBy(StrEnum):
    """Who ended the call."""

    CALLER = "caller"
    CALLEE = "callee"
    NETWORK = "network"
    CALLCTL = "callctl"


class Offered(msgspec.Struct, frozen=True, gc=False):
    """A switch asks: may this call go ahead? One of account, trunk, source_ip or a_number tells the payer.

    `within`: the id of a call on the same switch, whose payer pays for this one, too. `trunk_out`: the carrier by
    which it is about to leave, where that is known already.
    """

    call: CallKey
    at: Instant
    a_number: str
    b_number: str
    direction: Direction = Direction.OUTBOUND
    account: str | None = None
    trunk: str | None = None
    source_ip: str | None = None
    can_extend: bool = False
    attended: bool = False
    """The switch can be reached: callctl extends, warns and cuts by itself. Implies can_extend."""
    emergency: bool = False
    """The switch itself took it for an emergency call, and has let it pass."""
    within: str | None = None
    trunk_out: str | None = None
    fingerprint: str = ""
    """What the request said, so that a repeated call id with another body is seen. Empty where it came by a link."""

    @property
    def linked(self) -> bool:
        """Its switch tells of it, by its link to this process, and nobody over HTTP."""
        return self.attended and not self.fingerprint


class Alerting(msgspec.Struct, frozen=True, gc=False):
    """The called party rings."""

    call: CallKey
    at: Instant


class Answered(msgspec.Struct, frozen=True, gc=False):
    """The carrier leg was answered: charging begins."""

    call: CallKey
    at: Instant
    stated: bool = False
    trunk_out: str | None = None
    """The carrier trunk or endpoint that won, where the switch says so."""


class Released(msgspec.Struct, frozen=True, gc=False):
    """The call is over. `sip_code` and `q850` are what the switch reported.

    `answered_at`: an answer that this report proves and that we may have missed.
    `estimated`: the call is gone and nobody saw it end; `at` is the best known bound.
    """

    call: CallKey
    at: Instant
    stated: bool = False
    q850: int | None = None
    sip_code: int | None = None
    released_by: ReleasedBy | None = None
    answered_at: Instant | None = None
    estimated: bool = False


class SeenAlive(msgspec.Struct, frozen=True, gc=False):
    """The switch's channel list shows the call (after a reconnect); `answered_at` when it says so."""

    call: CallKey
    at: Instant
    answered_at: Instant | None = None


class ExtendAsked(msgspec.Struct, frozen=True, gc=False):
    """The caller of the API wants more time now."""

    call: CallKey


class HangUpAsked(msgspec.Struct, frozen=True, gc=False):
    """An operator ends the call."""

    call: CallKey


class Deadline(StrEnum):
    """The moments a call waits for; each is absolute and at most one of a kind is set."""

    SETUP = "setup"  # the admission must be answered by then; once it is: a call that still rings is given up
    EXTEND = "extend"  # the slice is nearly used up
    WARN = "warn"  # a low-credit warning is due
    CUT = "cut"  # the paid time is over
    RETRY = "retry"  # the store or the switch failed; try again
    LOST = "lost"  # the end of a call that was cut never came


class DeadlineReached(msgspec.Struct, frozen=True, gc=False):
    call: CallKey
    deadline: Deadline


class SlotUse(msgspec.Struct, frozen=True, array_like=True, gc=False, cache_hash=True):
    """One counter of one level as the store saw it, this call not counted."""

    level: int
    slot: str
    in_use: int
    limit: int | None
    hard_limit: int | None

    @property
    def full(self) -> bool:
        return self.hard_limit is not None and self.in_use >= self.hard_limit

    @property
    def over(self) -> bool:
        return self.limit is not None and self.in_use >= self.limit


class LimitUse(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A counter of the provider's own as the store saw it, this call not counted."""

    slot: Slot
    in_use: int

    @property
    def full(self) -> bool:
        return self.slot.hard_limit is not None and self.in_use >= self.slot.hard_limit


Left = tuple[tuple[int, ...], ...]
"""What is left in each source, level by level."""


class Taken(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """The take went through. `available[i]`: what level i has left after it, None where nothing limits it.

    `left[i]`: what each source of level i has left after it; empty where no level draws upon any.
    `limits`: the provider's own counters. Where one of them is full the call may not go ahead all the same.
    """

    call: CallKey
    available: tuple[int | None, ...]
    overflow: tuple[bool, ...] = ()
    uses: tuple[SlotUse, ...] = ()
    left: Left = ()
    limits: tuple[LimitUse, ...] = ()
    watched: tuple[Seen, ...] = ()


class TakeRefused(msgspec.Struct, frozen=True, gc=False):
    """Nothing was taken. `uses`: every counter; `available` and `left`: as in `Taken`, before the take."""

    call: CallKey
    available: tuple[int | None, ...]
    overflow: tuple[bool, ...]
    uses: tuple[SlotUse, ...]
    rate_exceeded: Rate | None = None
    """The first of `Take.rates` that is used up."""
    left: Left = ()
    watched: tuple[Seen, ...] = ()


class Extended(msgspec.Struct, frozen=True, gc=False):
    """More was held. The other fields as in `Taken`."""

    call: CallKey
    available: tuple[int | None, ...]
    left: Left = ()
    watched: tuple[Seen, ...] = ()


class ExtendRefused(msgspec.Struct, frozen=True, gc=False):
    """Not all levels could hold that much, or one may not spend it; nothing more was held."""

    call: CallKey
    available: tuple[int | None, ...]
    left: Left = ()
    watched: tuple[Seen, ...] = ()


class Settled(msgspec.Struct, frozen=True, gc=False):
    """Charges, records and given-back channels are in the store, in one step."""

    call: CallKey


class Recalled(msgspec.Struct, frozen=True, gc=False):
    """The store knows the call otherwise than we do (another process wrote, or the id was seen before).

    `ours`: this process has written last what it knows.
    """

    call: CallKey
    session: "Session"
    ours: bool = False


class Forgotten(msgspec.Struct, frozen=True, gc=False):
    """The store has lost the call (a failover, a restore): it must be taken anew."""

    call: CallKey


class StoreFailed(msgspec.Struct, frozen=True, gc=False):
    """The store did not answer; the outcome of the take is unknown until it is repeated."""

    call: CallKey


class SwitchFailed(msgspec.Struct, frozen=True, gc=False):
    """A command did not reach the switch or was refused by it."""

    call: CallKey


CallEvent = (
    Offered | Alerting | Answered | Released | SeenAlive | ExtendAsked | HangUpAsked | DeadlineReached
    | Forgotten | Recalled | Taken | TakeRefused | Extended | ExtendRefused | Settled | StoreFailed | SwitchFailed
)  # fmt: skip
