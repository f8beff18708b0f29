"""A scripted phone call: what the two parties do, and what became of it."""

import asyncio

import msgspec

from callctl.simulators.ami.channel import UP, ArmedLimit, Channel, Ending
from callctl.simulators.ended import EndedBy


class Script(msgspec.Struct, frozen=True, kw_only=True):
    """What the parties of a call do by themselves."""

    caller: str
    called: str
    account: str = ""
    endpoint: str = "phone"
    caller_name: str = ""
    source_ip: str = "192.0.2.10"
    direction: str = "outbound"
    ring_s: float = 1.0
    answers: tuple[int | None, ...] = (200,)
    """What each trunk in turn answers: 200, a refusing SIP status, or None for ringing without end."""
    talk_s: float | None = None
    """How long they talk after the answer; None: until somebody cuts them off."""
    hung_up_by: EndedBy = EndedBy.CALLER
    """Who hangs up after `talk_s`: the caller or the callee."""
    cancel_after_s: float | None = None
    """The caller gives up this long after dialling, unless answered before."""


class HeardWarning(msgspec.Struct, frozen=True):
    """A sound that was played into the call: to `caller`, `callee` or `both`."""

    at_us: int
    to: str
    sound: str


class Outcome(msgspec.Struct, frozen=True):
    """How a call ended, as its caller saw it. Times in microseconds of the switch's wall clock.

    `ended_us`: of an answered call the end of its carrier leg, which is what is charged.
    """

    sip: int
    """The final SIP status: 200, or why there was no answer."""
    q850: int
    ended_by: EndedBy
    answered_us: int | None
    ended_us: int
    announcement: str = ""

    @property
    def talked_ms(self) -> int:
        return 0 if self.answered_us is None else (self.ended_us - self.answered_us) // 1_000


class SimCall:
    """One call through the gate. Await `answer` and `outcome`; act as a party with `hang_up`."""

    def __init__(self, script: Script, caller: Channel) -> None:
        self.script = script
        self.caller = caller
        self.callee: Channel | None = None
        self.warnings: list[HeardWarning] = []
        self.announcement = ""
        self.answered_us: int | None = None
        self._legs = [caller]
        loop = asyncio.get_running_loop()
        self._answered: asyncio.Future[int | None] = loop.create_future()
        self._outcome: asyncio.Future[Outcome] = loop.create_future()

    @property
    def uniqueid(self) -> str:
        """The caller's channel id, by which a controller knows the call."""
        return self.caller.uniqueid

    @property
    def is_over(self) -> bool:
        return self._outcome.done()

    @property
    def limits(self) -> list[ArmedLimit]:
        """Every limit that was set on a leg of this call, in order."""
        return sorted((limit for leg in self._legs for limit in leg.limits), key=lambda limit: limit.at_us)

    async def answer(self) -> int | None:
        """When the call was answered (microseconds); None once it has ended without."""
        return await asyncio.shield(self._answered)

    async def outcome(self) -> Outcome:
        """How it ended, once it has."""
        return await asyncio.shield(self._outcome)

    def hang_up(self, by: EndedBy = EndedBy.CALLER) -> None:
        """A party hangs up: BYE, CANCEL before the answer, or a refusal by the ringing callee."""
        leg = self.caller if by is EndedBy.CALLER else self.callee
        if leg is None:
            raise ValueError("there is no callee yet")
        if leg.state == UP:
            leg.end(Ending(by, 16))
        elif by is EndedBy.CALLER:
            leg.end(Ending(by, 127, 487))
        else:
            leg.end(Ending(by, 21, 603))

    def joined(self, callee: Channel) -> None:
        self.callee = callee
        self._legs.append(callee)

    def was_answered(self, at_us: int) -> None:
        self.answered_us = at_us
        self._answered.set_result(at_us)

    def was_ended(self, sip: int, q850: int, by: EndedBy, at_us: int) -> None:
        if self._outcome.done():
            return
        if not self._answered.done():
            self._answered.set_result(None)
        outcome = Outcome(sip, q850, by, self.answered_us, at_us, self.announcement)
        self._outcome.set_result(outcome)
