"""`callctl subscription` against the front door, whose clock stands on 21 November 2026."""

from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from tests.core.catalogue import DOCUMENT
from tests.e2e.command import Ended, callctl
from tests.e2e.front_door import FrontDoor

Run = Callable[..., Awaitable[Ended]]


@pytest.fixture
async def run(door: FrontDoor, tmp_path: Path) -> Run:
    await door.json("PUT", "/v1/services", json=DOCUMENT)

    async def run(*arguments: str) -> Ended:
        url = str(door.client.make_url("/"))
        return await callctl("subscription", *arguments, cwd=tmp_path, CALLCTL_URL=url, CALLCTL_TOKEN="ops")

    return run


TERMS = ("--from", "2026-11-15", "--quantity", "2", "--price-list", "standard")


async def test_one_is_made_shown_and_ended(run: Run) -> None:
    made = await run("put", "acme", "trunk", "sip-trunk", *TERMS, "--waive-nrc", "--json")
    assert made.json | {"counts": {}} == {
        "name": "trunk", "service": "sip-trunk", "quantity": 2, "price_list": "standard", "partner": None,
        "from": "2026-11-15", "until": None, "period": "monthly", "align": "calendar", "waive_nrc": True,
        "charged_until": None, "counts": {},
    }  # fmt: skip
    table = (await run("list", "acme")).out.splitlines()
    assert table[2].split()[:6] == ["trunk", "sip-trunk", "2", "standard", "-", "2026-11-15"]
    ended = await run("end", "acme", "trunk", "--until", "2026-12-31", "--json")
    assert (ended.json["until"], ended.json["quantity"]) == ("2026-12-31", 2)
    gone = await run("end", "acme", "trunk")
    assert (gone.status, gone.out.splitlines()[2:]) == (0, [])


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (("list", "nobody"), 1, "no such account"),
        (("put", "acme", "x", "no-such", "--from", "2026-11-15"), 1, "no-such"),
        (("put", "acme", "x", "sip-trunk", "--from", "15.11.2026"), 1, "from"),
        (("put", "acme", "x", "sip-trunk"), 2, "--from"),
        (("end", "acme", "x"), 1, "no such subscription"),
        (("end", "acme", "x", "--until", "2026-12-31"), 1, "no such subscription"),
    ],
)
async def test_what_cannot_be_is_refused(run: Run, arguments, status, said) -> None:
    done = await run(*arguments)
    assert done.status == status
    assert said in done.err
