"""A CDR as it leaves the house: the columns of every file, and the dictionary behind each message."""

from typing import Any

import msgspec

COLUMNS = (
    "sequence", "id", "corrects", "call_id", "switch", "trunk", "account", "parent", "role", "direction",
    "from", "to", "destination", "type", "class", "setup_time", "answer_time", "release_time", "ring_s",
    "duration_ms", "duration_s", "billed_s", "unbilled_s", "plan", "row", "buy_plan", "buy_row",
    "connection_fee", "per_minute", "charge", "list_charge", "gross", "taxes", "surcharge", "parts", "bundle_s",
    "bundles", "from_blocks",
    "cost", "margin", "affiliates", "exempt", "currency", "exchange", "verdict", "refusal", "detail", "trace", "q850",
    "sip_code", "released_by", "estimated", "trace_id", "kind", "service", "quantity",
    "share", "within",
)  # fmt: skip
"""What each means stands in `docs/cdr.md`; `list_charge` is what an exempt account would have paid. `kind` to
`quantity` are of subscriptions (`docs/services.md`), `share` is an affiliate's."""

_decode = msgspec.json.Decoder(dict[str, Any]).decode


def columns_of(payload: bytes) -> dict[str, Any]:
    """The columns of a feed record's JSON, in order; what callctl keeps in it for itself stays behind."""
    fields = _decode(payload)
    return {column: fields.get(column) for column in COLUMNS}
