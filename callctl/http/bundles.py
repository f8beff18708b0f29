"""Bundles as a plan states them, and blocks: minutes and money that an account buys ahead, and what is left of them."""

from collections.abc import Collection, Sequence
from typing import Annotated, Self, TypeVar

import msgspec
from aiohttp import web
from msgspec.structs import replace
from pydantic import BeforeValidator, Field, model_validator

from callctl.accounts import Account
from callctl.call.purchase import Stock, Stocks, buy
from callctl.clock import format_time
from callctl.http import body, seeing
from callctl.http.auth import Holder, Scope
from callctl.http.errors import conflict, unacceptable
from callctl.http.fields import Amount, Body, Id, Prefix, Text, Time
from callctl.http.routes import Route, json_response, refuse_unknown_queries
from callctl.money import format_amount
from callctl.numbering import NumberType
from callctl.ports import Charging, Clock, Definitions, Tariffs
from callctl.rating.bundles import Block, month_before, month_of, month_source, rolls_over
from callctl.rating.tariff import Bundle, Direction

MOST_SECONDS = 10**9

Sized = TypeVar("Sized", bound=Body)
Seconds = Annotated[int, Field(ge=1, le=MOST_SECONDS)]
Minutes = Annotated[int, Field(ge=1, le=MOST_SECONDS // 60)]


def _a_tuple(stated: object) -> object:
    return tuple(stated) if isinstance(stated, list) else stated  # of a plan, whose preset makes it Python's


class ChosenBody(Body):
    """Which calls it is for: empty terms take any."""

    prefixes: Annotated[tuple[Prefix, ...], BeforeValidator(_a_tuple)] = ()
    types: Annotated[tuple[NumberType, ...], BeforeValidator(_a_tuple)] = ()
    direction: Direction = Direction.OUTBOUND


class BundleBody(ChosenBody):
    """Free seconds of every month of each account, by its own clock; `minutes` or `seconds`.

    `rollover`: what is left of a month lives through the next. `since`: when the plan got it, which is kept.
    """

    name: Text
    minutes: Minutes | None = Field(None, exclude=True)
    seconds: Seconds | None = None
    rollover: bool = False
    since_ms: Time | None = Field(None, alias="since")

    @model_validator(mode="after")
    def _one_size(self) -> Self:
        return _sized(self, self.minutes, self.seconds)


class BlockBody(ChosenBody):
    """Bought ahead: `minutes` or `seconds`, or an `amount` of money. Lower `order` is used first.

    `price` is what is booked for it. No call that is set up after `expires` draws upon it.
    """

    id: Id
    name: Text = ""
    minutes: Minutes | None = Field(None, exclude=True)
    seconds: Seconds | None = None
    amount: Amount | None = None
    order: Annotated[int, Field(ge=0, le=1_000)] = 0
    price: Amount = 0
    expires_ms: Time | None = Field(None, alias="expires")

    @model_validator(mode="after")
    def _one_size(self) -> Self:
        if self.amount is not None and not self.amount:
            raise ValueError("amount: more than 0 is expected")
        return _sized(self, self.minutes, self.seconds, self.amount)


def _sized(stated: Sized, minutes: int | None, *sizes: int | None) -> Sized:
    """The body with its size in seconds or money. ValueError where it states none, or several."""
    if sum(size is not None for size in (minutes, *sizes)) != 1:
        raise ValueError("one of minutes, seconds" + (" and amount" if len(sizes) > 1 else "") + " is expected")
    return stated if minutes is None else stated.model_copy(update={"minutes": None, "seconds": minutes * 60})


class BlockShown(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A block as it was bought."""

    id: str
    name: str
    seconds: int | None
    amount: str | None
    prefixes: tuple[str, ...]
    types: tuple[str, ...]
    direction: str
    order: int
    price: str
    bought: str
    expires: str | None


class Left(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is left of a bundle's `month` or a block, in seconds or money; `held` by running calls besides."""

    left_seconds: int | None
    left_amount: str | None
    held: str
    bundle: str | None = None
    month: str | None = None
    block: BlockShown | None = None


class StockShown(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """All that an account may draw upon: its plan's bundles in their order, then blocks as they were bought."""

    account: str
    bundles: tuple[Left, ...]
    blocks: tuple[Left, ...]


class BlockRoutes:
    """The routes of blocks."""

    def __init__(self, definitions: Definitions, tariffs: Tariffs, charging: Charging, clock: Clock) -> None:
        self._definitions = definitions
        self._tariffs = tariffs
        self._charging = charging
        self._clock = clock

    def routes(self) -> tuple[Route, ...]:
        own, bought = "/v1/accounts/{id}/blocks", (400, 404, 408, 409, 413, 415, 422, 503)
        return (
            Route("POST", own, self.buy, Scope.ADMIN, "buy ahead", BlockBody, BlockShown, (), bought),
            Route("GET", own, self.show, Scope.READ, "what is left", None, StockShown, (), (404, 503)),
        )

    async def buy(self, request: web.Request, holder: Holder) -> web.Response:
        """Once per id. It is known to every process before it is paid, and has nothing in it until then."""
        asked = body.parse(BlockBody, await body.read(request, body.JSON_LIMIT))
        account = seeing.writable_account(self._tariffs.directory, holder.account, request.match_info["id"])
        now_ms = self._clock.now().wall_ms
        sizes = {"seconds": asked.seconds or 0, "amount": asked.amount or 0, "name": asked.name or asked.id}
        block = asked.model_copy(update=sizes).becomes(Block, bought_ms=now_ms)
        chain = self._tariffs.directory.chain(account.id)
        stocks = await self._charging.stocks(chain[-1].id, account.id)
        known = {each.id: each for each in stocks.blocks}
        if block.id in known:
            return await self._bought(account, block, known[block.id])
        if block.expires_ms is not None and block.expires_ms <= now_ms:
            raise unacceptable("it is over already", "expires")
        await self._know(account, block, _used_up(stocks))
        bought = await self._charging.buy(buy(chain, block))
        if bought is None:
            await self._definitions.put_blocks(account.id, lambda blocks: _without(blocks, block.id))
            raise unacceptable(f"account {account.id} cannot afford {format_amount(block.price)}", "price")
        return await self._bought(account, block, bought)

    async def _bought(self, account: Account, asked: Block, bought: Block) -> web.Response:
        if bought not in self._tariffs.blocks.get(account.id, ()):
            await self._know(account, bought)
        if replace(asked, bought_ms=bought.bought_ms) != bought:
            raise conflict(f"{asked.id} was another block of {account.id}", "id")
        return json_response(_shown(bought))

    async def _know(self, account: Account, block: Block, used_up: Collection[str] = ()) -> None:
        """Have every process know the block, and no more those that are over or used up."""
        now_ms = self._clock.now().wall_ms

        def change(blocks: Sequence[Block]) -> Sequence[Block]:
            live = [it for it in _without(blocks, block.id) if it.expires_ms is None or it.expires_ms > now_ms]
            return [*(it for it in live if it.id not in used_up), block]

        await self._definitions.put_blocks(account.id, change)

    async def show(self, request: web.Request, holder: Holder) -> web.Response:
        refuse_unknown_queries(request)
        directory = self._tariffs.directory
        account = seeing.visible_account(directory, holder.account, request.match_info["id"])
        stocks = await self._charging.stocks(directory.chain(account.id)[-1].id, account.id)
        plan = self._tariffs.plan(directory.plans[account.id])
        month = month_of(account.timezone, self._clock.now().wall_ms)
        bundles: list[Left] = []
        for bundle in plan.bundles if plan is not None else ():
            rolled = rolls_over(bundle, month_before(month), account.timezone, directory.plan_since_ms(account.id))
            months = (month_before(month), month) if rolled else (month,)
            bundles += (_of_month(bundle, each, stocks) for each in months)
        blocks = sorted(stocks.blocks, key=lambda block: (block.bought_ms, block.id))
        return json_response(StockShown(account.id, tuple(bundles), tuple(_of_block(each, stocks) for each in blocks)))


def _without(blocks: Sequence[Block], id: str) -> list[Block]:
    return [block for block in blocks if block.id != id]


def _used_up(stocks: Stocks) -> set[str]:
    """Blocks that no call draws upon any more."""
    kept = ((block.id, stocks.by_source.get(block.source, Stock(0, 0))) for block in stocks.blocks)
    return {id for id, stock in kept if stock.balance <= 0 and not stock.held}


def _of_month(bundle: Bundle, month: str, stocks: Stocks) -> Left:
    stock = stocks.by_source.get(month_source(bundle.name, month), Stock(0, 0))
    left_s = max(0, bundle.seconds + stock.balance - stock.held)
    return Left(left_s, None, str(stock.held), bundle=bundle.name, month=month)


def _of_block(block: Block, stocks: Stocks) -> Left:
    stock = stocks.by_source.get(block.source, Stock(0, 0))
    left = stock.balance - stock.held
    if block.seconds:
        return Left(left, None, str(stock.held), block=_shown(block))
    return Left(None, format_amount(left), format_amount(stock.held), block=_shown(block))


def _shown(block: Block) -> BlockShown:
    return BlockShown(
        block.id,
        block.name,
        block.seconds or None,
        format_amount(block.amount) if block.amount else None,
        block.prefixes,
        block.types,
        block.direction.value,
        block.order,
        format_amount(block.price),
        format_time(block.bought_ms),
        None if block.expires_ms is None else format_time(block.expires_ms),
    )
