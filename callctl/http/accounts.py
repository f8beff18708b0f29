"""Accounts, their groups and trunks, and the money of accounts: balances, top-ups, ledgers, quotes."""

from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable
from heapq import nsmallest
from typing import Any

from aiohttp import web
from msgspec.structs import replace

from callctl.accounts import Account, Directory, Group, Trunk
from callctl.call.answer import decision
from callctl.call.events import CallKey, Offered
from callctl.call.takes import Balance, LedgerEntry, TopUp
from callctl.clock import format_time, give_way
from callctl.errors import CallConflict
from callctl.http import body, purchases, schemas, seeing
from callctl.http.answers import Entry, LedgerPage, Quote
from callctl.http.auth import Holder, Scope
from callctl.http.errors import HttpError, bad_request, conflict, not_found, unacceptable
from callctl.http.fields import new_id
from callctl.http.limits import dated
from callctl.http.routes import Query, Route, flag, json_response, refuse_unknown_queries, whole_number
from callctl.money import format_amount
from callctl.ports import Books, Calls, Clock, Definitions, Tariffs

LISTED_AT_MOST = 500
ENTRIES_AT_MOST = 1000
_SHOWN_AT_ONCE = 25  # some 2 ms
_COUNTERS = ("inbound", "outbound", "total")
_SELLERS_OWN = ("parent", "group", "margin", "max_cost")
_QUOTED = ("verdict", "refusal", "detail", "b_number", "max_seconds", "rate")

PerformTopUp = Callable[[TopUp], Awaitable[LedgerEntry]]


