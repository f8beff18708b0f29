"""An independent, simpler book-keeper: follows every write, and objects where a promise of the design is broken.

It knows nothing of callctl's rating, admission and machine: its prices are `prices.py`, its truth is `TrueCall`.
"""

from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field

import msgspec

from callctl.call.events import Answered, CallEvent, CallKey, Extended, Released, Taken
from callctl.call.session import Session, State
from callctl.call.takes import Extension, Settlement, Take
from callctl.ports import FeedRecord
from callctl.store.memory.store import MemoryStore
from tests.simulation.clock import VirtualLoop
from tests.simulation.market import Market
from tests.simulation.policy import POLICY
from tests.simulation.records import RecordsAudit
from tests.simulation.store import at_once
from tests.simulation.story import Story, TrueCall
from tests.simulation.thresholds import HUNG_UP, ThresholdsAudit

LATE_MS = 1_000  # promise 5
MOST_ASKED = 10  # extensions of a call in a second; seldom are there four
UNHEARD = {"client silent", "report never accepted", "hung up by the operator", HUNG_UP}


@dataclass
class Open:
    """What a call has taken and not given back. `granted_s`: the longest that it was ever granted for."""

    root: str
    accounts: list[str]
    held: list[int]
    over: list[bool]
    slots: list[tuple[str, str]]  # (account, or "trunk:" and its id; counter)
    forced: bool
    draws: list[list[tuple[str, int]]]  # at each level: (source, how much of it)


@dataclass
class Book:
    """One account's money as the auditor counts it."""

    balance: int = 0
    held: int = 0
    charged: int = 0


@dataclass
class Ended:
    """How the store closed a call."""

    states: list[State] = field(default_factory=list)
    held: list[int] = field(default_factory=list)
    over: list[bool] = field(default_factory=list)
    forced: bool = False


