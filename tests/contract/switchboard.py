"""What the contract suite of switches needs of one: a rig, which is an adapter's switch with phones and troubles.

A rig for a new adapter implements `Rig` and `PlacedCall`, and is entered in `rigs.RIGS`.
"""

import asyncio
from collections.abc import Mapping
from enum import StrEnum
from typing import Any, Protocol, Self

import msgspec

from callctl.accounts import WarnTo
from callctl.call.admission import Policy
from callctl.call.events import Offered
from callctl.call.session import Session, State
from callctl.causes import Cause
from callctl.ports import Capabilities, Clock, SwitchAdapter
from tests.control_room import PER_SECOND, ControlRoom
from tests.waiting import until

SPEED = 20  # how many times as fast as real time a simulated switch runs
GATE_MS = 20_000  # a second of real time: a verdict may be late on a busy machine
POLICY = Policy(slice_first_s=20, setup_timeout_s=30, lease_grace_s=5, budget_ms=GATE_MS)
NUMBER = "+31612345678"
ELSEWHERE = "+31687654321"


class Party(StrEnum):
    """Who hangs up, forwards or transfers."""

    CALLER = "caller"
    CALLEE = "callee"


class Script(msgspec.Struct, frozen=True, kw_only=True):
    """What the parties of a call do by themselves. Seconds are the rig's."""

    to: str = NUMBER
    account: str = "acme"
    inbound: bool = False
    """From a carrier to the account's number +31201234567."""
    rings_s: float = 1
    answer: int | None = 200
    """What the called party answers: 200, a refusing SIP status, or None for ringing without end."""
    forwards_to: str = ""
    """The called party answers 302 with this number."""
    talks_s: float | None = None
    """They talk for so long; None: until somebody cuts them off."""
    hung_up_by: Party = Party.CALLER


class Seen(msgspec.Struct, frozen=True):
    """What the caller saw of a call that is over."""

    sip: int
    """The final status of the INVITE; 200 where it was connected."""
    talked_ms: int = 0
    hung_up_by: Party | None = None
    """None: neither party has; it was refused, or cut off."""
    announced: bool = False
    """A sound told of the refusal."""

    @property
    def connected(self) -> bool:
        return self.sip == 200


class PlacedCall(Protocol):
    """A phone has dialled. Waiting ends with TimeoutError after the rig's patience."""

    async def answered(self) -> bool:
        """Wait for the answer; False when the call has ended without one."""

    async def over(self) -> Seen: ...
    async def hang_up(self, by: Party) -> None: ...
    async def transfer(self, by: Party, to: str) -> None:
        """`by` asks for the other party to be connected with `to`; returns when that was answered, yes or no."""

    @property
    def warnings(self) -> list[WarnTo]:
        """Who heard each warning so far."""


class Trick(StrEnum):
    """What a rig should be able to play; one that cannot says why in `cannot`, and those tests are left out."""

    TWICE = "every event is told twice"
    LATE = "every event is told three seconds late"
    LOST_ANSWER = "the event that tells of an answer is lost"
    LOST_END = "the event that tells of an end is lost"
    HANG = "the switch hangs"
    CRASH = "the switch crashes"
    RESTART = "the switch is restarted in order, its calls ended"
    FORWARD = "the called party forwards"
    TRANSFER = "a party transfers"
    INBOUND = "calls come in"
    ALONE = "the switch's own configuration, callctl being dead"


TOLD_BADLY = (Trick.TWICE, Trick.LATE, Trick.LOST_ANSWER, Trick.LOST_END)


class Rig(Protocol):
    """A switch that an adapter is connected to, real or simulated, used as an asynchronous context.

    `clock`: the switch's time, also callctl's. `patience_s`: seconds to wait for anything. `exact_ms`: how exactly
    the phones' times can be compared with a CDR's; `late_ms`: how late a timer may seem on a busy machine.
    `dialled`: every number that a carrier was asked for.
    """

    clock: Clock
    patience_s: float
    exact_ms: int
    late_ms: int
    cannot: Mapping[Trick, str]

    @property
    def dialled(self) -> list[str]: ...
    async def __aenter__(self) -> Self: ...
    async def __aexit__(self, *_: object) -> None: ...
    def adapter(self) -> SwitchAdapter:
        """The adapter as a process that starts makes it, `no-credit` being the one announcement."""

    async def place(self, script: Script) -> PlacedCall: ...
    async def cut_link(self) -> None:
        """The link breaks and cannot be made again before `restore_link`. Calls go on."""

    async def restore_link(self) -> None: ...
    async def play(self, trick: Trick) -> None:
        """Of those that the suite asks for at a moment: `TOLD_BADLY`, HANG (until `resume`), CRASH and RESTART."""

    async def resume(self) -> None: ...