class Accounts:
    """The routes of accounts, groups and trunks."""

    def __init__(
        self,
        definitions: Definitions,
        tariffs: Tariffs,
        books: Books,
        calls: Calls,
        top_up: PerformTopUp,
        clock: Clock,
    ) -> None:
        self._definitions = definitions
        self._tariffs = tariffs
        self._books = books
        self._calls = calls
        self._top_up = top_up
        self._clock = clock

    def routes(self) -> tuple[Route, ...]:
        read, admin, one, trunk = Scope.READ, Scope.ADMIN, "/v1/accounts/{id}", "/v1/trunks/{id}"
        group, group_body, group_shown = "/v1/groups/{id}", schemas.CustomerGroupBody, schemas.CustomerGroupAnswer
        shown, page, new = schemas.AccountAnswer, schemas.AccountPage, "create or replace"
        put, looked, asked = (400, 404, 408, 409, 413, 415, 422, 503), (404, 503), (400, 404, 503)
        return (
            Route("PUT", one, self.put_account, admin, new, schemas.AccountBody, shown, _DRY_RUN, put),
            Route("GET", one, self.show_account, read, "one account", None, shown, (), looked),
            Route("GET", "/v1/accounts", self.list_accounts, read, "accounts", None, page, _PAGE, (400, 503)),
            Route("POST", f"{one}/topups", self.top_up, admin, "money in", schemas.TopUpBody, Entry, (), put),
            Route("GET", f"{one}/ledger", self.ledger, read, "movements", None, LedgerPage, _PAGE, asked),
            Route("GET", f"{one}/quote", self.quote, read, "price and time", None, Quote, _QUOTE, asked),
            Route("PUT", group, self.put_group, admin, new, group_body, group_shown, (), put, True),
            Route("GET", group, self.show_group, read, "one group", None, group_shown, (), (404,), True),
            Route("PUT", trunk, self.put_trunk, admin, new, schemas.TrunkBody, schemas.TrunkAnswer, (), put, True),
            Route("GET", trunk, self.show_trunk, read, "one trunk", None, schemas.TrunkAnswer, (), (404,), True),
        )

    async def put_account(self, request: web.Request, holder: Holder) -> web.Response:
        refuse_unknown_queries(request, "dry_run")
        asked = body.parse(schemas.AccountBody, await body.read(request, body.JSON_LIMIT))
        account = self._dated(self._since(asked.becomes(Account, id=new_id(request.match_info["id"]))))
        _refuse_foreign_ground(self._tariffs.directory, holder.account, account)
        refuse_foreign_prices(self._tariffs, holder.account, account)
        account = _with_hidden(self._tariffs.directory, holder.account, account)
        try:
            await self._definitions.put_account(account, dry_run=flag(request, "dry_run"))
        except CallConflict as exc:
            raise conflict(str(exc), "parent") from None
        root = self._tariffs.directory.root(account.parent) if account.parent is not None else account.id
        (balance,) = await self._books.balances(root or account.id, [account.id])
        return json_response(_with_balance(self._tariffs.directory, account, balance, holder.account))

    def _since(self, account: Account) -> Account:
        """The account with the moment from which on it has its plan."""
        if account.plan_since_ms is not None:
            return account
        before = self._tariffs.directory.accounts.get(account.id)
        if before is None or (before.plan, before.group, before.parent) != (
            account.plan,
            account.group,
            account.parent,
        ):
            return replace(account, plan_since_ms=self._clock.now().wall_ms)
        return replace(account, plan_since_ms=before.plan_since_ms)

    def _dated(self, account: Account) -> Account:
        """The account with the moments since when its caps and its licence are what they are."""
        if account.caps is None and account.licence is None:
            return account
        before, now_ms = self._tariffs.directory.accounts.get(account.id), self._clock.now().wall_ms
        return replace(
            account,
            caps=dated(account.caps, before.caps if before is not None else None, now_ms),
            licence=dated(account.licence, before.licence if before is not None else None, now_ms),
        )

    async def show_account(self, request: web.Request, holder: Holder) -> web.Response:
        directory = self._tariffs.directory
        account = seeing.visible_account(directory, holder.account, request.match_info["id"])
        (balance,) = await self._books.balances(directory.chain(account.id)[-1].id, [account.id])
        return json_response(_with_balance(directory, account, balance, holder.account))

    async def list_accounts(self, request: web.Request, holder: Holder) -> web.Response:
        """By id, `after` one; `next` is null on the last page."""
        refuse_unknown_queries(request, "after", "limit")
        after, limit = request.query.get("after", ""), whole_number(request, "limit", LISTED_AT_MOST, LISTED_AT_MOST)
        directory = self._tariffs.directory
        visible = directory.accounts.keys() if holder.account is None else directory.below(holder.account)
        ids = nsmallest(limit + 1, (account for account in visible if account > after))
        page = [directory.accounts[account] for account in ids[:limit]]
        balances = await self._balances(directory, page)
        shown = []
        for n, account in enumerate(page, start=1):
            shown.append(_with_balance(directory, account, balances[account.id], holder.account))
            if n % _SHOWN_AT_ONCE == 0:
                await give_way()
        return json_response({"accounts": shown, "next": page[-1].id if len(ids) > len(page) and page else None})

    async def top_up(self, request: web.Request, holder: Holder) -> web.Response:
        asked = body.parse(schemas.TopUpBody, await body.read(request, body.JSON_LIMIT))
        directory = self._tariffs.directory
        account = seeing.writable_account(directory, holder.account, request.match_info["id"])
        root = directory.chain(account.id)[-1].id
        now_ms = self._clock.now().wall_ms
        try:
            entry = await self._top_up(TopUp(account.id, root, asked.id, asked.amount, now_ms, note=asked.note))
        except CallConflict as exc:
            raise conflict(str(exc), "id") from None
        except ValueError as exc:
            raise unacceptable(str(exc), "amount") from None
        return json_response(_entry(entry))

    async def ledger(self, request: web.Request, holder: Holder) -> web.Response:
        """Oldest first; `next` is what to give as `after` for what follows."""
        refuse_unknown_queries(request, "after", "limit")
        directory = self._tariffs.directory
        account = seeing.visible_account(directory, holder.account, request.match_info["id"])
        after = request.query.get("after", "")
        limit = whole_number(request, "limit", ENTRIES_AT_MOST, ENTRIES_AT_MOST)
        try:
            entries = await self._books.ledger(directory.chain(account.id)[-1].id, account.id, after, limit)
        except ValueError:
            raise bad_request("not a cursor of this ledger", "after") from None
        following = entries[-1].cursor if entries else after
        return json_response(LedgerPage(tuple(map(_entry, entries)), following))

    async def quote(self, request: web.Request, holder: Holder) -> web.Response:
        """How long the account can talk to `to`, and at what price: an authorization that takes nothing."""
        refuse_unknown_queries(request, "to", "from")
        account = seeing.visible_account(self._tariffs.directory, holder.account, request.match_info["id"])
        to, a_number = request.query.get("to", ""), request.query.get("from", "")
        if not to or len(to) > 64 or len(a_number) > 64:
            raise bad_request("a number of 1 to 64 characters is expected", "from" if 0 < len(to) <= 64 else "to")
        call = CallKey("quote", f"{account.id}:{to}")
        session = await self._calls.explain(
            Offered(call, self._clock.now(), a_number, to, account=account.id, can_extend=True)
        )
        answer = decision(session, holder.account)
        return json_response({"account": account.id, **{key: answer.get(key) for key in _QUOTED}})

    async def put_group(self, request: web.Request, _: Holder) -> web.Response:
        asked = body.parse(schemas.CustomerGroupBody, await body.read(request, body.JSON_LIMIT))
        group = asked.becomes(Group, id=new_id(request.match_info["id"]))
        before = self._tariffs.directory.groups.get(group.id)
        if group.plan_since_ms is None:
            kept = before is not None and before.plan == group.plan
            group = replace(group, plan_since_ms=before.plan_since_ms if before and kept else self._clock.now().wall_ms)
        await self._definitions.put_group(group)
        return json_response({"id": group.id, **schemas.CustomerGroupBody.of(group).shown()})

    async def show_group(self, request: web.Request, _: Holder) -> web.Response:
        group = self._tariffs.directory.groups.get(request.match_info["id"])
        if group is None:
            raise not_found("group")
        return json_response({"id": group.id, **schemas.CustomerGroupBody.of(group).shown()})

    async def put_trunk(self, request: web.Request, holder: Holder) -> web.Response:
        asked = body.parse(schemas.TrunkBody, await body.read(request, body.JSON_LIMIT))
        trunk = asked.becomes(Trunk, id=new_id(request.match_info["id"]))
        before, now_ms = self._tariffs.directory.trunks.get(trunk.id), self._clock.now().wall_ms
        trunk = replace(
            trunk,
            caps=dated(trunk.caps, before.caps if before is not None else None, now_ms),
            licence=dated(trunk.licence, before.licence if before is not None else None, now_ms),
        )
        await self._definitions.put_trunk(trunk)
        lost = await purchases.lost_by_trunk(self._definitions, self._tariffs, trunk, now_ms)
        return json_response({"id": trunk.id, **schemas.TrunkBody.of(trunk).shown(), **purchases.told(lost)})

    async def show_trunk(self, request: web.Request, _: Holder) -> web.Response:
        trunk = self._tariffs.directory.trunks.get(request.match_info["id"])
        if trunk is None:
            raise not_found("trunk")
        return json_response({"id": trunk.id, **schemas.TrunkBody.of(trunk).shown()})

    async def _balances(self, directory: Directory, page: Iterable[Account]) -> dict[str, Balance]:
        by_root = defaultdict(list)
        for account in page:
            by_root[directory.chain(account.id)[-1].id].append(account.id)
        return {
            balance.account: balance
            for root, accounts in by_root.items()
            for balance in await self._books.balances(root, accounts)
        }


