"""How fast past calls are rated anew: from the bytes of a CDR file to the sums, on one core."""

import gc
import random
import time
from pathlib import Path

import msgspec

from bench.figures import Figure, at_least, fastest
from bench.provider import ACCOUNTS, account
from callctl.accounts import Directory
from callctl.cli.cdrfiles import CdrReader
from callctl.clock import format_time
from callctl.rating.match import Deck
from callctl.rating.whatif.calls import Chains
from callctl.rating.whatif.lineup import Scope
from callctl.rating.whatif.rerating import Trial
from callctl.rating.whatif.totals import WhatIf

CALLS = 100_000
ROUNDS = 3
_BEGAN_MS = 1_793_491_200_000  # 2026-11-01


def past_calls(new: Deck, carrier: Deck, scratch: Path) -> Figure:
    """One record a call, every one to a number of its own, over a month."""
    file = scratch / "calls.jsonl"
    with file.open("wb") as out:
        out.writelines(_record(number, random.Random(number)) for number in range(CALLS))
    directory = Directory(map(account, range(ACCOUNTS)))
    decks = {"retail": new, "carrier": carrier}
    rates: list[float] = []
    gc.freeze()  # as the command does: what is loaded stays
    for _ in range(ROUNDS):
        trial = Trial(new, Scope(), decks.get, directory=directory)
        reader, found, chains = CdrReader(), WhatIf(), Chains()
        before = time.process_time()
        for record in reader.files([file], lambda _: None):
            for chain in chains.add(record):
                found.add(trial.rate(chain))
        rates.append(CALLS / (time.process_time() - before))
    return Figure("past calls rated by another plan, one core", fastest(rates), "CDRs/s", (at_least(20_000),))


def _record(number: int, rng: random.Random) -> bytes:
    """A line as the file sink writes it."""
    setup_ms = _BEGAN_MS + rng.randrange(30 * 86_400_000)
    answer_ms, duration_ms = setup_ms + 5_000, rng.randrange(1_000, 600_000)
    seconds = -(-duration_ms // 1000)
    payer = f"customer-{rng.randrange(ACCOUNTS):04}"
    fields = {
        "sequence": number, "id": f"http/c{number}:{payer}", "corrects": None, "call_id": f"c{number}",
        "switch": "http", "trunk": None, "account": payer, "parent": None, "role": "customer", "direction": "outbound",
        "from": "+31202000001", "to": f"+316{rng.randrange(10_000_000, 59_999_999)}", "destination": "Netherlands",
        "type": "MOB", "class": "MOB", "setup_time": format_time(setup_ms), "answer_time": format_time(answer_ms),
        "release_time": format_time(answer_ms + duration_ms), "ring_s": 5, "duration_ms": duration_ms,
        "duration_s": seconds, "billed_s": seconds, "unbilled_s": 0, "plan": "retail", "row": "31:MOB",
        "buy_plan": "carrier", "buy_row": "31:MOB", "connection_fee": "0.0250", "per_minute": "0.0800",
        "charge": f"0.{rng.randrange(1, 9999):04}", "list_charge": None, "gross": "0.1450", "taxes": [],
        "surcharge": "0.0000", "bundle_s": 0, "cost": f"0.0{rng.randrange(1, 999):03}", "margin": "0.0100",
        "affiliates": [], "exempt": False, "currency": "EUR", "verdict": "allowed", "refusal": None, "detail": None,
        "trace": None, "q850": 16, "sip_code": 200, "released_by": "caller", "estimated": False,
        "trace_id": f"{number:032x}",
    }  # fmt: skip
    return msgspec.json.encode(fields) + b"\n"