class Board:
    """A rig, and call control that may come and go: how the suite plays a whole call."""

    def __init__(self, rig: Rig, room: ControlRoom) -> None:
        self.rig = rig
        self.room = room

    @property
    def first_s(self) -> int:
        """What a call is granted at first."""
        return self.room.policy.slice_first_s

    @property
    def can(self) -> Capabilities:
        return self.switch.capabilities

    async def start(self) -> None:
        """A process of callctl begins, is linked to the switch, and knows its calls: it understands how they end."""
        self.switch = self.rig.adapter()
        await self.room.start(self.switch)
        await self.linked()
        await self.until(lambda: self.switch.name in self.room.relinked)

    async def linked(self) -> None:
        await self.until(lambda: self.switch.state().up)

    async def until(self, condition: Any) -> None:
        await until(condition, within_s=self.rig.patience_s)

    async def ringing(self, answer: int | None = 200) -> PlacedCall:
        """A call that is admitted and rings; None: until somebody gives up."""
        call = await self.rig.place(Script(rings_s=self.first_s / 2, answer=answer))
        await self.in_state(State.ADMITTED)
        await self.until(lambda: self.rig.dialled)
        return call

    async def talking(self, script: Script = Script()) -> PlacedCall:  # noqa: B008  frozen
        """A call that both sides know to be answered, and nothing of it is under way."""
        call = await self.rig.place(script)
        assert await call.answered(), await call.over()
        await self.in_state(State.ANSWERED)
        return call

    async def in_state(self, state: State) -> None:
        await self.until(lambda: [(it.state, it.busy) for it in self.room.calls.live()] == [(state, False)])

    def session(self) -> Session:
        (session,) = self.room.calls.live()
        return session

    async def recorded(self, calls: int = 1) -> list[dict[str, Any]]:
        """The CDRs, once there are so many; there must not be more."""
        await self.until(lambda: len(self.room.cdrs()) >= calls and not self.room.calls.live())
        cdrs = self.room.cdrs()
        assert len(cdrs) == calls, cdrs
        return cdrs

    async def squares(self, topped_up: int) -> None:
        """The balance is what was paid less what was charged, never below zero; nothing is held or in use."""
        await self.until(lambda: not self.room.calls.live())
        spent = sum(cdr["billed_s"] for cdr in self.room.cdrs()) * PER_SECOND
        balance = await self.room.balance()
        assert (balance.balance, balance.held, balance.slots) == (topped_up - spent, 0, {})
        assert balance.balance >= 0

    def agrees(self, cdr: Mapping[str, Any], seen: Seen) -> bool:
        """Whether a CDR tells the length of the call as its caller saw it."""
        apart_ms: int = abs(cdr["duration_ms"] - seen.talked_ms)
        return apart_ms <= self.rig.exact_ms

    def told(self, by: Party) -> str | None:
        """Who has hung up, as a CDR has it; a switch without `tells_who` does not know."""
        return by.value if self.can.tells_who else None

    def nobody_talked_unasked(self) -> bool:
        """Every number that a carrier was asked for was authorized."""
        allowed = {cdr["to"] for cdr in self.room.cdrs() if cdr["verdict"] == "allowed"}
        return set(self.rig.dialled) <= allowed


class Refuser:
    """Call control that answers every call with the same no."""

    def __init__(self, switch: SwitchAdapter, cause: Cause) -> None:
        self.switch = switch
        self.cause = cause
        self._refusing: set[asyncio.Task[None]] = set()

    def report(self, event: object) -> None:
        if isinstance(event, Offered):
            self._refusing.add(asyncio.get_running_loop().create_task(self.switch.reject(event.call, self.cause)))

    async def __aenter__(self) -> Self:
        self._linked = asyncio.create_task(self.switch.run(self.report, lambda: None))
        return self

    async def __aexit__(self, *_: object) -> None:
        self._linked.cancel()
        await asyncio.gather(self._linked, *self._refusing, return_exceptions=True)