class Auditor:
    """`objections` is what it found. `open`: calls that hold something. `boots`: the machine, with every life."""

    def __init__(
        self,
        loop: VirtualLoop,
        story: Story,
        market: Market,
        store: MemoryStore,
        calls: Mapping[CallKey, TrueCall],
        *,
        boots: bool,
    ) -> None:
        self.objections: list[str] = []
        self.open: dict[CallKey, Open] = {}
        self.ended: defaultdict[CallKey, Ended] = defaultdict(Ended)
        self._loop = loop
        self._story = story
        self._market = market
        self._store = store
        self._calls = calls
        timezone = lambda name: market.accounts[name].timezone  # noqa: E731
        self.thresholds = ThresholdsAudit(loop, store, calls, timezone, self.object)
        self._boots = boots
        self._stepped = False
        self._written: set[str] = set()
        self._asked: Counter[tuple[CallKey, int]] = Counter()  # by second

    def object(self, what: str) -> None:
        self._story.tell("AUDITOR OBJECTS:", what)
        self.objections.append(f"{self._loop.now_ms / 1000:.3f}: {what}")

    # ---- what callctl was told, and what harmed its knowledge

    def told(self, event: CallEvent, call: TrueCall, life: int) -> None:
        clock = life if self._boots else 0
        if isinstance(event, Answered) and call.told_answer is None:
            call.told_answer = event.at.wall_ms
            call.heard_answer = clock, event.at.monotonic_ms
        elif isinstance(event, Released) and not event.estimated:
            if call.told_end is None:
                call.told_end = event.at.wall_ms
                call.heard_end = clock, event.at.monotonic_ms
            call.told_end_lives.add(life)

    def killed(self, life: int, journal: Mapping[str, Session]) -> None:
        for call in self._calls.values():
            if call.key.trace_id in journal:
                kept = journal[call.key.trace_id]
                call.kept_answer |= kept.answered is not None
                call.kept_end |= kept.released is not None and not kept.estimated
            if call.ended_ms is None or call.key in self.open or not call.kept_end:
                call.harmed.add("callctl killed")
            if not call.kept_answer:
                call.heard_answer = None
            if not call.kept_end:
                call.heard_end = None
                call.told_end_lives.discard(life)

    def started(self) -> None:
        """A new life: what the last one noted of our clock, it reads by its own."""
        if self._stepped:
            for call in self._calls.values():
                call.harmed.add("our wall clock stepped")
        self._stepped = False

    def wall_stepped(self, ours: bool, switches: list[str]) -> None:
        self._stepped |= ours and self._boots
        for call in self._calls.values():
            if (ours and self._boots) or call.key.switch in switches:
                call.harmed.add("our wall clock stepped" if ours else "its wall clock stepped")

    # ---- every write

    def wrote(self, request: Take | Extension | Settlement, answer: object) -> None:
        self.thresholds.wrote(request, answer)
        session = request.session
        call = self._calls[session.call]
        if isinstance(request, Extension):
            self._asks(session.call)
        if isinstance(request, Take) and isinstance(answer, Taken):
            if not (request.probe or request.dry):
                self._admitted(call, request, answer)
        elif isinstance(request, Extension) and isinstance(answer, Extended):
            self._extended(call, request)
        elif isinstance(request, Settlement) and answer is None:
            self._settled(call, request)
        else:
            return
        call.kept_answer |= session.answered is not None
        self._figures(session.root, request)

    def _asks(self, call: CallKey) -> None:
        second = self._loop.now_ms // 1000
        self._asked[call, second] += 1
        if self._asked[call, second] == MOST_ASKED + 1:
            self.object(f"{call} asks the store without end")

    def _admitted(self, call: TrueCall, take: Take, answer: Taken) -> None:
        if call.key in self.open:
            self.object(f"{call.key} was admitted twice")
        counted = self._in_use(take.session.root)
        over, holds, slots = [], [], []
        for depth, level in enumerate(take.levels):
            wanted = [(level.account, slot) for slot in level.slots]
            if depth == 0:
                wanted += [(f"trunk:{take.session.trunk}", slot) for slot in take.trunk_slots]
            uses = [(counted[name, slot.name], slot) for name, slot in wanted]
            over.append(any(slot.limit is not None and used >= slot.limit for used, slot in uses))
            holds.append(level.hold_overflow if over[-1] else level.hold)
            if not take.force and any(s.hard_limit is not None and used >= s.hard_limit for used, s in uses):
                self.object(f"{call.key}: more calls than {level.account} may have")
            slots += [(name, slot.name) for name, slot in wanted]
        accounts = [level.account for level in take.levels]
        draws = [[(draw.source, draw.amount) for draw in level.draws] for level in take.levels]
        self.open[call.key] = Open(take.session.root, accounts, holds, over, slots, take.force, draws)
        call.granted_until(take.session.granted_s)

    def _extended(self, call: TrueCall, extension: Extension) -> None:
        held = self.open[call.key]
        held.held = [have + more for have, more in zip(held.held, extension.more, strict=True)]
        if extension.draws:
            held.draws = [
                [(source, have + more) for (source, have), more in zip(had, each, strict=True)]
                for had, each in zip(held.draws, extension.draws, strict=True)
            ]
        held.forced |= extension.force and any(extension.more)
        call.granted_until(extension.session.wanted_s)

    def _settled(self, call: TrueCall, settlement: Settlement) -> None:
        session = settlement.session
        closed = self.open.pop(call.key, None)
        ended = self.ended[call.key]
        ended.states.append(session.state)
        self._written |= {msgspec.json.decode(record.payload)["id"] for record in settlement.records}
        call.kept_end |= session.released is not None and not session.estimated
        if closed is not None:
            ended.held, ended.over, ended.forced = closed.held, closed.over, closed.forced
            self._justified(call, session)
        first = len(ended.states) == 1 and closed is not None
        for depth, post in enumerate(settlement.posts):
            account = self._market.accounts[post.account]
            if account.kind == "prepaid" and first and closed is not None and post.amount > closed.held[depth]:
                self.object(f"{call.key}: {post.account} is charged {post.amount}, held were {closed.held[depth]}")
            if first and closed is not None:
                drawn = dict(closed.draws[depth])
                for source, used in post.used:
                    if not 0 <= used <= drawn.get(source, 0):
                        self.object(f"{call.key}: uses {used} of {source}, held were {drawn.get(source, 0)}")

    def _justified(self, call: TrueCall, session: Session) -> None:
        """Promise 7: a call that talks is closed for a reason: its time is over. Silence is none."""
        given_up_ms = (POLICY.setup_timeout_s + POLICY.lease_grace_s) * 1000 + (call.admitted_ms or 0)
        if call.told_answer is None and self._loop.now_ms >= given_up_ms - LATE_MS:
            return  # nobody has told of the answer, and it cannot ring so long
        if call.alive and call.answered_ms is not None and call.attended and "switch restarted" not in call.harmed:
            over_ms = call.answered_ms + call.granted_s * 1000
            if self._loop.now_ms < over_ms - LATE_MS and not call.hang_up_asked:
                self.object(f"{call.key} is closed as {session.state} while it talks")

    # ---- money and channels after each write

    def _stocks(self, root: str, name: str) -> None:
        """No more is used and held of a bundle or block than there was; what is held is what calls hold."""
        held: Counter[str] = Counter()
        for each in self.open.values():
            for account, draws in zip(each.accounts, each.draws, strict=True):
                held.update(dict(draws) if account == name and each.root == root else {})
        had = self._market.had(name)
        for source, stock in at_once(self._store.stocks(root, name)).by_source.items():
            if stock.held != held[source]:
                self.object(f"{name} shows {stock.held} held of {source}, its calls hold {held[source]}")
            bought = had[source] if source.startswith("block/") else 0
            if not 0 <= stock.held <= had[source] - bought + stock.balance:
                self.object(f"{name} has {had[source]} of {source}, and shows {stock}")

    def _in_use(self, root: str) -> Counter[tuple[str, str]]:
        return Counter(slot for held in self.open.values() if held.root == root for slot in held.slots)

    def _figures(self, root: str, request: Take | Extension | Settlement) -> None:
        """Promises 1, 2 and 4 at every moment: what the store shows is what its writes add up to."""
        accounts = [level.account for level in request.session.levels]
        in_use = self._in_use(root)
        for name, shown in zip(accounts, at_once(self._store.balances(root, accounts)), strict=True):
            held = sum(
                micros
                for each in self.open.values()
                if each.root == root
                for account, micros in zip(each.accounts, each.held, strict=True)
                if account == name
            )
            counted = {slot: n for (who, slot), n in in_use.items() if who == name}
            if shown.held != held:
                self.object(f"{name} shows {shown.held} held, its calls hold {held}")
            self._stocks(root, name)
            if shown.slots != counted:
                self.object(f"{name} shows channels {shown.slots}, its calls use {counted}")
            account = self._market.accounts[name]
            if account.kind == "prepaid" and account.credit_limit is not None:
                if shown.balance < -account.credit_limit:
                    self.object(f"{name} is at {shown.balance}, below its limit of {-account.credit_limit}")
                forced = any(each.forced for each in self.open.values())
                if shown.balance - held < -account.credit_limit and not forced:
                    self.object(f"{name} holds {held} and has but {shown.balance}")
            entries = at_once(self._store.ledger(root, name, "", 1_000_000))
            if shown.balance != sum(entry.amount for entry in entries):
                self.object(f"{name} is at {shown.balance}, its ledger says {sum(e.amount for e in entries)}")

    def look_at_counters(self) -> None:
        """Promise 2, some minutes after everything works: a call that is up has its channels, and no other has."""
        up = {key for key, call in self._calls.items() if call.alive and "passed by the dialplan" not in call.harmed}
        for key in up - self.open.keys():
            call = self._calls[key]
            if (call.harmed & UNHEARD and key.switch == "http") or (call.emergency and call.harmed):
                continue  # given up, and nobody can be told, or is to be
            self.object(f"{key} is up and has no channel")
        for key in self.open.keys() - up:
            if key.switch != "http":  # what an SBC does not report is held until its grant is over
                self.object(f"{key} is over and has a channel still")

    # ---- the end

    def close(self, delivered: list[FeedRecord], journal: Mapping[str, Session]) -> None:
        for key in self.open:
            call = self._calls[key]
            if call.emergency and not call.attended and call.harmed:
                continue  # its end was never told, and nothing cuts it: its lease lasts a day
            self.object(f"{key} still holds money or channels")
        for name in journal.keys() - {key.trace_id for key in self.open}:
            self.object(f"the journal still has {name}")
        for call in self._calls.values():
            self._outlived(call)
            if call.emergency and "reject" in call.decided:
                self.object(f"emergency call {call.key} was refused")
        used = self.thresholds.used
        records = RecordsAudit(self._market, self._calls, self.ended, self.open.keys(), used, self.object)
        records.delivered(delivered, self._written)
        charged = records.charged()
        for account in self._market.accounts.values():
            root = self._market.registry.root(account)
            (shown,) = at_once(self._store.balances(root, [account.id]))
            entries = at_once(self._store.ledger(root, account.id, "", 1_000_000))
            records.used(account.id, at_once(self._store.stocks(root, account.id)).by_source)
            posted = -sum(entry.amount for entry in entries if entry.call)
            if posted != charged[account.id]:
                self.object(f"{account.id}: CDRs charge {charged[account.id]}, posts are {posted}")
            if (shown.held or shown.slots) and not self.open:
                self.object(f"{account.id} ends with {shown.held} held and channels {shown.slots}")
        records.calls()
        self.thresholds.close()

    def _outlived(self, call: TrueCall) -> None:
        """Promise 5, by the switch's own truth."""
        if call.answered_ms is None or call.ended_ms is None or call.emergency:
            return
        if not call.stated and call.harmed & {"event late", "switch frozen"}:
            return  # its grant begins when callctl hears of the answer
        unplaced = not call.stated or "its wall clock stepped" in call.harmed
        if unplaced and {"our wall clock stepped", "callctl killed"} <= call.harmed:
            return  # nobody can tell the next life how long ago the answer was
        if call.lasted_ms > call.longest_s * 1000 + LATE_MS:
            self.object(f"{call.key} lasted {call.lasted_ms} ms, granted were {call.longest_s} s")
