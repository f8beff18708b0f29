"""The auditor's reading of the CDRs: one per payer, gap-free, and each charge the price of the time that was talked."""

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Mapping
from decimal import Decimal
from typing import Any, Protocol

import msgspec

from callctl.call.events import CallKey
from callctl.call.purchase import Stock
from callctl.call.session import State
from callctl.ports import FeedRecord
from tests.simulation.market import Market
from tests.simulation.prices import Table, charged, surcharged, taxed
from tests.simulation.story import TrueCall

Cdr = dict[str, Any]


class Closed(Protocol):
    """How the store closed a call."""

    states: list[State]
    held: list[int]
    over: list[bool]
    forced: bool


def micros(text: str) -> int:
    return int(Decimal(text) * 1_000_000)


def wall_ms(text: str | None) -> int | None:
    if text is None:
        return None
    moment = msgspec.json.decode(f'"{text}"', type=__import__("datetime").datetime)
    return round(moment.timestamp() * 1000)


class RecordsAudit:
    """Of everything that a sink received."""

    def __init__(
        self,
        market: Market,
        calls: Mapping[CallKey, TrueCall],
        ended: Mapping[CallKey, Closed],
        still_open: Collection[CallKey],
        used: Mapping[tuple[CallKey, str], int],
        objects: Callable[[str], None],
    ) -> None:
        self._market = market
        self._calls = calls
        self._ended = ended
        self._open = still_open
        self._used = used
        self._object = objects
        self._cdrs: list[Cdr] = []

    def delivered(self, feed: list[FeedRecord], written: set[str]) -> None:
        """Promise 3 at the sink: gap-free, the same when repeated, and all that was written."""
        seen: dict[int, bytes] = {}
        for record in feed:
            if seen.setdefault(record.sequence, record.payload) != record.payload:
                self._object(f"record {record.sequence} came again as another")
        if sorted(seen) != list(range(1, len(seen) + 1)):
            self._object(f"the sequence has gaps: {sorted(seen)}")
        records = [msgspec.json.decode(seen[number]) for number in sorted(seen)]
        self._cdrs = [record for record in records if record.get("kind") is None]  # of calls, not of blocks bought
        for id in sorted(written - {cdr["id"] for cdr in self._cdrs}):
            self._object(f"record {id} was written and not delivered")
        for id, count in Counter(cdr["id"] for cdr in self._cdrs).items():
            if count > 1 and not self._attempted_twice(id):
                self._object(f"{count} records with the id {id}")

    def _attempted_twice(self, id: str) -> bool:
        """A call id that was offered again while its first refusal was still on its way may repeat that record."""
        cdr = next(cdr for cdr in self._cdrs if cdr["id"] == id)
        offers = self._calls[CallKey(cdr["switch"], cdr["call_id"])].offered_ms
        return cdr["verdict"] == "refused" and len(offers) > 1

    def charged(self) -> Counter[str]:
        """Micro-units per account, by its records."""
        sums: Counter[str] = Counter()
        for cdr in self._cdrs:
            taxes = sum(micros(tax["amount"]) for tax in cdr["taxes"])
            if micros(cdr["gross"]) != micros(cdr["charge"]) + micros(cdr["surcharge"]) + taxes:
                self._object(f"{cdr['id']}: its gross is not what it consists of")
            sums[cdr["account"] or ""] += micros(cdr["gross"]) - micros(cdr["from_blocks"])
        return sums

    def used(self, account: str, stocks: Mapping[str, Stock]) -> None:
        """What its records say of bundles and blocks is what is gone of them."""
        had = self._market.had(account)
        gone: Counter[str] = Counter()
        for source, stock in stocks.items():
            name = "from_blocks" if source == "block/money" else source.partition("/")[2]
            gone[name] += had[source] - stock.balance if source.startswith("block/") else -stock.balance
        told: Counter[str] = Counter()
        for cdr in self._cdrs:
            if cdr["account"] == account:
                told.update({bundle["name"]: bundle["seconds"] for bundle in cdr["bundles"]})
                told["from_blocks"] += micros(cdr["from_blocks"])
                if cdr["bundle_s"] != sum(bundle["seconds"] for bundle in cdr["bundles"]):
                    self._object(f"{cdr['id']}: its bundle seconds are not those of its bundles")
        if {name: n for name, n in gone.items() if n} != {name: n for name, n in told.items() if n}:
            self._object(f"{account} has used {dict(gone)}, its records say {dict(told)}")

    def calls(self) -> None:
        by_call: defaultdict[CallKey, list[Cdr]] = defaultdict(list)
        for cdr in self._cdrs:
            by_call[CallKey(cdr["switch"], cdr["call_id"])].append(cdr)
        for key, call in self._calls.items():
            self._call(call, by_call[key])

    # ---- one call

    def _call(self, call: TrueCall, cdrs: list[Cdr]) -> None:
        refused = [cdr for cdr in cdrs if cdr["verdict"] == "refused"]
        originals = [cdr for cdr in cdrs if cdr["verdict"] == "allowed" and cdr["corrects"] is None]
        corrections = [cdr for cdr in cdrs if cdr["corrects"] is not None]
        if not cdrs and call.decided and "callctl killed" not in call.harmed:
            self._object(f"{call.key} was decided and has no record")
        if len({cdr["id"] for cdr in refused}) > max(1, len(call.offered_ms)):
            self._object(f"{call.key}: {len(refused)} records of refusals")
        if call.admitted_ms is not None and not originals and call.key not in self._open:
            self._object(f"{call.key} was admitted and has no record")
        for cdr in refused:
            if micros(cdr["charge"]) or micros(cdr["surcharge"]):
                self._object(f"{call.key}: a refused attempt is charged")
        if not originals:
            return
        # A call taken for unanswered has its resellers' originals once a correction knows better.
        answered = any(cdr["answer_time"] is not None for cdr in [*originals, *corrections])
        payers = [cdr["account"] for cdr in originals]
        chain = [level.id for level in self._market.chain(call.account)] if call.account else [None]
        expected = chain if answered else chain[:1]
        if payers != expected:
            self._object(f"{call.key}: records for {payers}, not for {expected}")
            return
        if answered and call.answered_ms is None:
            self._object(f"{call.key} was never answered, its record says so")
        truly = [cdr for cdr in corrections if cdr["account"] == payers[0]][-1:] or originals[:1]
        if call.kept_answer and truly[0]["answer_time"] is None:
            self._object(f"{call.key} was answered, its record does not say so")
        if call.answered_ms is not None and not call.harmed and truly[0]["answer_time"] is None:
            self._object(f"{call.key} was answered, nothing went wrong, its record does not say so")
        if truly[0]["answer_time"] is not None:
            self._duration(call, truly[0])
            for depth, payer in enumerate(payers):
                self._charge(call, depth, [cdr for cdr in cdrs if cdr["account"] == payer])

    def _duration(self, call: TrueCall, cdr: Cdr) -> None:
        """What was truly talked, where callctl could know; else no more than was granted."""
        if call.answered_ms is None or call.ended_ms is None:
            return
        told = call.kept_end or bool(call.told_end_lives)
        if cdr["estimated"]:
            if told:
                self._object(f"{call.key} is estimated, but its true end was told")
            elif not call.harmed:
                self._object(f"{call.key} is estimated, and nothing went wrong")
            if cdr["duration_ms"] > call.longest_s * 1000 and not call.emergency:
                self._object(f"{call.key}: estimated beyond its grant of {call.longest_s} s")
            return
        if "our wall clock stepped" in call.harmed and "callctl killed" in call.harmed and not call.stated:
            return
        if call.stated:
            if "its wall clock stepped" in call.harmed:
                return
            wrong_ms = 0
        elif "switch frozen" in call.harmed:
            return
        elif call.heard_answer and call.heard_end and call.heard_answer[0] == call.heard_end[0]:
            wrong_ms = 17_000
        else:
            return
        if abs(cdr["duration_ms"] - call.lasted_ms) > wrong_ms:
            self._object(f"{call.key} lasted {call.lasted_ms} ms, its record says {cdr['duration_ms']}")

    def _charge(self, call: TrueCall, depth: int, cdrs: list[Cdr]) -> None:
        """Promises 4 and 8: original and corrections add up to the price that held when the call began."""
        last = cdrs[-1]
        account = self._market.accounts[last["account"]] if last["account"] else None
        if account is None:
            return
        seconds = -(-last["duration_ms"] // 1000)
        paid_s = last["duration_s"] - last["unbilled_s"]
        if last["duration_s"] != seconds:
            self._object(f"{call.key}: {last['duration_ms']} ms are {seconds} s, not {last['duration_s']}")
        if last["unbilled_s"] and (account.kind != "prepaid" or call.emergency):
            self._object(f"{call.key}: {last['unbilled_s']} s of {account.id} are not billed")
        if last["unbilled_s"] > 2 and not call.harmed:
            self._object(f"{call.key}: {last['unbilled_s']} s are lost, and nothing went wrong")
        closed = self._ended[call.key]
        surcharging = bool(closed.over) and closed.over[depth]
        net = sum(micros(cdr["charge"]) for cdr in cdrs)
        extra = sum(micros(cdr["surcharge"]) for cdr in cdrs)
        taxes = sum(micros(tax["amount"]) for cdr in cdrs for tax in cdr["taxes"])
        levied = () if call.emergency else self._market.taxes(account)
        answer_s = (wall_ms(last["answer_time"]) or 0) // 1000
        tables = (
            [Table(((0, 0),))] if call.emergency else self._market.prices_at(call.account or "", call.offered_ms)[depth]
        )
        used = self._used.get((call.key, account.id))
        if used is not None and used not in {charged(table, paid_s, answer_s)[1] for table in tables}:
            self._object(f"{call.key}: {account.id} has used {used} of its threshold with {paid_s} s at {tables}")
        covered_s = sum(cdr["bundle_s"] for cdr in cdrs)
        if not 0 <= covered_s <= last["billed_s"]:
            self._object(f"{call.key}: {covered_s} of {last['billed_s']} billed seconds of a bundle")
        right = []
        for table in tables:
            billed_s, amount = charged(table, paid_s, answer_s, covered_s)
            caps = account.caps.overflow if account.caps is not None else None
            more = (
                surcharged(caps.per_call, caps.per_minute, billed_s)
                if caps and surcharging and not call.emergency
                else 0
            )
            if closed.forced and not account.exempt:
                # taken when it was over: nobody knows whether it was beyond the cap
                right.append((amount, 0, taxed(levied, amount, 0)))
            right.append((0, 0, 0) if account.exempt else (amount, more, taxed(levied, amount, more)))
        if (net, extra, taxes) not in right:
            self._object(f"{call.key}: {account.id} is charged {net} + {extra} + {taxes} for {paid_s} s, not {right}")
