"""Money and what is bought beside it, as hashes and streams keep them: balances, ledger entries, stocks."""

import re
from collections.abc import Sequence

import msgspec

from callctl.call.purchase import Stock, Stocks
from callctl.call.takes import Balance, LedgerEntry, TopUp
from callctl.rating.bundles import Block
from callctl.store import keys

decode_block = msgspec.json.Decoder(Block).decode
encode_block = msgspec.json.Encoder().encode
_CURSOR = re.compile(r"[0-9]{1,19}-[0-9]{1,19}")


def parse_cursor(text: str) -> tuple[int, int]:
    """The place in a ledger that a cursor names, as Redis counts: (ms, number). "" is before all. ValueError."""
    if not text:
        return 0, 0
    if not _CURSOR.fullmatch(text):
        raise ValueError(f"{text[:40]!r} is not a cursor")
    ms, _, number = text.partition("-")
    return int(ms), int(number)


def decode_top_up(top_up: TopUp, answer: bytes) -> LedgerEntry:
    cursor, amount, balance, at_ms, cause, note = answer.split(b" ", 5)
    return LedgerEntry(
        cursor.decode(), top_up.id, cause.decode(), int(amount), int(balance), int(at_ms), note=note.decode()
    )


def encode_top_up(entry: LedgerEntry) -> str:
    """As `top_up.lua` answers it."""
    return f"{entry.cursor} {entry.amount} {entry.balance} {entry.at_ms} {entry.kind} {entry.note}"


def decode_entry(cursor: bytes, flat: Sequence[bytes]) -> LedgerEntry:
    fields = _fields(flat)
    return LedgerEntry(
        cursor=cursor.decode(),
        id=fields["id"],
        kind=fields["kind"],
        amount=int(fields["amount"]),
        balance=int(fields["balance"]),
        at_ms=int(fields["at"]),
        call=fields.get("call", ""),
        note=fields.get("note", ""),
    )


def decode_stocks(flat: Sequence[bytes]) -> Stocks:
    kept: dict[bytes, dict[str, bytes]] = {b"bal": {}, b"held": {}, b"block": {}}
    for field, value in zip(flat[::2], flat[1::2], strict=True):
        what, _, source = field.partition(b" ")
        kept[what][keys.name(source.decode())] = value
    bought, held = kept[b"bal"], kept[b"held"]
    stocks = {name: Stock(int(bought.get(name, 0)), int(held.get(name, 0))) for name in bought.keys() | held.keys()}
    return Stocks(stocks, tuple(decode_block(block) for block in kept[b"block"].values()))


def decode_balance(account: str, flat: Sequence[bytes]) -> Balance:
    fields = {name.decode(): value.decode() for name, value in zip(*[iter(flat)] * 2, strict=True) if name != b"ids"}
    balance, held, floor = (fields.pop(field, "0") for field in ("bal", "held", "floor"))
    return Balance(
        account=account,
        balance=int(balance),
        held=int(held),
        available=None if floor == keys.UNLIMITED else int(balance) - int(held) + int(floor),
        slots={keys.name(slot): int(in_use) for slot, in_use in fields.items() if int(in_use)},
    )


def _fields(flat: Sequence[bytes]) -> dict[str, str]:
    return {name.decode(): value.decode() for name, value in zip(flat[::2], flat[1::2], strict=True)}
