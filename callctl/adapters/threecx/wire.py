"""What a 3CX says over its Call Control API, read into values. Pure, and liberal in what it takes.

Keys are read without regard to case and underscores (this API writes `party_dn`, its XAPI twin `PartyDn`), paths
without regard to case, ids as numbers or text; unknown keys and events are passed over. What cannot be read is None or
left out, never an error.
"""

import re
from collections.abc import Iterator, Mapping
from enum import IntEnum
from typing import Any, Final
from urllib.parse import unquote

import msgspec
from msgspec.structs import replace

LONGEST_TEXT: Final = 128
SHORT: Final = re.compile(r"[A-Za-z0-9._*#+-]{1,64}")  # a DN, a participant, a call

EXTERNAL_LINE: Final = "externalline"
CONFERENCE: Final = "conference"
NO_TYPE: Final = frozenset({"", "none"})

Key = tuple[str, str]
"""A participant: the DN that it is of, and its id there."""


class Status(IntEnum):
    """How far a participant has come. It never goes back from CONNECTED."""

    DIALING = 0
    RINGING = 1
    CONNECTED = 2


class Kind(IntEnum):
    """`event_type`."""

    UPSERT = 0
    REMOVE = 1
    DTMF = 2
    PROMPT_FINISHED = 3
    RESPONSE = 4


CHANGES: Final = frozenset({Kind.UPSERT, Kind.REMOVE, Kind.DTMF})
"""What is about something of a DN, and cannot be understood without it."""


class Participant(msgspec.Struct, frozen=True, kw_only=True):
    """One side of a call, as its DN sees it: `number`, `party` and `party_type` are those of the other side.

    `call`: 3CX's counter of calls, which begins anew with every start of the PBX, as `id` does, but not `uid`, which
    newer builds tell. `did`: the number that was called.
    `party_type`: `externalline` is a trunk, "" not known (yet), any other is inside the PBX.
    """

    dn: str
    id: str
    call: str
    status: Status | None
    number: str = ""
    party: str = ""
    party_type: str = ""
    did: str = ""
    originated_by: str = ""
    referred_by: str = ""
    on_behalf_of_type: str = ""
    direct_control: bool = False
    uid: str = ""
    has_rung: bool = False
    """It was called: that is what we saw before, and 3CX tells it no more."""
    other_status: str = ""
    """What it says instead of a `Status` that we know."""

    @property
    def key(self) -> Key:
        return self.dn, self.id

    @property
    def is_external(self) -> bool:
        return self.party_type == EXTERNAL_LINE

    @property
    def is_internal(self) -> bool:
        return bool(self.party_type) and not self.is_external

    def after(self, before: "Participant") -> "Participant":
        """This news of a participant that was known: who is connected stays so, with the same party.

        What is left out now still holds.
        """
        status = before.status if self.status is None else self.status
        if before.status is Status.CONNECTED and self.party in ("", before.party):
            status = Status.CONNECTED
        return replace(
            self,
            status=status,
            number=self.number or before.number,
            party=self.party or before.party,
            party_type=self.party_type or before.party_type,
            did=self.did or before.did,
            uid=self.uid or before.uid,
            has_rung=before.has_rung or before.status is Status.RINGING,
        )


class Event(msgspec.Struct, frozen=True):
    """`kind` may be a number that nobody has explained, and then `dn` be empty: it is about nothing that we know.

    `part`: what of the DN it is about; "" is the DN itself. `digits`: the keys that were pressed.
    """

    kind: int
    dn: str
    part: str
    id: str
    sequence: int | None = None
    digits: str = ""


class Line(msgspec.Struct, frozen=True):
    """A DN that we are shown: an extension, or our route point. `participants` None: it does not say."""

    dn: str
    participants: tuple[Participant, ...] | None


class Snapshot(msgspec.Struct, frozen=True):
    """All that we are shown: the DNs, and who takes part in calls there."""

    dns: tuple[str, ...]
    participants: tuple[Participant, ...]


class Outcome(msgspec.Struct, frozen=True):
    """What became of an action that was answered with 2xx."""

    succeeded: bool
    said: str = ""


def decoded(data: bytes | str) -> Any:
    """The JSON of it; None where it is none."""
    try:
        return msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return None


