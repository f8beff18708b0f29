"""Departments, affiliates, called parties and calls within calls on a running daemon, which is killed in between."""

from decimal import Decimal
from pathlib import Path
from typing import Any

from tests.e2e.provider import Provider
from tests.servers import RedisServer

DID = "+31201112233"
BOTH_WAYS = "prefix,destination,direction,per_minute\n31,Netherlands,,0.6000\n31,Freephone,inbound,0.3000\n"
CALLS = 12


async def furnish(provider: Provider) -> None:
    """acme is a PBX with a department below it and an agent apart; callee, apart too, pays for being called."""
    await provider.furnish(credit="10.00")
    await provider.good("PUT", "/v1/plans/freephone", {"buy_plan": "carrier"})
    await provider.good("PUT", "/v1/plans/freephone/rows", BOTH_WAYS)
    await provider.good("PUT", "/v1/accounts/agent", {"kind": "postpaid", "plan": "standard"})
    callee = {"kind": "prepaid", "plan": "freephone", "numbers": [DID], "dial_rules": {"country": "NL"}}
    await provider.good("PUT", "/v1/accounts/callee", callee)
    sales = {"kind": "prepaid", "parent": "acme", "affiliates": [{"account": "agent", "percent": "12.5"}]}
    await provider.good("PUT", "/v1/accounts/sales", sales)
    pbx = {"departments": [{"match": {"extension": "2xx"}, "account": "sales"}], "dial_rules": {"country": "NL"}}
    await provider.good("PUT", "/v1/accounts/acme", {"kind": "prepaid", "plan": "standard", **pbx})
    for account in ("sales", "callee"):
        await provider.good("POST", f"/v1/accounts/{account}/topups", {"id": "first", "amount": "10.00"})


async def ledger_of(provider: Provider, account: str) -> list[Any]:
    entries: list[Any] = (await provider.good("GET", f"/v1/accounts/{account}/ledger"))["entries"]
    return entries


def total(amounts: Any) -> Decimal:
    return sum(map(Decimal, amounts), Decimal(0))


async def test_every_payer_has_what_its_records_say_however_often_it_is_killed(
    tmp_path: Path, redis_server: RedisServer
) -> None:
    async with Provider(tmp_path, redis_url=f"{redis_server.url}/7") as provider:
        await furnish(provider)
        for number in range(CALLS):
            way: dict[str, Any] = {"from": f"2{number:02}"}
            if number % 3 == 1:
                way["to"] = DID
            call = await provider.call(f"c{number}", **way)
            assert (call["verdict"], call["account"]) == ("allowed", "sales"), call
            await provider.good("POST", f"/v1/calls/c{number}/answer", {})
            if number % 4 == 3:
                await provider.kill()
                await provider.start()
            await provider.good("POST", f"/v1/calls/c{number}/end", {})
            if number % 4 == 1:
                await provider.kill()
                await provider.start()

        async def recorded() -> bool:
            records = await provider.cdrs()
            return {(cdr["role"], cdr["call_id"]) for cdr in records} >= {("customer", f"c{n}") for n in range(CALLS)}

        await provider.until(recorded)
        records = await provider.cdrs()
        assert len({cdr["id"] for cdr in records}) == len(records)
        for account in ("acme", "sales", "callee"):
            posts = [it for it in await ledger_of(provider, account) if it["kind"] != "topup"]
            gross = total(cdr["gross"] for cdr in records if cdr["account"] == account)
            assert -total(it["amount"] for it in posts) == gross
            assert (await provider.account(account))["held"] == "0.0000"
        shares = [cdr for cdr in records if cdr["role"] == "affiliate"]
        credited = await ledger_of(provider, "agent")
        given = [cdr for cdr in shares if Decimal(cdr["share"])]
        assert given
        assert sorted(it["id"] for it in credited) == sorted(cdr["id"] for cdr in given)
        assert total(it["amount"] for it in credited) == total(cdr["share"] for cdr in shares)
        called = [cdr for cdr in records if cdr["role"] == "called"]
        assert {cdr["call_id"] for cdr in called} == {f"c{n}" for n in range(CALLS) if n % 3 == 1}
        assert len(shares) == CALLS


async def test_calls_within_a_call_end_with_it_after_a_kill(tmp_path: Path, redis_server: RedisServer) -> None:
    async with Provider(tmp_path, redis_url=f"{redis_server.url}/7") as provider:
        await furnish(provider)
        more = {"can_extend": True}
        await provider.call("in", direction="inbound", to=DID, account="callee", **more)
        await provider.good("POST", "/v1/calls/in/answer", {})
        inner = {"call_id": "out", "from": "", "to": "0612345678", "within": "in"}
        decision = await provider.good("POST", "/v1/calls", inner | more)
        assert (decision["verdict"], decision["account"]) == ("allowed", "callee")
        await provider.good("POST", "/v1/calls/out/answer", {})
        await provider.kill()
        await provider.start()
        assert "hang_up" not in await provider.good("GET", "/v1/calls/out")
        await provider.good("POST", "/v1/calls/in/end", {})
        assert (await provider.good("GET", "/v1/calls/out"))["hang_up"] == "requested"
        (own,) = (await provider.good("POST", "/v1/calls/out/end", {}))["cdrs"]
        assert (own["account"], own["within"]) == ("callee", "in")
