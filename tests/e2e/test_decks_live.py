"""Decks on a running daemon: a bad one leaves the last good plan as it is, whatever is wrong with it."""

import asyncio
from pathlib import Path

import pytest

from tests.e2e.provider import ROWS, Provider

GOOD = "0.6000"
HEAD = "prefix;destination;per_minute;percent;increment_s;from;to\n"
BAD = {
    "two rows for one prefix and time": "31;NL;1;;;;\n31;NL;2;;;;\n",
    "both prices": "31;NL;1;100;;;\n",
    "no price": "31;NL;;;;;\n",
    "percentage of what is not bought": "31;NL;1;;;;\n33;F;;120;;;\n",
    "an unclosed quote at the end": '31;NL;1;;;;\n32;"B;1;;;;\n',
    "a price of two meanings": "31;NL;1.234;;;;\n32;B;2,000;;;;\n",
    "no increment": "31;NL;1;;0;;\n",
    "a range backwards": "4484-4479;UK;1;;;;\n",
    "no time of the day": "31;NL;1;;;8;9\n",
}


@pytest.fixture
async def provider(tmp_path: Path):
    async with Provider(tmp_path) as provider:
        await provider.furnish()
        yield provider


async def test_a_bad_deck_leaves_the_last_good_one(provider: Provider) -> None:
    path = "/v1/plans/standard/rows"
    for name, rows in BAD.items():
        status, said = await provider.ask("PUT", path, HEAD + rows)
        assert (status, said["error"]["code"]) == (422, "wrong_rows"), (name, said)
        assert said["error"]["details"][0].startswith("line "), name
    assert (await provider.ask("PUT", path, HEAD.replace("prefix", "code") + "31;NL;1;;;;\n"))[0] == 422
    assert (await provider.ask("PUT", path + "?map=prefix=code", HEAD + "31;NL;1;;;;\n"))[0] == 422
    decision = await provider.call("c1")
    assert (decision["verdict"], decision["rate"]["per_minute"]) == ("allowed", GOOD)
    await provider.good("POST", "/v1/calls/c1/end", {})
    await provider.kill()
    await provider.start()
    decision = await provider.call("c2")
    assert (decision["verdict"], decision["rate"]["per_minute"]) == ("allowed", GOOD)


async def test_an_upload_that_breaks_off_leaves_the_last_good_deck(provider: Provider) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", provider.port)
    writer.write(
        b"PUT /v1/plans/standard/rows HTTP/1.1\r\nHost: x\r\nContent-Type: text/csv\r\nContent-Length: 1000\r\n"
        b"Authorization: Bearer "
        + provider.home.joinpath("token").read_bytes().strip()
        + b"\r\n\r\nprefix,per_minute\n31,9\n"
    )
    await writer.drain()
    writer.close()
    await writer.wait_closed()
    del reader
    assert (await provider.call("c1"))["rate"]["per_minute"] == GOOD
    again = await provider.good("PUT", "/v1/plans/standard/rows", ROWS)
    assert (again["changed"], again["unchanged"]) == (0, 1)


async def test_calls_go_on_at_their_price_while_a_deck_is_taken(provider: Provider) -> None:
    """No decision sees half a deck: every price is of the old one or the new one."""
    rows = "prefix,per_minute\n31,0.9000\n" + "".join(f"{prefix},0.1\n" for prefix in range(40_000, 60_000))
    taking = asyncio.create_task(provider.ask("PUT", "/v1/plans/standard/rows", rows))
    seen = []
    while not taking.done():
        decision = await provider.call(f"c{len(seen)}")
        seen.append(decision["rate"]["per_minute"])
        await provider.good("POST", f"/v1/calls/c{len(seen) - 1}/end", {})
    status, answer = await taking
    assert (status, answer["rows"]) == (200, 20_001)
    assert set(seen) <= {GOOD, "0.9000"}
    assert seen == sorted(seen)
    assert (await provider.call("last"))["rate"]["per_minute"] == "0.9000"
