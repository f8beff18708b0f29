"""The doors between the rooms: what control needs of switches, store, definitions, feeds and clocks.

Every method may raise `errors.PortError`, and what it says besides. Amounts are micro-units, times whole milliseconds.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from typing import Final, Protocol, runtime_checkable

import msgspec

from callctl.accounts import Account, Chain, Directory, Group, Trunk, WarnTo
from callctl.call.events import (
    Alerting,
    Answered,
    CallEvent,
    CallKey,
    ExtendAsked,
    Extended,
    ExtendRefused,
    HangUpAsked,
    Offered,
    Released,
    SeenAlive,
    Taken,
    TakeRefused,
)
from callctl.call.purchase import Buying, Stocks
from callctl.call.session import Session
from callctl.call.subscription import Booked, Booking
from callctl.call.takes import Balance, Extension, LedgerEntry, Record, Settlement, Take, TopUp
from callctl.causes import Cause
from callctl.clock import Instant
from callctl.limits.concurrency import Slot
from callctl.limits.ids import Alert, Seen
from callctl.limits.licence import LicenceStatus, SwitchLicence
from callctl.limits.provider import ProviderLimit, ProviderLimits
from callctl.limits.watching import Statistics, Word
from callctl.rating.bundles import Block
from callctl.rating.exchange import Exchange, Exchanges
from callctl.rating.match import Deck
from callctl.rating.services import Catalogue
from callctl.rating.subscriptions import ServiceBook, Subscriptions
from callctl.rating.tariff import Plan, Row
from callctl.rating.terms import Terms


class Clock(Protocol):
    """Time. Nothing else reads a clock or sleeps."""

    def now(self) -> Instant: ...
    async def sleep_ms(self, ms: int) -> None: ...


class LinkState(msgspec.Struct, frozen=True):
    """Of a switch, a sink or the store, for /readyz: is it up, since when, and what is wrong."""

    name: str
    up: bool
    since_ms: int
    detail: str = ""


Report = Callable[[CallEvent], None]
"""How an adapter hands an event over: never blocks, never raises."""


class Capabilities(msgspec.Struct, frozen=True):
    """What a switch can do for callctl. For what it cannot, `docs/adapters.md` tells what happens instead."""

    gate: bool = True
    """A call waits for its verdict."""
    sip_codes: bool = True
    """The caller sees the SIP status of its refusal."""
    announcements: bool = True
    """A refusal can be told by a sound."""
    timer: bool = True
    """It ends a call by itself when its grant is over, callctl alive or dead."""
    extends: bool = True
    """That timer can be moved while the call is up."""
    warns: tuple[WarnTo, ...] = tuple(WarnTo)
    tells_who: bool = True
    """It says which party has hung up."""
    hangs_up: bool = True
    lists: bool = True
    """It tells which calls are up."""


class Switch(Protocol):
    """One switch. Commands raise SwitchUnavailable when the switch did not confirm them; nothing is re-sent."""

    name: str
    capabilities: Capabilities

    async def admit(self, call: CallKey, *, granted_s: int, setup_s: int, b_number: str, account: str) -> None: ...
    async def reject(self, call: CallKey, cause: Cause) -> None: ...
    async def arm(self, call: CallKey, remaining_ms: int) -> None: ...
    async def warn(self, call: CallKey, left_s: int, to: WarnTo) -> None: ...
    async def hang_up(self, call: CallKey, q850: int) -> None: ...
    async def live_calls(self) -> Sequence[SeenAlive]: ...


class SwitchAdapter(Switch, Protocol):
    """A switch with the life of its link, as `app` sees it. `counts`: what the link has seen, by name, ever growing.

    `run` keeps the link until it is cancelled; `relinked` is called when the link is up and the calls there are known.
    """

    async def run(self, report: Report, relinked: Callable[[], None]) -> None: ...
    def state(self) -> LinkState: ...
    @property
    def counts(self) -> msgspec.Struct: ...


@runtime_checkable
class HttpSwitch(Protocol):
    """A switch whose calls are authorized and reported over HTTP, under its name, and not by a link."""

    def offered(self, asked: Offered) -> Offered:
        """The call as it was asked for, with what callctl can do for it there."""


class Observer(Protocol):
    """Who counts or tells what happens. Never raises, never waits. `took_s`: from question to answer.

    `settled`: the store has carried it out. `low`: a level has `left` micro-units, below its account's `threshold`.
    """

    def decided(self, session: Session, took_s: float) -> None: ...
    def answered(self, session: Session) -> None: ...
    def warned(self, session: Session, left_s: int, to: WarnTo) -> None: ...
    def settled(self, settlement: Settlement) -> None: ...
    def alerted(self, session: Session, seen: Seen, alert: Alert) -> None: ...
    def low(self, session: Session | None, account: Account, left: int, threshold: int) -> None: ...
    def unexpected(self, state: str, event: str) -> None: ...
    def overflowed(self, queue: str) -> None: ...
    def not_enforced(self, check: str) -> None: ...


class Existing(msgspec.Struct, frozen=True):
    """The call id is known: its session as it is remembered."""

    session: Session


class Calls(Protocol):
    """Call control as the front door uses it. A session says everything: `call.answer` shows it to people.

    Raises UnknownCall, CallConflict (same id, other body). A refusal is a session in state refused. `end` reports the
    end of a call and answers its original records, too. `live`: the calls that this process knows of; `everywhere`:
    those below these roots, whichever process knows of them.
    """

    def authorize(self, offered: Offered) -> Awaitable[Session]: ...
    async def explain(self, offered: Offered) -> Session: ...
    async def report(self, event: Alerting | Answered | Released | ExtendAsked | HangUpAsked) -> Session: ...
    async def end(self, event: Released) -> tuple[Session, Sequence[Record]]: ...
    async def find(self, call: CallKey) -> Session: ...
    def live(self) -> list[Session]: ...
    async def everywhere(self, roots: Sequence[str]) -> list[Session]: ...


ExtendAnswer = Extended | ExtendRefused | Existing | Exception


class Takes(Protocol):
    """Money and channels. Each is one atomic script, one round trip, idempotent by the session's version.

    `Existing`: not the record that the caller saw, nothing was done. Extensions are answered each by itself, in order;
    UnknownCall: the store has lost the call (a failover). A top-up raises CallConflict, or ValueError beyond 2^53. An
    answer that is a `promise.Promise` is not awaited for a call, but heard in the turn in which it comes."""

    def admit(self, take: Take) -> Awaitable[Taken | TakeRefused | Existing]: ...
    def extend(self, extensions: Sequence[Extension]) -> Awaitable[Sequence[ExtendAnswer]]: ...
    def settle(self, settlement: Settlement) -> Awaitable[Existing | None]: ...
    async def top_up(self, top_up: TopUp) -> LedgerEntry: ...


class ProviderChannels(Protocol):
    """The counters of the provider's own limits, as leases that end by themselves: `until_ms` is wall time.

    `take` answers how many others have each of the counters, and takes them where none is full or by `force`; `look`
    takes nothing. It does both in one atomic script. Repeating any of them changes nothing. Nobody waits for `renew`.
    """

    async def take(
        self, slots: Sequence[Slot], call: str, now_ms: int, until_ms: int, *, force: bool = False, look: bool = False
    ) -> Sequence[int]: ...
    def renew(self, slots: Sequence[Slot], call: str, until_ms: int) -> None: ...
    async def give_back(self, slots: Sequence[Slot], call: str) -> None: ...


@runtime_checkable
class LicenceSource(Protocol):
    """A switch that knows its own licence. SwitchUnavailable: it did not say; what it said last still holds."""

    name: str

    async def licence(self) -> LicenceStatus: ...


class Sessions(Protocol):
    """What the store remembers of calls: live ones, ended ones for 30 days, refused ones for 7.

    `listed`: (root, trace id) of the live ones. `read`: of such, what is remembered.
    """

    async def find(self, call: CallKey) -> Session | None: ...
    async def by_trace(self, trace_id: str) -> Session | None: ...
    async def listed(self, roots: Sequence[str]) -> list[tuple[str, str]]: ...
    async def read(self, calls: Sequence[tuple[str, str]]) -> list[Session]: ...
    async def lapsed(self, roots: Sequence[str], now_ms: int, limit: int) -> list[Session]: ...


class Books(Protocol):
    """Reading money: balances and ledgers."""

    async def balances(self, root: str, accounts: Sequence[str]) -> list[Balance]: ...
    async def ledger(self, root: str, account: str, after: str, limit: int) -> list[LedgerEntry]: ...


class Watching(Protocol):
    """Spend thresholds: what they are and have seen, and what operators say about them."""

    async def statistics(self, root: str, account: str, day: int) -> Statistics: ...
    async def say(self, word: Word) -> None: ...


class Tariffs(Protocol):
    """The definitions as compiled in this process: read without waiting; nobody waits while looping over them.

    `known`: they have been read from the store. Before that there seems to be nobody.
    """

    @property
    def known(self) -> bool: ...
    @property
    def directory(self) -> Directory: ...
    @property
    def exchanges(self) -> Exchanges: ...
    @property
    def blocks(self) -> Mapping[str, Sequence[Block]]: ...
    @property
    def licences(self) -> Mapping[str, SwitchLicence]: ...
    @property
    def limits(self) -> ProviderLimits: ...
    @property
    def plans(self) -> Mapping[str, Plan]: ...
    def deck(self, plan: str, at_ms: int) -> Deck | None: ...
    def terms(self, chain: Chain, at_ms: int) -> Terms: ...
    def plan(self, plan: str) -> Plan | None: ...


class Definitions(Protocol):
    """Writing definitions; every process follows within a second. Contradiction where they contradict each other.

    `put_account` raises CallConflict where the account would change its root with a call up or money held. With
    `dry_run` it only says whether the account contradicts the others.
    """

    async def put_account(self, account: Account, *, dry_run: bool = False) -> None: ...
    async def put_group(self, group: Group) -> None: ...
    async def put_trunk(self, trunk: Trunk) -> None: ...
    async def put_exchange(self, exchange: Exchange) -> None: ...
    async def put_blocks(self, account: str, change: Callable[[Sequence[Block]], Sequence[Block]]) -> None: ...
    async def put_licence(self, licence: SwitchLicence) -> None: ...
    async def put_limit(self, limit: ProviderLimit) -> None: ...
    async def put_plan(self, plan: Plan) -> None: ...
    async def put_rows(self, plan: str, rows: Sequence[Row]) -> None: ...
    def rows(self, plan: str) -> AsyncIterator[Row]: ...


class Services(Protocol):
    """The catalogue of services, and who subscribes to what; `book` is always the latest.

    `change` answers what the function made of it. ValueError, also of `put_catalogue`, where it contradicts.
    `restore` writes again what was lost (`ServiceBook.lost`).
    """

    async def book(self) -> ServiceBook: ...
    async def put_catalogue(self, catalogue: Catalogue) -> None: ...
    async def change(self, account: str, change: Callable[[ServiceBook], Subscriptions]) -> Subscriptions: ...
    async def restore(self) -> None: ...


class Charging(Protocol):
    """How far subscriptions are charged (by name, as it is kept), and the atomic step that charges them further.

    A step that was given up for lost may be asked for again: it is done once. So it is with a block that is bought:
    `buy` answers it as it was bought, now or before; None where the account cannot afford it. `keep_charged` says
    again how far is charged; what is there stays.
    """

    async def charged(self, root: str, account: str) -> dict[str, bytes]: ...
    async def keep_charged(self, root: str, account: str, charged: dict[str, bytes]) -> None: ...
    async def charge(self, booking: Booking) -> Booked: ...
    async def buy(self, buying: Buying) -> Block | None: ...
    async def stocks(self, root: str, account: str) -> Stocks: ...


ARCHIVE: Final = "api"
"""The feed behind GET /v1/cdrs: nobody accepts from it, everybody may read it. No sink has this name."""


class FeedRecord(msgspec.Struct, frozen=True):
    """A CDR in a feed: `payload` is its JSON with `sequence` in it."""

    sequence: int
    account: str
    payload: bytes


class FeedPage(msgspec.Struct, frozen=True):
    """What was found of a feed, up to the sequence `after`. `more`: there may be more behind it."""

    records: tuple[FeedRecord, ...]
    after: int
    more: bool


Hear = Callable[[Sequence[bytes]], Awaitable[None]]


class Feeds(Protocol):
    """The outboxes, moved on into one gap-free sequence per feed, kept there until accepted.

    `filled`: which outboxes are not empty. `move` answers how many records it moved; `before` hears their payloads
    first, and where it raises nothing is moved. `depth`: how many records nobody has accepted yet (1,000 at most of an
    outbox read in part), and the wall ms at which the oldest was written. `trim` drops what all `feeds` have, and those
    of other processes. `page` reads records of some accounts (None: of all) since a moment; it may end early (`more`).
    """

    async def filled(self, roots: Sequence[str]) -> list[str]: ...
    async def move(self, feed: str, roots: Sequence[str], limit: int, before: Hear | None = None) -> int: ...
    async def pending(self, feed: str, after: int, limit: int) -> list[FeedRecord]: ...
    async def accepted(self, feed: str, sequence: int) -> None: ...
    async def depth(self, feed: str, roots: Sequence[str]) -> tuple[int, int | None]: ...
    async def trim(self, roots: Sequence[str], feeds: Sequence[str]) -> None: ...
    async def page(
        self, feed: str, accounts: Collection[str] | None, after: int, since_ms: int | None, limit: int
    ) -> FeedPage: ...


class CdrSink(Protocol):
    """Where CDRs go. `deliver` returns when the batch is accepted for good; the same batch may come again."""

    name: str

    async def deliver(self, records: Sequence[FeedRecord]) -> None: ...
    async def close(self) -> None: ...
