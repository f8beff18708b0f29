"""`callctl services`, with a catalogue file alone and against the front door."""

import json
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from tests.core.catalogue import DOCUMENT
from tests.e2e.command import Ended, callctl
from tests.e2e.front_door import FrontDoor

Run = Callable[..., Awaitable[Ended]]

TOML = """
[services.sip-trunk]
name = "SIP trunk"
category = "lines"
purchase = { nrc = "10.00", mrc = "5.00" }

[price_lists.standard.categories]
lines = "150"
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "services.json"
    path.write_text(json.dumps(DOCUMENT))
    return path


@pytest.fixture
def alone(tmp_path: Path) -> Run:
    """A command where no daemon is."""

    async def run(*arguments: str | Path) -> Ended:
        return await callctl("services", *arguments, cwd=tmp_path, CALLCTL_TOKEN="t", CALLCTL_URL="http://127.0.0.1:9")

    return run


@pytest.fixture
def run(door: FrontDoor, tmp_path: Path) -> Run:
    """A command that talks to the door as its operator."""

    async def run(*arguments: str | Path) -> Ended:
        url = str(door.client.make_url("/"))
        return await callctl("services", *arguments, cwd=tmp_path, CALLCTL_URL=url, CALLCTL_TOKEN="ops")

    return run


async def test_a_price_for_people(alone: Run, file: Path) -> None:
    done = await alone("price", "sip-trunk", "--price-list", "standard", "--catalogue", file)
    assert done.status == 0
    lines = [line.split() for line in done.out.splitlines()]
    assert lines[0] == ["1", "x", "sip-trunk", "(SIP", "trunk),", "price", "list", "standard,", "in", "EUR"]
    assert ["NRC", "15.0000", "10.0000", "5.0000"] in lines
    assert ["MRC", "7.5000", "5.0000", "2.5000"] in lines


async def test_charges_for_people(alone: Run, file: Path) -> None:
    done = await alone(
        "price", "3cx-pro4", "--partner", "gold", "--from", "2026-01-31", "--until", "2026-02-28", "--catalogue", file
    )
    lines = [line.split() for line in done.out.splitlines()]
    assert ["2026-01-31", "mrc", "2026-01-31", "2026-01-31", "0.7900", "-", "-"] in lines
    assert ["2026-02-01", "mrc", "2026-02-01", "2026-02-28", "24.6900", "-", "-"] in lines


@pytest.mark.parametrize(
    ("arguments", "mrc"),
    [
        (("3cx-pro4",), "28.7500"),
        (("3cx-pro4", "--partner", "gold"), "24.6900"),
        (("halves",), "20.0200"),
        (("lines", "--quantity", "15"), "64.7500"),
        (("lines", "--quantity", "20"), "129.5000"),
        (("fax2mail", "--price-list", "standard"), "15.0000"),
    ],
)
async def test_a_price_for_machines(alone: Run, file: Path, arguments, mrc) -> None:
    done = await alone("price", *arguments, "--json", "--catalogue", file)
    assert done.json["mrc"]["charge"] == mrc


async def test_a_catalogue_in_toml(alone: Run, tmp_path: Path) -> None:
    (tmp_path / "s.toml").write_text(TOML)
    done = await alone("price", "sip-trunk", "--price-list", "standard", "--json", "--catalogue", "s.toml")
    assert done.json["nrc"] == {"charge": "15.0000", "cost": "10.0000", "margin": "5.0000"}


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("lines", "--quantity", "21"), "service lines: at most 20, not 21"),
        (("nothing",), "service nothing does not exist"),
        (("sip-trunk",), "no percentage for category 'lines'"),
    ],
)
async def test_what_has_no_price_is_1(alone: Run, file: Path, arguments, says) -> None:
    done = await alone("price", *arguments, "--catalogue", file)
    assert (done.status, done.out) == (1, "")
    assert says in done.err


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("none.json", None, "none.json: No such file"),
        ("x.json", "{", "x.json: not JSON"),
        ("x.toml", "a = ", "x.toml: not TOML"),
        ("x.json", "[]", "x.json: Expected `object`"),
        ("x.json", '{"service": {}}', "unknown field `service`"),
        ("x.json", '{"price_lists": {"p": {"categories": {"c": "99"}}}}', "price list p, category c: 99 %"),
    ],
)
async def test_a_wrong_catalogue_is_2(alone: Run, tmp_path: Path, name, text, says) -> None:
    if text is not None:
        (tmp_path / name).write_text(text)
    done = await alone("price", "s", "--catalogue", name)
    assert done.status == 2
    assert says in done.err


@pytest.mark.parametrize("wrong", [("--quantity", "x"), ("--charges", "x"), ("--period", "yearly"), ("--from", "x")])
async def test_wrong_terms_are_2(alone: Run, file: Path, wrong) -> None:
    assert (await alone("price", "flat", *wrong, "--catalogue", file)).status == 2


async def test_the_vps_bundle_of_a_licence(alone: Run, tmp_path: Path) -> None:
    assert (await alone("vps", "PRO24")).out == "5\n"
    assert (await alone("vps", "PRO24", "--json")).json == {"licence": "PRO24", "vps": "5"}
    done = await alone("vps", "PRO5")
    assert (done.status, done.err) == (1, "callctl: no VPS bundle is listed for licence 'PRO5'\n")
    (tmp_path / "own.json").write_text('{"vps": {"9": ["PRO5"]}}')
    assert (await alone("vps", "PRO5", "--catalogue", "own.json")).out == "9\n"


async def test_the_daemons_catalogue(run: Run, file: Path) -> None:
    assert (await run("put", file)).out == "put 7 services and 2 price lists\n"
    here = await run("price", "lines", "--quantity", "20", "--from", "2026-01-15", "--json", "--catalogue", file)
    there = await run("price", "lines", "--quantity", "20", "--from", "2026-01-15", "--json")
    assert here.json == there.json
    assert len(there.json["charges"]) == 12
    done = await run("price", "lines", "--quantity", "21")
    assert (done.status, done.out) == (1, "")
    assert "at most 20, not 21" in done.err


async def test_a_wrong_catalogue_is_refused_by_the_daemon(run: Run, tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text('{"partners": {"gold": "101"}}')
    done = await run("put", "x.json")
    assert done.status == 1
    assert "partner gold: a discount of 101 %" in done.err


async def test_counting(run: Run, door: FrontDoor, file: Path) -> None:
    await run("put", file)
    subscription = {"service": "extension", "from": "2026-11-01"}
    await door.json("PUT", "/v1/accounts/acme/subscriptions/pbx", json=subscription)
    assert (await run("count", "acme", "pbx", "2026-11", "12")).out == "acme/pbx: 12 in 2026-11\n"
    assert (await run("count", "acme", "pbx", "2026-11", "13", "--json")).json["counts"] == {"2026-11": 13}
    assert (await run("count", "acme", "pbx", "2026-12", "12")).status == 1
    assert (await run("count", "acme", "pbx", "2026-11", "many")).status == 2
