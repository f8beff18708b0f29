"""Caps of a running daemon, attacked: fifty calls at once at every kind of cap, and a crash in the middle."""

import asyncio
import time
from collections import Counter
from pathlib import Path
from typing import Any

from tests.e2e.command import callctl
from tests.e2e.provider import Provider
from tests.servers import RedisServer

AT_ONCE = 50
DID = "+31201112233"
FULL = {
    "kind": "postpaid", "plan": "standard", "dial_rules": {"country": "NL"},
    "caps": {"internal": 0}, "licence": {"channels": 0, "enforce": False},
}  # fmt: skip

# By name: what is put beside an account of that name, what each call says, how many go ahead, why the others do not.
ATTACKS: dict[str, tuple[dict[str, Any], dict[str, Any], int, str]] = {
    "outbound": ({"caps": {"outbound": 7}}, {}, 7, "channel_limit"),
    "total": ({"caps": {"outbound": 40, "total": 9}}, {}, 9, "channel_limit"),
    "inbound": ({"caps": {"inbound": 3, "total": 40}}, {"direction": "inbound", "to": DID}, 3, "channel_limit"),
    "internal": ({"caps": {"internal": 4, "total": 1}}, {"direction": "internal", "to": "201"}, 4, "channel_limit"),
    "counted": (
        {"caps": {"count_internal": True, "total": 6}}, {"direction": "internal", "to": "201"}, 6, "channel_limit"
    ),
    "line": ({"caps": {"bandwidth": {"kbits": 1000, "codec": "g711"}}}, {}, 11, "channel_limit"),
    "group": (
        {"caps": {"groups": [{"name": "mobile", "types": ["MOB"], "outbound": 2}], "total": 30}}, {}, 2, "channel_limit"
    ),
    "licence": ({"licence": {"channels": 8}, "caps": {"total": 20}}, {}, 8, "licence_limit"),
    "overflow": ({"caps": {"outbound": 5, "overflow": {"at_most": 3, "per_call": "0.0500"}}}, {}, 8, "channel_limit"),
    "nothing": ({"caps": {"outbound": 0}}, {}, 0, "channel_limit"),
}  # fmt: skip


async def put(provider: Provider, account: str, **fields: Any) -> None:
    asked = {"kind": "postpaid", "plan": "standard", "dial_rules": {"country": "NL"}}
    await provider.good("PUT", f"/v1/accounts/{account}", asked | fields)


async def attack(provider: Provider, account: str, **call: Any) -> tuple[int, set[str]]:
    """Fifty calls at once: how many go ahead, and why the others do not."""
    calls = (provider.call(f"{account}-{n}", account=account, **call) for n in range(AT_ONCE))
    answers = Counter(answer.get("refusal") for answer in await asyncio.gather(*calls))
    return answers.pop(None, 0), {str(refusal) for refusal in answers}


async def channels(provider: Provider, account: str) -> dict[str, int]:
    return {name: used for name, used in (await provider.account(account))["channels"].items() if used}


async def test_fifty_calls_at_once_at_every_kind_of_cap(tmp_path: Path, redis_server: RedisServer) -> None:
    async with Provider(tmp_path, redis_url=f"{redis_server.url}/7") as provider:
        await provider.furnish()
        for name, (fields, call, allowed, refusal) in ATTACKS.items():
            await put(provider, name, **fields)
            assert await attack(provider, name, **call) == (allowed, {refusal}), name
            assert max((await channels(provider, name)).values(), default=0) == allowed, name
            live = (await provider.good("GET", f"/v1/calls?account={name}"))["calls"]
            ends = (provider.good("POST", f"/v1/calls/{call['call_id']}/end", {}) for call in live)
            await asyncio.gather(*ends)
            assert await channels(provider, name) == {}, name


