"""A call as callctl knows it: everything a restart needs to go on, and nothing that a lookup could answer.

The rows are frozen in at admission: a tariff reload never reprices a running call.
"""

from enum import StrEnum

import msgspec

from callctl.accounts import Affiliate, WarnTo
from callctl.call.events import CallKey, ReleasedBy, Taken
from callctl.causes import Refusal
from callctl.clock import Instant
from callctl.limits.concurrency import Slot
from callctl.limits.ids import Watch
from callctl.rating.bundles import Sources
from callctl.rating.charge import Price
from callctl.rating.exchange import Conversion
from callctl.rating.levels import Part
from callctl.rating.tariff import Direction
from callctl.rating.tax import Tax


class State(StrEnum):
    """Where a call is in its life. The handlers of each state stand in `machine.TABLE`."""

    TAKING = "taking"  # the store is asked for channels and credit
    ADMITTED = "admitted"  # allowed; rings or will ring
    ANSWERED = "answered"
    SETTLING = "settling"  # over; the store is asked to post
    ENDED = "ended"
    REFUSED = "refused"
    BLIND = "blind"  # admitted without the store (policy, or emergency); journalled


class Role(StrEnum):
    """What a payer is to the call."""

    CUSTOMER = "customer"
    RESELLER = "reseller"
    CALLED = "called"


class Level(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One payer of the call: the customer first, then each reseller above; then the called party and those above it.

    Amounts in micro-units. `parent`: the account above, None at a root. `root`: where its money is, if it is not where
    the customer's is.
    `taxes`: those of the plan that it is liable to. `parts`: what other plans charge it for the same call.
    `watch`: whose thresholds it counts against, `exposed`: what it counts there now.
    `answer_by_s`: of prices in bands, until the call is answered: the last wall second of its set-up.
    """

    account: str
    prepaid: bool
    exempt: bool
    currency: str
    plan: str
    row: str
    destination: str
    type: str
    traffic_class: str
    sell: Price
    buy_plan: str | None = None
    buy_row: str | None = None
    buy: Price | None = None
    slots: tuple[Slot, ...] = ()
    surcharge_call: int = 0
    surcharge_minute: int = 0
    overflow: bool = False
    held: int = 0
    conversion: Conversion | None = None  # of `buy`, where it was bought in another currency
    taxes: tuple[Tax, ...] = ()
    parts: tuple[Part, ...] = ()
    answer_by_s: int | None = None
    sources: Sources = ()  # what it draws upon before money
    role: Role = Role.CUSTOMER
    parent: str | None = None
    root: str = ""
    watch: Watch | None = None
    exposed: int = 0


class Purchase(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What the carrier that answered is paid by. `row` and `price` are None where its plan does not price the call."""

    plan: str
    row: str | None = None
    price: Price | None = None
    conversion: Conversion | None = None


class Session(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """The call. Times are `Instant`s (wall half kept over a restart); durations in seconds; see `Level` for money.

    `granted_s`: seconds from answer that are held for; the switch's timer is armed with exactly this.
    `affordable_s`: what the weakest payer can afford from answer as last seen; None where nothing limits it.
    `trace`: what was found before the store was asked; `taken`, what it answered, is the rest of it once admitted.
    """

    call: CallKey
    trace_id: str
    state: State
    setup: Instant
    direction: Direction
    a_number: str
    b_number: str
    root: str
    account: str
    levels: tuple[Level, ...]
    trunk: str | None = None
    trunk_slots: tuple[Slot, ...] = ()
    fingerprint: str = ""
    can_extend: bool = False
    attended: bool = False  # callctl itself extends, warns and cuts: the switch can be reached
    emergency: bool = False
    ceiling_s: int = 0  # longest grant by rule (max_cost per call, longest unattended)
    warnings: tuple[int, ...] = ()
    warn_to: WarnTo = WarnTo.CALLER
    warned_s: int | None = None  # the shortest lead time that was announced
    granted_s: int = 0
    slice_s: int = 0
    wanted_s: int = 0  # what the store is being asked to grant
    first_granted_s: int = 0  # with first_affordable_s: what the first answer said
    first_affordable_s: int | None = None
    affordable_s: int | None = None
    alerting: Instant | None = None
    answered: Instant | None = None
    answer_stated: bool = False
    released: Instant | None = None
    release_stated: bool = False
    q850: int | None = None
    sip_code: int | None = None
    released_by: ReleasedBy | None = None
    estimated: bool = False
    refusal: Refusal | None = None
    refused_at: str = ""  # the level above the customer that refused, if it was one
    detail: str = ""
    trace: bytes = b""
    taken: Taken | None = None
    version: int = 0  # of the store's record; every write names the one it saw
    corrections: int = 0
    posted: tuple[int, ...] = ()  # what each level was charged in all, once ended
    voided: bool = False  # given up unanswered; its hold is gone
    warn_due: bool = False  # a warning waits for a fresh look at the balance
    cut: bool = False  # callctl has sent the hang-up
    tries: int = 0  # of the take or extension that is under way
    busy: bool = False  # a store request of this call is under way
    unwanted: bool = False  # an operator has asked for its end
    purchase: Purchase | None = None  # of the carrier that answered, where it is bought by a plan of its own
    affiliates: tuple[Affiliate, ...] = ()  # who gets a share of what the customer is charged
    within: str | None = None  # the id of the call that pays for it, and that it ends with
    limits: tuple[Slot, ...] = ()  # the provider's own counters that it takes
    sliced_ms: int = 0  # wall time at which the last slice that it was granted was asked for
    clock: str = ""  # by whose monotonic clock its moments are told (`clock.clock_name`)
    ahead_ms: int = 0  # of that clock the wall clock was, when the call was saved last
    asked_ms: int = 0  # wall time at which the slice was asked for that the store is being asked for, or was last
    taken_up: tuple[str, Instant] | None = None  # by another process than admitted it: its `clock`, and `setup` by that

    @property
    def linked(self) -> bool:
        """Its switch tells of it, by its link to this process, and nobody over HTTP."""
        return self.attended and not self.fingerprint

    @property
    def customer(self) -> Level:
        """The payer that the call is made for."""
        return self.levels[0]

    @property
    def called_from(self) -> int:
        """Where the levels of the called party begin, behind the caller's."""
        for at, level in enumerate(self.levels):
            if level.role is Role.CALLED:
                return at
        return len(self.levels)
