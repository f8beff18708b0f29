"""One step of a call: what the machine is to know before an event, and who hears what came of it."""

from typing import Any

from msgspec.structs import replace

from callctl.call import machine
from callctl.call.admission import Policy
from callctl.call.effects import Advance
from callctl.call.events import Answered, DeadlineReached, ExtendAsked, Recalled, Released
from callctl.call.session import Session, State
from callctl.control import elsewhere
from callctl.control.alarms import ANSWERS, Alarms
from callctl.control.facts import purchase
from callctl.control.within import LIVE
from callctl.ports import Clock, Observer, Tariffs

BY_PRESENT_RULES = frozenset({ExtendAsked, DeadlineReached, Released})


class Steps:
    """Feeds the machine. `now`: when it did so last."""

    def __init__(self, clock: Clock, tariffs: Tariffs, observer: Observer, policy: Policy, alarms: Alarms) -> None:
        self.now = clock.now()
        self._clock = clock
        self._tariffs = tariffs
        self._observer = observer
        self._policy = policy
        self._alarms = alarms

    def step(self, session: Session, event: Any) -> Advance:
        """What an event of the call (a `CallEvent`) leads to."""
        kind = type(event)  # isinstance takes four times as long where it is another of msgspec's classes
        self.now = now = self._clock.now()
        if kind in ANSWERS:
            advance = machine.advance(session, event, now, self._policy)
            self._alarms.heard(advance[0], event)
            return advance
        if kind in BY_PRESENT_RULES and session.state in LIVE:
            session = self._alarms.by_present_rules(session)
        elif kind is Recalled:
            stored, clock = event.session, self._policy.clock
            event = replace(event, session=elsewhere.in_our_time(stored, now, clock), ours=stored.clock == clock)
        elif kind is Answered and session.answered is None and session.state in (State.TAKING, *LIVE):
            session = replace(session, purchase=purchase(session, event, self._tariffs))
        advance = machine.advance(session, event, now, self._policy)
        if session.answered is None and advance[0].answered is not None and session.state in LIVE:
            self._observer.answered(advance[0])
        return advance
