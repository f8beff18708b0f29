"""A scripted phone call: what the two parties do, and what became of it."""

import asyncio

import msgspec

from callctl.simulators.ended import EndedBy
from callctl.simulators.esl.channel import Channel, Route


class Script(msgspec.Struct, frozen=True, kw_only=True):
    """What the parties of a call do by themselves."""

    caller: str
    called: str
    account: str = ""
    """The `accountcode` that the directory gives the calling phone."""
    profile: str = "internal"
    caller_name: str = ""
    source_ip: str = "192.0.2.10"
    direction: str = "outbound"
    variables: tuple[tuple[str, str], ...] = ()
    """What the installation's dialplan has set before the gate."""
    ring_s: float = 1.0
    answers: tuple[int | None, ...] = (200,)
    """What each trunk in turn answers: 200, a refusing SIP status, or None for ringing without end."""
    early_media: bool = False
    """The called side sends early media: with that the two legs are bridged, before the answer."""
    forwards_to: str = ""
    """The called side answers 302 with this number."""
    answered_before: bool = False
    """The switch has answered the caller already, as behind an announcement."""
    talk_s: float | None = None
    """How long they talk after the answer; None: until somebody cuts them off."""
    hung_up_by: EndedBy = EndedBy.CALLER
    cancel_after_s: float | None = None
    """The caller gives up this long after dialling, unless answered before."""


class HeardWarning(msgspec.Struct, frozen=True):
    """A sound that was mixed into what one party hears."""

    at_us: int
    to: EndedBy
    sound: str


class Outcome(msgspec.Struct, frozen=True):
    """How a call ended, as its caller saw it; times as FreeSWITCH's own record of the caller's leg has them."""

    sip: int
    cause: str
    ended_by: EndedBy
    answered_us: int
    ended_us: int
    announcement: str = ""

    @property
    def billed_us(self) -> int:
        """`billusec`."""
        return self.ended_us - self.answered_us if self.answered_us else 0

    @property
    def talked_ms(self) -> int:
        return self.billed_us // 1_000


class SimCall:
    """One caller's leg and whom it is connected to. Act as a party with `hang_up`, `refer` and `move_on`."""

    def __init__(self, script: Script, caller: Channel) -> None:
        self.script = script
        self.caller = caller
        self.callee: Channel | None = None
        self.legs: list[Channel] = [caller]
        self.warnings: list[HeardWarning] = []
        self.announcement = ""
        loop = asyncio.get_running_loop()
        self._answered: asyncio.Future[int] = loop.create_future()
        self._outcome: asyncio.Future[Outcome] = loop.create_future()

    @property
    def uuid(self) -> str:
        """The caller's leg, by which a controller knows the call."""
        return self.caller.uuid

    @property
    def is_over(self) -> bool:
        return self._outcome.done()

    async def answer(self) -> int:
        """When the call was answered (microseconds); 0 once it has ended without."""
        return await asyncio.shield(self._answered)

    async def outcome(self) -> Outcome:
        """How it ended, once it has."""
        return await asyncio.shield(self._outcome)

    def hang_up(self, by: EndedBy = EndedBy.CALLER) -> None:
        """A party hangs up: BYE, CANCEL before the answer, or a refusal by the ringing callee."""
        leg = self._leg_of(by)
        if leg.is_answered:
            leg.end("NORMAL_CLEARING", by, "recv_bye")
        elif by is EndedBy.CALLER:
            leg.end("ORIGINATOR_CANCEL", by, "recv_cancel")
        else:
            leg.end("CALL_REJECTED", by, "recv_refuse")

    def refer(self, by: EndedBy, to: str) -> None:
        """A party transfers the other one to a number, by SIP, and is out of it."""
        leg = self._leg_of(by)
        other = leg.other
        if other is None:
            raise ValueError("there is nobody to transfer")
        leg.variables |= {"transfer_to": f"blind:{other.uuid}", "endpoint_disposition": "BLIND_TRANSFER"}
        other.variables |= {
            "sip_refer_to": f"<sip:{to}@example.org>",
            "sip_h_Referred-By": f"<sip:{leg.caller_number}>",
        }
        other.send_to(Route(to, other.context))
        leg.end("NORMAL_CLEARING", by, "recv_bye")

    def move_on(self, to: str) -> None:
        """The switch itself sends the caller to another number, as for a forward when nobody answers."""
        self.caller.send_to(Route(to, self.caller.context))

    def _leg_of(self, party: EndedBy) -> Channel:
        leg = self.caller if party is EndedBy.CALLER else self.callee
        if leg is None:
            raise ValueError("there is no callee yet")
        return leg

    def joined(self, callee: Channel) -> None:
        self.callee = callee
        self.legs.append(callee)

    def was_answered(self) -> None:
        if not self._answered.done():
            self._answered.set_result(self.caller.answered_us)

    def was_ended(self) -> None:
        """The caller's leg is gone."""
        if self._outcome.done():
            return
        caller, ending = self.caller, self.caller.ending.result()
        if not self._answered.done():
            self._answered.set_result(0)
        sip = 200 if caller.is_answered else caller.refused_with()
        ended = Outcome(sip, ending.cause, ending.by, caller.answered_us, caller.ended_us, self.announcement)
        self._outcome.set_result(ended)
