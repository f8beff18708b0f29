"""A call in the simulated PBX: two sides that talk or try to, as each is shown to whom may see its DN."""

import asyncio
import uuid
from enum import StrEnum
from typing import Any

import msgspec

from callctl.clock import Instant
from callctl.simulators.threecx.cdrlines import Segment
from callctl.simulators.threecx.setup import Faults

DIALING, RINGING, CONNECTED = "Dialing", "Ringing", "Connected"
EXTENSION, ROUTE_POINT, EXTERNAL_LINE = "Wextension", "Wroutepoint", "Wexternalline"


class EndedBy(StrEnum):
    CALLER = "caller"
    CALLED = "called"
    APP = "app"  # dropped by its client
    PBX = "pbx"


class Far(msgspec.Struct, frozen=True, kw_only=True):
    """What a called party does by itself. `rings_s` None: it rings until somebody gives up.

    `answers` False: it refuses after ringing. `talks_s`: then it hangs up; None: never.
    """

    rings_s: float | None = None
    answers: bool = True
    talks_s: float | None = None


class Leg:
    """One side: a participant of its DN. `number` is what the other side sees of it.

    `heard`: what was streamed to it, with the moment at which each piece came.
    """

    def __init__(self, id: int, dn: str, kind: str, number: str, status: str, *, name: str = "") -> None:
        self.id = id
        self.legid = 0
        self.uid = uuid.uuid4().hex
        self.dn = dn
        self.kind = kind
        self.number = number
        self.name = name
        self.status = status
        self.peer: Leg | None = None
        self.is_routed = True
        """False: where its call goes is not known yet."""
        self.shows: str | None = None
        """What it sees as the other side's number, where that is not the other side's own."""
        self.did = ""
        self.originated_by = ("", "None")
        self.referred_by = ("", "None")
        self.on_behalf_of = ("", "None")
        self.data: dict[str, str] = {}
        self.heard: list[tuple[bytes, Instant]] = []
        self.gone = asyncio.Event()

    def shown(self, call: "SimCall", faults: Faults) -> dict[str, Any]:
        """The participant as the API tells it."""
        peer = self.peer if self.is_routed else None
        whole: Any = str if faults.string_ids else int
        odd = {CONNECTED: "Talking"} if faults.unknown_status else {}
        if faults.unknown_progress:
            odd[DIALING] = "Routing"
        party = "" if peer is None or (faults.trunk_unnamed and peer.kind == EXTERNAL_LINE) else peer.dn
        far = self.shows if self.shows is not None else self.peer.number if self.peer is not None else ""
        return {
            "id": whole(self.id),
            "status": odd.get(self.status, self.status),
            "dn": self.dn,
            "party_caller_name": peer.name if peer is not None else "",
            "party_dn": party,
            "party_caller_id": far,
            "party_did": "" if faults.empty_did else self.did,
            "device_id": f"sip:{self.dn}@127.0.0.1:5483",
            "party_dn_type": peer.kind if peer is not None else "None",
            "direct_control": self.kind == ROUTE_POINT,
            "originated_by_dn": self.originated_by[0],
            "originated_by_type": self.originated_by[1],
            "referred_by_dn": self.referred_by[0],
            "referred_by_type": self.referred_by[1],
            "on_behalf_of_dn": self.on_behalf_of[0],
            "on_behalf_of_type": self.on_behalf_of[1],
            "callid": whole(call.id),
            "legid": whole(self.legid),
            **({"participant_uid": self.uid} if faults.participant_uid else {}),
        }


class SimCall:
    """One call of the PBX. `caller` began it, `called` is whom it has reached.

    `attempt`: whom it is being routed to, in the place of `replaced`. `history`: its id in the PBX's records, of which
    there is one for each of its `segments`.

    Moments are on the simulator's clock. `answered`: the first time that the caller talked to anybody but the route
    point.
    """

    def __init__(self, id: int, caller: Leg, called: Leg | None, began: Instant, history: str = "") -> None:
        self.id = id
        self.caller = caller
        self.called = called
        self.attempt: Leg | None = None
        self.replaced: Leg | None = None
        self.attempt_over = asyncio.Event()
        self.dialled = ""
        self.began = began
        self.connected: Instant | None = None
        self.answered: Instant | None = None
        self.ended: Instant | None = None
        self.ended_by: EndedBy | None = None
        self.history = history
        self.segments: list[Segment] = []
        self.over = asyncio.Event()
        self.was_answered = asyncio.Event()

    @property
    def legs(self) -> list[Leg]:
        return [leg for leg in (self.caller, self.called, self.attempt) if leg is not None]

    @property
    def talked_ms(self) -> int:
        """How long the parties talked; 0 where nobody answered."""
        return 0 if self.answered is None or self.ended is None else self.ended.since_ms(self.answered)

    @property
    def status(self) -> str:
        """As XAPI names it."""
        if self.attempt is not None:
            return "Transferring" if self.connected is not None else "Ringing"
        if self.connected is not None:
            return "Talking"
        return "Ringing" if self.called is not None and self.called.status == RINGING else "Routing"

    def open_segment(self, target: Leg, now: Instant) -> None:
        """The caller begins to talk, or try to, with somebody."""
        caller = self.caller
        self.segments.append(
            Segment(
                history=self.history,
                from_number=caller.number,
                from_dn=caller.dn,
                from_type=caller.kind,
                to_number=target.number,
                to_dn=target.dn,
                to_type=target.kind,
                dialled=self.dialled,
                began_ms=now.wall_ms,
            )
        )

    def close_segment(self, reason: str, now: Instant) -> None:
        segment = self.segments[-1]
        if segment.ended_ms is None:
            segment.ended_ms, segment.reason = now.wall_ms, reason


def join(one: Leg, other: Leg) -> None:
    """They are each other's other side."""
    one.peer, other.peer = other, one
