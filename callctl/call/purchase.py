"""A block that an account buys, as one step for the store: its price booked, its record written, and it is there.

Its record has the shape of a CDR (`docs/bundles.md`), so that every feed, sink and reader takes it as it is.
"""

from typing import Any

import msgspec

from callctl.accounts import Account, Chain
from callctl.call.subscription import NO_CALL
from callctl.call.takes import Post, Record
from callctl.clock import format_time
from callctl.money import format_amount
from callctl.rating.bundles import Block

_encode = msgspec.json.Encoder().encode


class Buying(msgspec.Struct, frozen=True):
    """Done once per account and id of a block, where the account can afford it. `id`: of the ledger's entry."""

    root: str
    block: Block
    id: str
    post: Post
    record: Record


class Stock(msgspec.Struct, frozen=True):
    """What an account has of a source, in seconds or micro-units: bought less used, and held by running calls."""

    balance: int
    held: int


class Stocks(msgspec.Struct, frozen=True):
    """Everything beside money that an account has: by source, and the blocks it has bought."""

    by_source: dict[str, Stock]
    blocks: tuple[Block, ...]


def buy(chain: Chain, block: Block) -> Buying:
    """The step by which the chain's first account buys a block. An exempt account is charged nothing."""
    account = chain[0]
    id = f"block:{account.id}/{block.id}"
    due = 0 if account.exempt else block.price
    fields = {
        "id": id,
        "corrects": None,
        "call_id": block.id,
        "account": account.id,
        "parent": account.parent,
        **_what(block),
        "setup_time": format_time(block.bought_ms),
        "answer_time": format_time(block.bought_ms),
        "release_time": format_time(block.bought_ms),
        **_money(account, block, due),
        **NO_CALL,
        "chain": [[account.id, format_amount(due)]],
    }
    return Buying(chain[-1].id, block, id, Post(account.id, "charge", due), Record(account.id, _encode(fields)))


def _what(block: Block) -> dict[str, Any]:
    size = f"{block.seconds} s" if block.seconds else format_amount(block.amount)
    return {
        "kind": "block",
        "service": block.id,
        "quantity": 1,
        "destination": block.name,
        "type": None,
        "class": None,
        "plan": None,
        "row": None,
        "buy_plan": None,
        "buy_row": None,
        "exchange": None,
        "connection_fee": None,
        "per_minute": None,
        "detail": f"{block.name}, {size}",
    }


def _money(account: Account, block: Block, due: int) -> dict[str, Any]:
    return {
        "charge": format_amount(due),
        "list_charge": format_amount(block.price) if account.exempt else None,
        "gross": format_amount(due),
        "taxes": [],
        "surcharge": format_amount(0),
        "bundle_s": 0,
        "cost": None,
        "margin": None,
        "affiliates": [],
        "exempt": account.exempt,
        "currency": account.currency,
    }
