"""`callctl ids` against the front door: what is drawn, and what an operator's word does."""

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from callctl.cli.ids import picture
from tests.e2e.command import Ended, callctl
from tests.e2e.front_door import FrontDoor

Run = Callable[..., Awaitable[Ended]]
DAYS = [{"day": f"2026-11-{day:02}", "spent": "10.00", "threshold": "50.00"} for day in range(1, 21)]


@pytest.fixture
async def run(door: FrontDoor, tmp_path: Path) -> Run:
    account = {"kind": "prepaid", "plan": "retail", "ids": {"range": "40.00"}}
    await door.json("PUT", "/v1/accounts/acme", json=account)
    await door.json("PUT", "/v1/accounts/acme/ids/days", json={"days": DAYS})

    async def run(*arguments: str) -> Ended:
        url = str(door.client.make_url("/"))
        return await callctl("ids", *arguments, cwd=tmp_path, CALLCTL_URL=url, CALLCTL_TOKEN="ops")

    return run


async def test_show_draws_sixty_days_the_threshold_and_today(run: Run) -> None:
    lines = (await run("show", "acme")).out.splitlines()
    assert lines[0] == "acme: watched calls of the last 60 days and today, in EUR"
    threshold = next(line for line in lines if line.endswith("threshold"))
    assert threshold.startswith("     50.0000 ┤")
    assert sum("█" * 20 in line for line in lines) == 2, "10.00 of 50.00 is 2.4 of 12 lines"
    assert "today    0.0000 settled + 0.0000 held = 0.0000 EUR" in lines
    assert "limit    50.0000: 10.0000 average + 40.0000 range; soft" in lines


async def test_show_for_machines_is_the_answer_of_the_api(run: Run, door: FrontDoor) -> None:
    assert (await run("show", "acme", "--json")).json == await door.json("GET", "/v1/accounts/acme/ids")


async def test_more_for_today_a_release_and_a_free_hour(run: Run) -> None:
    more = await run("release", "acme", "--extra", "20.00", "--by", "anna", "--why", "a congress")
    assert "limit    70.0000: 10.0000 average + 40.0000 range + 20.0000 for today; soft" in more.out
    assert "allow  by=anna why=a congress extra=20.0000" in more.out
    free = await run("release", "acme", "--until", "2026-11-21T11:00:00Z")
    assert "free     until 2026-11-21 11:00:00" in free.out
    plain = (await run("release", "acme", "--json")).json
    assert plain["today"]["free_until"] is None
    assert plain["log"][0]["detail"]["by"] == "ops"


async def test_what_is_said_by_an_id_is_heard_once(run: Run) -> None:
    for _ in range(2):
        said = (await run("release", "acme", "--extra", "20.00", "--id", "ticket-1", "--json")).json
        assert said["today"]["extra"] == "20.0000"
    other = await run("release", "acme", "--extra", "21.00", "--id", "ticket-1")
    assert (other.status, "ticket-1 was another word" in other.err) == (1, True)


async def test_an_incident_is_left_out_and_taken_back(run: Run) -> None:
    assert (await run("incident", "acme", "2026-11-20", "--json")).json["today"]["average"] == "10.0000"
    days = (await run("show", "acme", "--json")).json["days"]
    assert [day["day"] for day in days if day["incident"]] == ["2026-11-20"]
    back = await run("incident", "acme", "2026-11-20", "--clear", "--json")
    assert not any(day["incident"] for day in back.json["days"])


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (("show", "nobody"), 1, "no such account"),
        (("release", "acme", "--extra=-1.00"), 1, "negative"),
        (("release", "acme", "--extra", "1.00", "--until", "2026-11-22T00:00:00Z"), 2, "not allowed with"),
        (("incident", "acme", "2026-11-22"), 1, "yet to come"),
    ],
)
async def test_what_makes_no_sense_is_said(run: Run, arguments: tuple[str, ...], status: int, said: str) -> None:
    done = await run(*arguments)
    assert done.status == status
    assert said in done.err


def shown(**today: Any) -> dict[str, Any]:
    zero = dict.fromkeys(("spent", "settled", "held", "estimated", "released", "extra", "average"), "0.0000")
    day = {"day": "2026-11-21", "threshold": None, "tripped_at": None, "free_until": None, **zero, **today}
    return {"account": "a", "currency": "EUR", "agreed": None, "today": day, "days": [], "log": []}


def test_what_is_held_stands_on_what_is_settled_and_an_incident_looks_like_one() -> None:
    told = shown(settled="6.0000", held="6.0000", threshold="12.0000")
    told["days"] = [{"day": "2026-11-20", "spent": "12.0000", "threshold": "5.0000", "incident": True}]
    lines = [line.plain for line in picture(told)][1:13]
    assert [line[14 + 61] for line in lines] == ["▒"] * 6 + ["█"] * 6
    assert [line[14 + 59] for line in lines] == ["░"] * 12


def test_a_name_that_would_command_a_terminal_is_shown_as_text() -> None:
    told = shown()
    told["log"] = [{"at": "2026-11-21T10:00:00Z", "what": "release", "detail": {"why": "\x1b[2Jboo"}}]
    assert not any("\x1b" in line.plain for line in picture(told))