_DRY_RUN = (Query("dry_run", "`true`: only say what is wrong with it, change nothing"),)
_PAGE = (Query("after", "the last one seen"), Query("limit", "at most so many"))
_QUOTE = (Query("to", "the number to call", required=True), Query("from", "the caller's number"))


def _refuse_foreign_ground(directory: Directory, viewer: str | None, account: Account) -> None:
    """A bound token puts accounts strictly below its own, wherever they were and wherever they go."""
    if viewer is None:
        return
    if account.id in directory.accounts:
        seeing.writable_account(directory, viewer, account.id)
    if account.parent is None or not seeing.may_see(directory, viewer, account.parent):
        raise HttpError(403, "forbidden", f"parent must be {viewer} or an account below it", "parent")
    for department in account.departments:
        if department.account != account.id and not seeing.may_see(directory, viewer, department.account):
            raise HttpError(403, "forbidden", f"a department must be {viewer} or an account below it", "departments")
    before = directory.accounts.get(account.id)
    if not set(account.numbers) <= set(before.numbers if before is not None else ()):  # what is called there is on-net
        raise HttpError(403, "forbidden", "numbers are given by the provider", "numbers")
    for affiliate in account.affiliates:  # a share is money in: nobody gives it to himself
        agreed = before is not None and affiliate in before.affiliates
        himself = affiliate.account == viewer and not agreed
        if himself or not seeing.may_see(directory, viewer, affiliate.account):
            raise HttpError(403, "forbidden", f"an affiliate must be an account below {viewer}", "affiliates")


