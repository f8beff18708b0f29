"""All calls of this process: offered, reported, looked up, taken over from the store, lengthened by a top-up."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from functools import partial
from operator import attrgetter

from msgspec.structs import replace

from callctl.call import machine
from callctl.call.admission import Policy, Proposal, propose
from callctl.call.cdr import records
from callctl.call.checks import Finding
from callctl.call.due import dues
from callctl.call.effects import AdmitCall, RejectCall, TakeNow
from callctl.call.events import (
    Alerting,
    Answered,
    CallEvent,
    CallKey,
    Deadline,
    DeadlineReached,
    ExtendAsked,
    HangUpAsked,
    Offered,
    Released,
)
from callctl.call.session import Session, State
from callctl.call.takes import Record
from callctl.causes import Refusal
from callctl.clock import Instant
from callctl.control import elsewhere, late
from callctl.control.alarms import Alarms, watched_calls
from callctl.control.deadlines import Deadlines
from callctl.control.facts import gather
from callctl.control.journal import Journal
from callctl.control.mailbox import Mailbox
from callctl.control.performer import Performer
from callctl.control.steps import Steps
from callctl.control.within import LIVE, Ties, is_up
from callctl.errors import CallConflict, PortError, UnknownCall
from callctl.ports import Clock, Existing, Observer, Sessions, Switch, Takes, Tariffs
from callctl.promise import Promise
from callctl.turn import Turn

_DECIDED, _CLOSED = attrgetter("decided"), attrgetter("closed")
DECIDING = frozenset({AdmitCall, RejectCall})
EXPLAINED = "~explained"  # the switch of calls that are only asked about
MOST_CALLS = 200_000  # more at once than one process is built for: refused, counted


class CallControl:
    """Implements `ports.Calls`, and receives what the adapters report."""

    def __init__(
        self,
        *,
        clock: Clock,
        tariffs: Tariffs,
        takes: Takes,
        sessions: Sessions,
        switches: Mapping[str, Switch],
        journal: Journal,
        observer: Observer,
        policy: Policy,
        wake: Callable[[str], None],
    ) -> None:
        self._clock = clock
        self._tariffs = tariffs
        self._takes = takes
        self._sessions = sessions
        self._journal = journal
        self._observer = observer
        self.policy = policy
        self._boxes: dict[CallKey, Mailbox] = {}
        self._tells = Turn(Mailbox.tell)
        self.deadlines = Deadlines(clock, self._boxes, self.receive)
        self.performer = Performer(
            takes,
            switches,
            self.deadlines,
            journal,
            observer,
            decided=self._decided,
            forget=self._forget,
            settled=wake,
        )
        self._ties = Ties()
        self.alarms = Alarms(observer, tariffs, clock, policy.thresholds, self._trip)
        self._steps = Steps(clock, tariffs, observer, policy, self.alarms)
        self._step = self._steps.step  # one for all calls: each would keep its own

    # ---- from the adapters and the clock: never blocks, never raises

    def receive(self, event: CallEvent) -> None:
        """One event of a call. A call that is not known is offered anew, or long over."""
        box = self._boxes.get(event.call)
        if box is None:
            if isinstance(event, Offered):
                self._offer(event)
            elif isinstance(event, Released):
                self.performer.start(late.end(event, self._open, self._clock))
        elif type(event) is DeadlineReached:
            if elsewhere.may_go_on(box.session, event):
                self.performer.start(elsewhere.unless_it_goes_on(box, event, self._sessions))
            else:
                box.put(event)
        elif type(event) is Released and box.session.state is State.SETTLING:
            self.performer.start(late.end(event, self._open, self._clock))
        else:
            box.put(event)

    # ---- ports.Calls

    def authorize(self, offered: Offered) -> Awaitable[Session]:
        box = self._boxes.get(offered.call)
        if offered.within is not None or (box is not None and box.session.state is State.REFUSED):
            return self._authorize_behind(offered, box)
        return self._authorize(offered, box)

    async def _authorize_behind(self, offered: Offered, box: Mailbox | None) -> Session:
        """A refused call has its record first, then it may be decided anew. An outer call must be known here."""
        if box is not None and box.session.state is State.REFUSED:
            await box.until(_CLOSED)
            box = self._boxes.get(offered.call)
        if box is None and offered.within is not None:
            await self._take_up_outer(CallKey(offered.call.switch, offered.within))
            box = self._boxes.get(offered.call)
        return await self._authorize(offered, box)

    def _authorize(self, offered: Offered, box: Mailbox | None) -> Promise[Session]:
        box = box or self._begun(offered)
        return box.until(_DECIDED).then(partial(_of_the_same_body, offered))

    def _begun(self, offered: Offered) -> Mailbox:
        """A new call, where the journal knows of none: what it keeps is not to be overwritten."""
        pending = self._journal.pending  # mostly none: a call's name need not be hashed to be looked up there
        ours = pending.get(offered.call.trace_id) if pending else None
        if ours is None or ours.state is State.REFUSED:
            return self._offer(offered)
        if ours.state is State.BLIND and ours.released is None:
            return self.adopt(ours)
        return Mailbox(ours, self._step, {}, self._tells, closed=True)  # nothing more is done for it here

    async def explain(self, offered: Offered) -> Session:
        now = self._clock.now()
        if offered.within is not None:
            await self._take_up_outer(CallKey(offered.call.switch, offered.within))
        explained = replace(offered, call=CallKey(EXPLAINED, offered.call.call_id))
        proposal = self._proposal(explained, self._outer_of(offered), now)
        session, effects = machine.begin(proposal, now, self.policy)
        while taking := next((effect for effect in effects if isinstance(effect, TakeNow)), None):
            answer = await self._takes.admit(replace(taking.take, probe=True, dry=True))
            if isinstance(answer, Existing):
                raise CallConflict(f"call {offered.call} is known already")
            session, effects = machine.advance(session, answer, now, self.policy)
            if not DECIDING.isdisjoint(map(type, effects)):
                break
        return session

    async def report(self, event: Alerting | Answered | Released | ExtendAsked | HangUpAsked) -> Session:
        box = await self._told(event)
        return await self.find(event.call) if box is None else box.session

    async def end(self, event: Released) -> tuple[Session, Sequence[Record]]:
        """Of a call that was settled just now, the records as they are written; of any other, made again."""
        box = await self._told(event)
        session = await self.find(event.call) if box is None else box.session
        if session.released is None:
            return session, ()
        if box is not None and box.settled is not None and not box.settled.session.corrections:
            return session, box.settled.records
        return session, records(session, dues(session))

    async def _told(self, event: Alerting | Answered | Released | ExtendAsked | HangUpAsked) -> Mailbox | None:
        """The call's mailbox once it has dealt with the event; None for a call that was refused."""
        box = self._boxes.get(event.call)
        if box is None or box.session.state is State.SETTLING:
            box = await self._open(event.call)
        if box is not None:
            await box.until(_DECIDED)
            if isinstance(event, ExtendAsked):
                await elsewhere.catch_up(box, self._sessions)
            box.put(event)
            await box.idle()
        return box

    async def find(self, call: CallKey) -> Session:
        box = self._boxes.get(call)
        return box.session if box is not None else await self._remembered(call)

    def live(self) -> list[Session]:
        return [box.session for box in self._boxes.values() if box.session.state in LIVE]

    async def everywhere(self, roots: Sequence[str]) -> list[Session]:
        return await elsewhere.everywhere(self._boxes, self._sessions, roots)

    # ---- for the reconciler

    def boxes(self, switch: str) -> list[Mailbox]:
        """The calls of one switch that this process knows."""
        return [box for call, box in self._boxes.items() if call.switch == switch]

    def knows(self, call: CallKey) -> bool:
        return call in self._boxes

    def adopt(self, stored: Session) -> Mailbox:
        """Take up a call that the store or the journal remembers."""
        now = self._clock.now()
        session = replace(elsewhere.in_our_time(stored, now, self.policy.clock), busy=False)
        box = self._register(session)
        box.decided = True
        if session.state in LIVE:
            box.follow(machine.resume(session, now, self.policy))
        return box

    def let_go(self, switch: str) -> None:
        """This process has no more to do with the calls of a switch: their leases settle them, as after its end."""
        for box in self.boxes(switch):
            self._forget(box)

    def end_left_within(self) -> None:
        """After a start: calls whose outer call has ended meanwhile."""
        for outer in self._ties.outers():
            if self._outer(outer) is None:
                self._end(self._ties.within(outer))

    def topped_up(self, account: str) -> None:
        """There is more money: look again at the account's running calls, and at those it pays for below it."""
        self.alarms.topped_up(account)
        for call in self._ties.paid_by(account):
            box = self._boxes[call]
            if box.session.state is State.ANSWERED and box.session.attended:
                box.put(DeadlineReached(call, Deadline.RETRY))

    def take_anew(self) -> None:
        """The store has lost something: what runs is saved, and so taken again where the store knows it no more."""
        for box in tuple(self._boxes.values()):
            if box.session.state in (State.ADMITTED, State.ANSWERED):
                box.put(DeadlineReached(box.session.call, Deadline.RETRY))

    def tripped(self, account: str) -> None:
        """The account is blocked by its spend threshold: its watched calls end."""
        sessions = [self._boxes[call].session for call in self._ties.paid_by(account)]
        for asked in watched_calls(account, map(self.alarms.by_present_rules, sessions)):
            self.receive(asked)

    def _trip(self, account: str) -> None:
        asyncio.get_running_loop().call_soon(self.tripped, account)  # once the call that tripped it is dealt with

    # ---- within

    def _offer(self, offered: Offered) -> Mailbox:
        now = self._clock.now()
        proposal = self._proposal(offered, self._outer_of(offered), now)
        box = self._register(proposal.session)
        hindrance = None if proposal.session.emergency else self._not_now()
        if hindrance is not None:
            proposal = replace(proposal, refused=hindrance)
        box.follow(machine.begin(proposal, now, self.policy))
        return box

    def _proposal(self, offered: Offered, outer: Session | None, now: Instant) -> Proposal:
        return propose(offered, gather(offered, self._tariffs, now, self.policy.lists, outer), now, self.policy)

    def _not_now(self) -> Finding | None:
        """What keeps this process from deciding at all."""
        if not self._tariffs.known:
            return Finding("store", "the definitions are not read yet", Refusal.STORE_UNAVAILABLE)
        if len(self._boxes) > MOST_CALLS:
            self._observer.overflowed("calls")
            return Finding("capacity", "too many calls at once", Refusal.OVERLOADED)
        return None

    def _outer_of(self, offered: Offered) -> Session | None:
        return None if offered.within is None else self._outer(CallKey(offered.call.switch, offered.within))

    def _outer(self, call: CallKey) -> Session | None:
        """The call that others are within; None where it is not up."""
        box = self._boxes.get(call)
        return box.session if box is not None and is_up(box.session) else None

    async def _take_up_outer(self, outer: CallKey) -> None:
        """It may be known to the store alone."""
        if outer not in self._boxes:
            with contextlib.suppress(UnknownCall, PortError):  # then it is not up
                session = await self._remembered(outer)
                if is_up(session) and outer not in self._boxes:
                    self.adopt(session)

    def _end(self, calls: Iterable[CallKey]) -> None:
        for call in calls:
            self.receive(HangUpAsked(call))

    async def _open(self, call: CallKey) -> Mailbox | None:
        """The call's mailbox, now or once it is closed by what is under way; from the store where we have none.

        None for a call that was refused: whatever is reported of it changes nothing.
        """
        box = self._boxes.get(call)
        if box is not None and box.session.state is State.SETTLING:
            await box.until(_CLOSED)
            box = self._boxes.get(call)
        if box is not None:
            return box
        session = await self._remembered(call)
        return None if session.state is State.REFUSED else self._boxes.get(call) or self.adopt(session)

    async def _remembered(self, call: CallKey) -> Session:
        """The journal knows better than the store; but what was refused may have been allowed elsewhere since."""
        ours = self._journal.pending.get(call.trace_id)
        if ours is not None and (ours.linked or ours.state is not State.REFUSED):
            return ours
        session = await self._sessions.find(call) or ours
        if session is None:
            raise UnknownCall(f"no call {call}")
        return session

    def _register(self, session: Session) -> Mailbox:
        box = self._boxes[session.call] = Mailbox(session, self._step, self.performer.ways, self._tells)
        self._ties.add(session)
        return box

    def _decided(self, session: Session) -> None:
        pending = self._journal.pending
        refused = pending.get(session.call.trace_id) if pending else None
        if refused is not None and refused.state is State.REFUSED and session.state in LIVE:
            self._journal.done(refused)  # asked again, it is allowed: a replay would give back what it has now
        self._observer.decided(session, self._steps.now.since_ms(session.setup) / 1000)
        self.alarms.decided(session)
        if session.within is not None and self._outer(CallKey(session.call.switch, session.within)) is None:
            asyncio.get_running_loop().call_soon(self._end, (session.call,))  # its outer call ended while we asked

    def _forget(self, box: Mailbox) -> None:
        call = box.session.call
        if self._boxes.get(call) is box:
            del self._boxes[call]
            self._end(self._ties.remove(box.session))


def _of_the_same_body(offered: Offered, session: Session) -> Session:
    if session.fingerprint != offered.fingerprint:
        raise CallConflict(f"call {offered.call} was asked for before, with another body")
    return session