def participant(told: Any, dn: str = "") -> Participant | None:
    """One participant; None where it has no id. `dn`: whose it is, where it does not say so."""
    fields = _folded(told)
    own, id_ = short(fields.get("dn")) or dn, short(fields.get("id"))
    if not own or not id_:
        return None
    told_status = _text(fields, "status")
    status = Status.__members__.get(told_status.upper())
    return Participant(
        dn=own,
        id=id_,
        call=short(fields.get("callid")) or f"{own}.{id_}",
        status=status,
        number=_text(fields, "partycallerid"),
        party=_text(fields, "partydn"),
        party_type=_type(fields, "partydntype"),
        did=_text(fields, "partydid"),
        originated_by=_text(fields, "originatedbydn"),
        referred_by=_text(fields, "referredbydn"),
        on_behalf_of_type=_type(fields, "onbehalfoftype"),
        direct_control=fields.get("directcontrol") is True,
        uid=_text(fields, "participantuid"),
        other_status=told_status if status is None else "",
    )


def participants(told: Any, dn: str = "") -> tuple[Participant, ...]:
    """Those of a list; one that is told alone is a list of one."""
    return tuple(found for each in _listed(told) if (found := participant(each, dn)) is not None)


def lines(told: Any) -> tuple[Line, ...] | None:
    """The answer to GET /callcontrol, or to that of one DN; None where it is neither, which proves nothing."""
    if not isinstance(told, list | Mapping):
        return None
    found = []
    for each in _listed(told):
        fields = _folded(each)
        dn = short(fields.get("dn"))
        if dn:
            told_of = fields.get("participants")
            found.append(Line(dn, None if told_of is None else participants(told_of, dn)))
    return tuple(found)


def event(data: bytes | str) -> Event | None:
    """One frame of the websocket; None where it is no event, or does not say what has changed."""
    frame = _folded(decoded(data))
    fields = _folded(frame.get("event"))
    kind, path, sequence = _whole(fields.get("eventtype")), fields.get("entity"), _whole(frame.get("sequence"))
    if kind is None:
        return None
    dn, part, id_ = _entity(path) if isinstance(path, str) else ("", "", "")
    if not short(dn) or (part == "participants" and not short(id_)):
        return None if kind in CHANGES else Event(kind, "", "", "", sequence)
    digits = _text(_folded(fields.get("attacheddata")), "dtmfinput")
    return Event(kind, dn, part, id_, sequence, digits)


def _entity(path: str) -> tuple[str, str, str]:
    """DN, part and id in `/callcontrol/900/participants/6`; "" for what it does not say."""
    segments = [unquote(segment) for segment in path.split("/") if segment]
    folded = [segment.lower() for segment in segments]
    within = segments[folded.index("callcontrol") + 1 :] if "callcontrol" in folded else []
    dn, part, id_ = (*within, "", "", "")[:3]
    return dn, part.lower(), id_


def outcome(told: Any) -> Outcome:
    """Of an action: `finalstatus` is "Success" or 1 where it was done. Nothing said with a 2xx means done."""
    fields = _folded(told)
    final = fields.get("finalstatus")
    done = final is None or final == 1 or (isinstance(final, str) and final.lower() in ("success", "1"))
    return Outcome(done and final is not True, reason(told))


def reason(told: Any) -> str:
    """In the PBX's words why something was not done, wherever this build puts them."""
    fields = _folded(told)
    within = _folded(fields.get("error"))
    for source, key in (
        (fields, "reasontext"), (fields, "reason"), (within, "message"), (fields, "detail"), (fields, "title"),
        (fields, "errordescription"), (fields, "error"),
    ):  # fmt: skip
        if isinstance(source.get(key), str) and source[key]:
            return str(source[key])[:LONGEST_TEXT]
    return told[:LONGEST_TEXT] if isinstance(told, str) else ""


def short(value: Any) -> str | None:
    """A DN or an id, told as a number or as text; None for anything that cannot be one."""
    if isinstance(value, bool) or not isinstance(value, int | str):
        return None
    text = str(value)
    return text if SHORT.fullmatch(text) else None


def _folded(told: Any) -> dict[str, Any]:
    if not isinstance(told, Mapping):
        return {}
    return {str(key).replace("_", "").lower(): value for key, value in told.items()}


def _listed(told: Any) -> Iterator[Any]:
    yield from told if isinstance(told, list) else [told]


def _text(fields: Mapping[str, Any], key: str) -> str:
    value = fields.get(key)
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    return value.strip()[:LONGEST_TEXT] if isinstance(value, str) else ""


def _type(fields: Mapping[str, Any], key: str) -> str:
    """A DN type without the W in front: `Wexternalline` and XAPI's `ExternalLine` are the same."""
    named = _text(fields, key).lower().removeprefix("w")
    return "" if named in NO_TYPE else named


def _whole(value: Any) -> int | None:
    if isinstance(value, str) and re.fullmatch("-?[0-9]{1,18}", value):
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else None