def refuse_foreign_prices(tariffs: Tariffs, viewer: str | None, account: Account) -> None:
    """Who puts an account on a plan can ask for its prices: what the viewer's sellers pay is not for it to know.

    Nor what other resellers pay, nor what is sold by a plan that an account has for its own customers.
    """
    if viewer is None:
        return
    directory = tariffs.directory
    own = {plan for each in directory.below(viewer) for plan in _charging(directory, each)}
    group = directory.groups.get(account.group or "")
    kept = _charging(directory, account.id) if account.id in directory.accounts else ()
    stated = (
        ("plan", account.plan),
        ("group", group.plan if group else None),
        *(("also", plan) for plan in account.also),
    )
    for field, plan_id in stated:
        if plan_id is None or plan_id in kept:
            continue
        plan = tariffs.plan(plan_id)
        foreign = plan is not None and plan.owner is not None and not seeing.may_see(directory, viewer, plan.owner)
        if foreign or (plan_id not in own and plan_id in _secret(tariffs)):
            raise HttpError(403, "forbidden", f"this {field} is not for the customers of {viewer}", field)


def _secret(tariffs: Tariffs) -> set[str]:
    """Plans that accounts with customers are charged by, and those that are bought by."""
    directory = tariffs.directory
    sellers = {each.parent for each in directory.accounts.values() if each.parent is not None}
    secret = {plan for seller in sellers for plan in _charging(directory, seller)}
    charging = [tariffs.plan(plan) for plan in set(directory.plans.values())]
    secret |= {plan.buy_plan for plan in charging if plan is not None and plan.buy_plan is not None}
    return secret | {trunk.buy_plan for trunk in directory.trunks.values() if trunk.buy_plan is not None}


def _charging(directory: Directory, account_id: str) -> tuple[str, ...]:
    """The plans that charge an account."""
    return (directory.plans[account_id], *directory.accounts[account_id].also)


def _with_hidden(directory: Directory, viewer: str | None, account: Account) -> Account:
    """What was agreed with accounts that the viewer does not see is not the viewer's to change."""
    before = directory.accounts.get(account.id)
    if viewer is None or before is None:
        return account
    departments = [each for each in before.departments if not seeing.may_see(directory, viewer, each.account)]
    affiliates = [each for each in before.affiliates if not seeing.may_see(directory, viewer, each.account)]
    return replace(
        account,
        departments=(*departments, *account.departments),
        affiliates=(*affiliates, *account.affiliates),
    )


def _shown(directory: Directory, account: Account, viewer: str | None) -> dict[str, Any]:
    departments = [each for each in account.departments if seeing.may_see(directory, viewer, each.account)]
    affiliates = [each for each in account.affiliates if seeing.may_see(directory, viewer, each.account)]
    visible = replace(account, departments=tuple(departments), affiliates=tuple(affiliates))
    shown = schemas.AccountBody.of(visible).shown()
    if account.id != viewer:
        return shown
    return {key: value for key, value in shown.items() if key not in _SELLERS_OWN}


def _with_balance(directory: Directory, account: Account, balance: Balance, viewer: str | None) -> dict[str, Any]:
    above = directory.chain(account.parent) if account.parent is not None else ()
    return {
        "id": account.id,
        **_shown(directory, account, viewer),
        "effective_plan": directory.plan_of((account, *above)),
        "balance": format_amount(balance.balance),
        "held": format_amount(balance.held),
        "available": None if balance.available is None else format_amount(balance.available),
        "channels": dict.fromkeys(_COUNTERS, 0) | balance.slots,
    }


def _entry(entry: LedgerEntry) -> Entry:
    return Entry(
        entry.cursor,
        entry.id,
        entry.kind,
        format_amount(entry.amount),
        format_amount(entry.balance),
        format_time(entry.at_ms),
        entry.call,
        entry.note,
    )