async def test_fifty_calls_at_once_at_caps_of_others(tmp_path: Path, redis_server: RedisServer) -> None:
    """Of a reseller far above, of the trunk, and of a carrier that two customers share."""
    async with Provider(tmp_path, redis_url=f"{redis_server.url}/7") as provider:
        await provider.furnish()
        await put(provider, "top", caps={"outbound": 6})
        await put(provider, "middle", parent="top")
        await put(provider, "shop", parent="middle", caps={"outbound": 30})
        assert await attack(provider, "shop") == (6, {"provider_limit"})
        assert (await channels(provider, "top"))["outbound"] == 6
        await put(provider, "pbx")
        await provider.good("PUT", "/v1/trunks/line", {"account": "pbx", "caps": {"outbound": 4}})
        assert await attack(provider, "pbx", trunk="line") == (4, {"channel_limit"})
        await put(provider, "one")
        await put(provider, "two")
        await provider.good("PUT", "/v1/trunks/carrier", {"account": "top"})
        await provider.good("PUT", "/v1/limits/carrier", {"trunk": "carrier", "outbound": 9})
        attacks = (attack(provider, name, trunk_out="carrier") for name in ("one", "two"))
        (ones, why), (twos, _) = await asyncio.gather(*attacks)
        assert (ones + twos, why) == (9, {"provider_limit"})
        assert [(await channels(provider, name)).get("outbound", 0) for name in ("one", "two")] == [ones, twos]


async def test_attempts_per_second_of_an_account_and_all_below_it(tmp_path: Path, redis_server: RedisServer) -> None:
    async with Provider(tmp_path, redis_url=f"{redis_server.url}/7") as provider:
        await provider.furnish()
        await put(provider, "above", calls_per_second=5)
        await put(provider, "burst", parent="above")
        await put(provider, "own", calls_per_second=5)
        for name, refusal in (("burst", "provider_limit"), ("own", "call_rate_limit")):
            began_s = time.monotonic()
            allowed, why = await attack(provider, name)
            seconds = int(time.monotonic() - began_s) + 2  # that it has reached into
            assert 5 <= allowed <= 5 * seconds, name
            assert why == {refusal}, name


async def test_channels_of_a_killed_daemon_are_counted_and_heal(tmp_path: Path, redis_server: RedisServer) -> None:
    policy = "[policy]\nsetup_timeout_s = 12\nlease_grace_s = 1\n"  # a busy machine starts us in time
    async with Provider(tmp_path, redis_url=f"{redis_server.url}/7", more=policy) as provider:
        await provider.furnish(credit="0", kind="postpaid", caps={"outbound": 2})
        await provider.good("PUT", "/v1/trunks/only", {"account": "acme"})
        await provider.good("PUT", "/v1/limits/only", {"trunk": "only", "total": 2})
        for call_id in ("c1", "c2"):
            assert (await provider.call(call_id, trunk_out="only"))["verdict"] == "allowed"
        await provider.kill()
        await provider.start()
        assert (await provider.call("c3", trunk_out="only"))["refusal"] == "channel_limit"
        await provider.good("POST", "/v1/calls/c1/end", {})
        assert (await provider.call("c4", trunk_out="only"))["verdict"] == "allowed"

        async def healed() -> bool:
            return not await channels(provider, "acme")

        await provider.until(healed)
        for call_id in ("c5", "c6"):
            assert (await provider.call(call_id, trunk_out="only"))["verdict"] == "allowed"


async def test_explain_says_what_a_call_would_meet_and_takes_nothing(tmp_path: Path, redis_server: RedisServer) -> None:
    async with Provider(tmp_path, redis_url=f"{redis_server.url}/7") as provider:
        await provider.furnish()
        asked = await provider.good("PUT", "/v1/accounts/full", FULL)
        since = asked["caps"]["since"]
        await provider.good("PUT", "/v1/trunks/none", {"account": "full"})
        limit = await provider.good("PUT", "/v1/limits/none", {"trunk": "none", "outbound": 0})
        for _ in range(2):
            internal = ("--to", "0612345678", "--direction", "internal")
            done = await callctl("explain", "--account", "full", *internal, cwd=tmp_path)
            assert done.out.startswith("refused: channel_limit"), done
            words = f"internal: 0 in use, 1 more asked for, at most 0 since {since}"
            assert f"  {words}\n" in done.out
            assert f"internal: 0 in use, 1 more asked for  (limit: at most 0 since {since})" in done.out
            assert "! channels" not in done.out
        call = ("explain", "--account", "full", "--to", "0612345678", "--trunk-out", "none")
        done = await callctl(*call, cwd=tmp_path)
        assert done.out.startswith("refused: provider_limit"), done
        assert f"none:outbound: 0 in use, 1 more asked for, at most 0 since {limit['since']}" in done.out
        assert "! channels" in done.out  # the licence, which only reports
        assert await channels(provider, "full") == {}
