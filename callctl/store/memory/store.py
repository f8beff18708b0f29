"""The ports Takes, Sessions and Books in plain dictionaries: what the scripts over Redis mean, as short as it can be.

Every method runs without a pause, so that each is atomic. Nothing is ever forgotten.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from operator import sub

import msgspec
from msgspec.structs import replace

from callctl.call.events import CallKey, Extended, ExtendRefused, Left, SlotUse, Taken, TakeRefused
from callctl.call.grant import admitted
from callctl.call.session import Session, State
from callctl.call.takes import Balance, Extension, LedgerEntry, Settlement, Take, TopUp
from callctl.call.watched import WATCHED_CALLS
from callctl.errors import CallConflict, StoreUnavailable, UnknownCall
from callctl.limits.concurrency import Rate, Slot
from callctl.limits.exposure import Exposure
from callctl.money import MAX_MICROS
from callctl.ports import Existing, ExtendAnswer
from callctl.store import books, records
from callctl.store.memory.accounts import MemoryAccount, all_afford, covers, move, sums_by_account
from callctl.store.memory.charging import MemoryCharging
from callctl.store.memory.watch import allowed, looks
from callctl.store.memory.watch import seen as seen_by
from callctl.store.moving import CLOSED, Move


class _Call(msgspec.Struct):
    """What is remembered of a call. `slots`: the counters it takes, at each level and at its trunk; `exposures`: what
    it has of the watched days of a level.
    """

    session: Session
    live: bool
    lease_until_ms: int = 0
    slots: list[tuple[Counter[str], list[str]]] = []
    exposures: dict[int, Exposure] = {}


class MemoryStore(MemoryCharging):
    """Money, channels, calls and ledgers. `outbox[root]`: the CDRs that are on their way."""

    def __init__(self) -> None:
        super().__init__()
        self._trunks: dict[tuple[str, str | None], Counter[str]] = defaultdict(Counter)
        self._attempts: Counter[tuple[str, str, int]] = Counter()
        self._calls: dict[str, _Call] = {}
        self._top_ups: dict[tuple[str, str, str], LedgerEntry] = {}
        self._gone: dict[tuple[str, str], tuple[str, str]] = {}

    # ---- Takes

    async def admit(self, take: Take) -> Taken | TakeRefused | Existing:
        session, root = take.session, take.session.root
        known = self._calls.get(session.trace_id)
        if known is not None and known.session.state is not State.REFUSED:
            return Existing(known.session)

        accounts = [self._accounts[level.root or root, level.account] for level in take.levels]
        trunk_uses = _uses(len(accounts), take.trunk_slots, self._trunks[root, session.trunk])
        uses = []
        for depth, level in enumerate(take.levels):
            both = zip(accounts[:depth], take.levels, strict=False)  # an account may be there twice
            own = [slot.name for it, other in both if it is accounts[depth] for slot in other.slots]
            uses.append(_uses(depth, level.slots, accounts[depth].in_use + Counter(own)))
        over = [any(use.over for use in at_level) for at_level in uses]
        over[:1] = [o or any(use.over for use in trunk_uses) for o in over[:1]]  # a trunk is its account's
        holds = [lv.hold_overflow if o else lv.hold for lv, o in zip(take.levels, over, strict=True)]
        available = [account.available for account in accounts]
        exceeded = self._exceeded(take)

        seen = tuple(over), tuple(use for at_level in [*uses, trunk_uses] for use in at_level)
        full = any(use.full for use in seen[1])
        poor = not all_afford(accounts, holds) or any(account.floor == CLOSED for account in accounts)
        draws = [[draw.amount for draw in level.draws] for level in take.levels]
        left = [account.left(level.draws) for account, level in zip(accounts, take.levels, strict=True)]
        covered = all(map(covers, left, draws))
        watched = looks(
            [account.watched for account in accounts],
            [level.watch for level in take.levels],
            [account.in_use[WATCHED_CALLS.name] for account in accounts],
            counts=not take.dry,
        )
        within = allowed(watched, poor=not take.force and (poor or not covered))
        alone = covered and (take.force or not (full or poor or exceeded is not None))
        goes = alone and (take.force or within)
        keeps = not take.probe and not take.dry
        told = seen_by(watched, goes=goes, tells=alone and keeps)
        if not goes:
            return TakeRefused(session.call, tuple(available), *seen, exceeded, _any(left), told)

        together = sums_by_account(accounts, holds)
        after = tuple(
            None if left is None else left - together[id(account)]
            for left, account in zip(available, accounts, strict=True)
        )
        left = [tuple(map(sub, *each)) for each in zip(left, draws, strict=True)]
        taken = Taken(session.call, after, *seen, _any(left), watched=told)
        if keeps:
            exposures = {look.seen.level: look.add(None) for look in watched}
            if not session.first_granted_s:  # who asks again is told what was told first
                session = replace(admitted(session, taken), version=session.version)
            session = _holding(session, holds, over, draws, exposures)
            slots = self._hold(take, accounts, holds)
            self._calls[session.trace_id] = _Call(session, True, take.lease_until_ms, slots, exposures)
        return taken

    def _hold(
        self, take: Take, accounts: Sequence[MemoryAccount], holds: Sequence[int]
    ) -> list[tuple[Counter[str], list[str]]]:
        """Money, sources and channels; the counters that were taken."""
        trunk = self._trunks[take.session.root, take.session.trunk]
        slots = [(trunk, [slot.name for slot in take.trunk_slots])]
        for account, level, hold in zip(accounts, take.levels, holds, strict=True):
            account.held += hold
            for draw in level.draws:
                account.stocks[draw.source].held += draw.amount
            slots.append((account.in_use, [slot.name for slot in level.slots]))
        for in_use, names in slots:
            in_use.update(names)
        return slots

    def _exceeded(self, take: Take) -> Rate | None:
        """Count the attempt; the first rate that is used up."""
        exceeded = None
        for rate in take.rates:
            window = take.session.root, rate.owner, rate.second
            if not take.dry:
                self._attempts[window] += 1
            if self._attempts[window] + take.dry > rate.per_second and exceeded is None:
                exceeded = rate
        return exceeded

    async def extend(self, extensions: Sequence[Extension]) -> list[ExtendAnswer]:
        return [self._extend(extension) for extension in extensions]

    def _extend(self, extension: Extension) -> ExtendAnswer:
        session, more = extension.session, extension.more
        known = self._calls.get(session.trace_id)
        if known is None:
            return UnknownCall(str(session.call))
        if known.session.version != session.version or not known.live:
            return Existing(known.session)

        accounts = [self._accounts[level.root or session.root, level.account] for level in known.session.levels]
        levels, draws = known.session.levels, extension.draws or [()] * len(accounts)
        rich = all_afford(accounts, more)
        left = [account.left(level.sources) for account, level in zip(accounts, levels, strict=True)]
        covered = all(map(covers, left, draws))
        watched = looks(
            [account.watched for account in accounts],
            extension.watch or [None] * len(accounts),
            [None] * len(accounts),
            counts=False,
        )
        within = allowed(watched, poor=not extension.force and (not rich or not covered))
        alone = covered and (extension.force or rich)
        goes = alone and (extension.force or within)
        told = seen_by(watched, goes=goes, tells=alone)
        if not goes:
            return ExtendRefused(session.call, tuple(account.available for account in accounts), _any(left), told)
        known.exposures |= {look.seen.level: look.add(known.exposures.get(look.seen.level)) for look in watched}
        held = [level.held + amount for level, amount in zip(levels, more, strict=True)]
        for account, level, amount, each_more in zip(accounts, levels, more, draws, strict=True):
            account.held += amount
            for source, seconds in zip(level.sources, each_more, strict=True):
                account.stocks[source.id].held += seconds
        drawn = [
            [source.held + amount for source, amount in zip(level.sources, each_more, strict=True)]
            for level, each_more in zip(levels, draws, strict=True)
        ]
        known.session = _holding(
            records.carried_on(known.session, records.changes(session)),
            held,
            [level.overflow for level in levels],
            drawn,
            known.exposures,
        )
        known.lease_until_ms = extension.lease_until_ms
        left = [account.left(level.sources) for account, level in zip(accounts, levels, strict=True)]
        return Extended(session.call, tuple(account.available for account in accounts), _any(left), told)

    async def settle(self, settlement: Settlement) -> Existing | None:
        session, root = settlement.session, settlement.session.root
        known = self._calls.get(session.trace_id)
        if known is not None:
            refused = known.session.state is State.REFUSED
            if refused and session.state is State.REFUSED and session.setup.wall_ms == known.session.setup.wall_ms:
                return None  # this very attempt
            anew = refused and session.version == 0
            if known.session.version != session.version and not anew:
                return Existing(known.session)
            if known.live:
                for in_use, names in known.slots:
                    in_use.subtract(names)
                for level in known.session.levels:
                    account = self._accounts[level.root or root, level.account]
                    account.held -= level.held
                    for source in level.sources:
                        account.stocks[source.id].held -= source.held
        self._settle_watched(settlement, known)

        for id, post in zip(records.entry_ids(settlement), settlement.posts, strict=True):
            at_ms, call = records.posted_ms(session), str(session.call)
            account = self._accounts[self._home(post.root or root, post.account)]
            move(account, id, post.kind, -post.amount, at_ms, call=call)
            for name, used in post.used:
                account.stocks[name].balance -= used
        for record in settlement.records:
            self.outbox[root].add(record, records.posted_ms(session))
        self._calls[session.trace_id] = _Call(replace(session, version=session.version + 1), live=False)
        return None

    def _settle_watched(self, settlement: Settlement, known: _Call | None) -> None:
        root = settlement.session.root
        told = {(it.root or root, it.account): it for it in settlement.watched}
        exposures = known.exposures if known is not None and known.live else {}
        levels = known.session.levels if known is not None else ()
        for depth, exposure in exposures.items():
            payer = levels[depth].root or root, levels[depth].account
            of_payer = told.pop(payer, None)
            used = 0 if of_payer is None else of_payer.amount
            self._accounts[payer].watched.over(exposure, used, is_estimate=bool(of_payer and of_payer.estimated))
        for payer, settled in told.items():
            self._accounts[self._home(*payer)].watched.corrected(settled)

    async def top_up(self, top_up: TopUp) -> LedgerEntry:
        first = self._top_ups.get((top_up.root, top_up.account, top_up.id))
        if first is None:
            account = self._accounts[top_up.root, top_up.account]
            if account.floor == CLOSED:
                raise StoreUnavailable(f"account {top_up.account} has left root {top_up.root}")
            if abs(account.balance + top_up.amount) > MAX_MICROS:
                raise ValueError(f"the balance of {top_up.account} would be more than can be counted")
            first = move(account, top_up.id, top_up.cause, top_up.amount, top_up.at_ms, note=top_up.note)
            self._top_ups[top_up.root, top_up.account, top_up.id] = first
        elif (first.amount, first.kind) != (top_up.amount, top_up.cause):
            raise CallConflict(f"{top_up.id} was another movement of {top_up.account}")
        return first

    async def place(self, it: Move, at_ms: int) -> None:
        """Limits as they are to be; with another root, all that the accounts have. CallConflict: they cannot go."""
        if it.leaves:
            roots = it.from_root, it.to_root
            if busy := [id for id in it.limits if any(self._accounts[root, id].busy for root in roots)]:
                raise it.refused(busy)
            for id in it.limits:
                self._go(it, id, at_ms)
        for id, limit in it.limits.items():
            self._accounts[it.to_root, id].floor = limit

    def _go(self, it: Move, id: str, at_ms: int) -> None:
        here, there = (it.from_root, id), (it.to_root, id)
        account, balance = self._accounts[here], self._accounts[here].balance
        if balance:
            move(account, "move-out", "correction", -balance, at_ms, note=it.to_root)
        self._accounts[here] = MemoryAccount(floor=CLOSED, ledger=list(account.ledger))
        if balance:
            move(account, "move-in", "correction", balance, at_ms, note=it.from_root)
        self._accounts[there] = account
        self._charged[there] = self._charged.pop(here, {})
        self._top_ups |= {(*there, entry.id): entry for entry in account.ledger if not entry.call}
        self._said |= {(*there, word): said for (*of, word), said in self._said.items() if of == [*here]}
        self._gone[here] = there
        self._gone.pop(there, None)

    def _home(self, root: str, account: str) -> tuple[str, str]:
        """Where an account is now that was there when its call was admitted."""
        here = root, account
        while here in self._gone:
            here = self._gone[here]
        return here

    # ---- Sessions

    async def find(self, call: CallKey) -> Session | None:
        session = await self.by_trace(call.trace_id)
        return session if session is not None and session.call == call else None

    async def by_trace(self, trace_id: str) -> Session | None:
        known = self._calls.get(trace_id)
        return None if known is None else known.session

    async def listed(self, roots: Sequence[str]) -> list[tuple[str, str]]:
        return [(root, call.session.trace_id) for root in roots for call in self._live(root)]

    async def read(self, calls: Sequence[tuple[str, str]]) -> list[Session]:
        return [self._calls[id].session for _, id in calls if id in self._calls]

    async def lapsed(self, roots: Sequence[str], now_ms: int, limit: int) -> list[Session]:
        lapsed = [c.session for root in roots for c in self._live(root) if c.lease_until_ms <= now_ms]
        return lapsed[:limit]

    def _live(self, root: str) -> Iterable[_Call]:
        live = [call for call in self._calls.values() if call.live and call.session.root == root]
        return sorted(live, key=lambda call: (call.lease_until_ms, call.session.trace_id))

    # ---- Books

    async def balances(self, root: str, accounts: Sequence[str]) -> list[Balance]:
        found = [(name, self._accounts[root, name]) for name in accounts]
        return [Balance(name, a.balance, a.held, a.available, dict(+a.in_use)) for name, a in found]

    async def ledger(self, root: str, account: str, after: str, limit: int) -> list[LedgerEntry]:
        start = books.parse_cursor(after)
        entries = self._accounts[root, account].ledger
        return [entry for entry in entries if books.parse_cursor(entry.cursor) > start][:limit]


def _uses(depth: int, slots: Sequence[Slot], in_use: Counter[str]) -> list[SlotUse]:
    return [SlotUse(depth, slot.name, in_use[slot.name], slot.limit, slot.hard_limit) for slot in slots]


def _any(left: Sequence[tuple[int, ...]]) -> Left:
    return tuple(left) if any(left) else ()


def _holding(
    session: Session,
    holds: Sequence[int],
    overflow: Sequence[bool],
    draws: Sequence[Sequence[int]],
    exposures: Mapping[int, Exposure],
) -> Session:
    """The session as it is remembered: one version on, with what it holds."""
    levels = []
    for depth, (level, held, over, drawn) in enumerate(zip(session.levels, holds, overflow, draws, strict=True)):
        pairs = zip(level.sources, drawn, strict=True)
        sources = tuple(replace(source, held=amount, left=0) for source, amount in pairs)
        exposed = exposures[depth].amount if depth in exposures else 0
        levels.append(replace(level, held=held, overflow=over, sources=sources, exposed=exposed))
    return replace(session, version=session.version + 1, levels=tuple(levels))
