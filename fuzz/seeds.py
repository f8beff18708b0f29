"""What each fuzzer begins with: recordings of real switches where there are some, else what the protocol is for."""

import json
from pathlib import Path

from tests.radius_packets import cisco, number, octets

REPLAY = Path(__file__).parent.parent / "tests/replay"

PARTICIPANT = {
    "id": 6, "status": "Connected", "dn": "209", "party_caller_name": "Ann", "party_dn": "10000",
    "party_caller_id": "+31612345678", "party_did": "+31201234567", "party_dn_type": "Wexternalline",
    "direct_control": False, "originated_by_dn": "", "referred_by_dn": "", "on_behalf_of_type": "None", "callid": 2,
}  # fmt: skip
THREECX = (
    PARTICIPANT,
    [{"dn": "209", "type": "Wextension", "participants": [PARTICIPANT]}],
    {"sequence": 7, "event": {"event_type": 0, "entity": "/callcontrol/900/participants/6", "attached_data": None}},
    {"event": {"event_type": 2, "entity": "/callcontrol/900/participants/6", "attached_data": {"dtmf_input": "1"}}},
    {"finalstatus": "Success", "reasontext": "", "error": {"message": "no"}},
    {"access_token": "a.eyJleHAiOjN9.c", "expires_in": 60},
)
CDR_LINE = (
    b"Call 12,7,00:01:25,2026/11/22 05:59:49,2026/11/22 05:59:55,2026/11/22 06:01:20,Terminated,Ext.209,0612345678"
)

RADIUS = (
    [(1, b"acme"), (2, bytes(16)), (31, b"+31201234567"), (30, b"+31612345678"), (44, b"s1")],
    [(1, b"acme"), (3, bytes(17)), cisco(24, b"h323-conf-id=0A0B 0C0D"), cisco(1, b"call-id=c1@x")],
    [(40, number(1)), (44, b"s1"), (25, b"callctl:s1@192.0.2.7"), cisco(25, b"h323-setup-time=16:27:18.930 UTC")],
    [
        *((40, number(2)), (44, b"s1"), (46, number(12)), (49, number(1)), (55, number(1_795_300_000))),
        *(cisco(28, b"16:27:18.930 UTC Wed Dec 2 2026"), cisco(29, b"16:27:30.930 UTC Wed Dec 2 2026")),
        *(cisco(30, b"10"), (102, number(200))),
    ],
)

ASKED = b'{"call_id":"c1","from":"+31201234567","to":"+31612345678","account":"acme","can_extend":true}'
HEAD = b" HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer t\r\nContent-Type: application/json\r\nContent-Length: "
HTTP = (
    b"POST /v1/calls" + HEAD + b"%d\r\n\r\n%b" % (len(ASKED), ASKED),
    b"POST /v1/calls/c%2F1/end?switch=sbc1" + HEAD + b"2\r\n\r\n{}",
    b"POST /v1/calls/c1/answer" + HEAD + b"0\r\n\r\n",
    ASKED,
    b'{"at":"2026-11-22T06:00:00Z","q850":16,"sip_code":200,"released_by":"caller"}',
)

DECKS = (
    b"prefix;destination;per_minute;connection_fee\n31;Netherlands;0,0200;0,05\n316;Netherlands mobile;0,0800;\n",
    b"prefix,destination,type,percent,initial_s,increment_s,tier_from_s,days,from,to\n44,UK,NAT,120,60,60,0,1-5,08:00,18:00\n",
    'country_code\tprefix\tper_minute\tvalid_from\n39\t06;0631\t0.1\t2026-12-01\n"Total"\t\t\t\n'.encode("utf-16"),
    b"prefix,destination,per_minute\n33,'=France,1.234\n",
)

TEXTS = (
    "=cmd|' /C calc'!A0", "Ann\r\nAction: Originate\r\n\r\n", "a;b=${x}'\\", "\u202eevil\u2028", "x\ufeff\x1b[2J",
    "1;=1+1", "J\u00f6rg\x00",
)  # fmt: skip


def seeds(target: str) -> list[bytes]:
    match target:
        case "ami":
            return _ami()
        case "esl":
            return [path.read_bytes() for path in sorted((REPLAY / "freeswitch").iterdir())]
        case "netstring":
            lines = [
                line for path in sorted((REPLAY / "kamailio").iterdir()) for line in path.read_bytes().splitlines()
            ]
            return [b"%d:%b," % (len(line), line) for line in lines]
        case "call_control":
            return [path.read_bytes() for path in sorted((REPLAY / "call_control").iterdir())]
        case "radius":
            return [octets(attributes) for attributes in RADIUS]
        case "threecx":
            return [*(json.dumps(told).encode() for told in THREECX), CDR_LINE, b"PT1M25.5S"]
        case "http":
            return list(HTTP)
        case "deck":
            return list(DECKS)
        case _:
            return [text.encode() for text in TEXTS]


def _ami() -> list[bytes]:
    """The first message of each kind that was recorded, with its end."""
    blocks: dict[bytes, bytes] = {}
    for path in sorted((REPLAY / "asterisk").glob("*.txt")):
        for block in path.read_bytes().replace(b"\r\n", b"\n").split(b"\n\n"):
            lines = [line for line in block.split(b"\n") if not line.startswith(b"# ")]
            blocks.setdefault(lines[0], b"\r\n".join([*lines, b"", b""]))
    return [block for first, block in blocks.items() if first.startswith((b"Event: ", b"Response: "))]
