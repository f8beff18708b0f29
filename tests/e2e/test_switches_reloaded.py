"""Switches added, removed and linked anew while calls are up, by SIGHUP and by the API, on simulated Asterisks."""

import json
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from callctl.simulators.ami import AmiSimulator, EndedBy, Outcome, Script, SimCall, User
from tests.e2e.command import callctl
from tests.e2e.front_door import FrontDoor
from tests.e2e.provider import Provider
from tests.waiting import until

TALKS = Script(caller="+31201234567", called="0612345678", account="acme", ring_s=0.1)
LISTENS = '[[switch]]\nname = "sbc1"\nkind = "call_control"\npath = "sbc1.sock"\n'
USERS = {"cc": User("pw"), "other": User("pw")}


class House:
    """A daemon, two switches and the daemon's configuration, of which everything but the switches stays."""

    def __init__(self, daemon: Provider, **switches: AmiSimulator) -> None:
        self.daemon = daemon
        self.switches = switches
        self._file = daemon.home / "config/callctl.toml"
        self._rest = self._file.read_text()

    def configure(self, *names: str, more: str = "", **keys: object) -> None:
        """The file names these switches, each with these keys."""
        tables = []
        for name in names:
            known = {"name": name, "kind": "asterisk", "username": "cc", "secret": "pw"}
            known |= {"port": self.switches[name].port, **keys}
            tables.append("[[switch]]\n" + "".join(f"{key} = {json.dumps(value)}\n" for key, value in known.items()))
        self._file.write_text(more + self._rest + "".join(tables))

    async def reload(self) -> Any:
        return await self.daemon.good("POST", "/v1/switches/reload")

    async def hang_up_the_line(self) -> None:
        """SIGHUP."""
        assert self.daemon.process is not None
        self.daemon.process.send_signal(signal.SIGHUP)

    async def linked(self, *names: str) -> None:
        async def all_up() -> bool:
            _, said = await self.daemon.ask("GET", "/readyz")
            return [link["name"] for link in said["links"] if link["kind"] == "switch" and link["up"]] == list(names)

        await self.daemon.until(all_up)

    async def logged(self, words: str) -> None:
        async def is_there() -> bool:
            return words in self.daemon.log

        await self.daemon.until(is_there)

    async def talking(self, name: str) -> SimCall:
        """An answered call, and callctl knows."""
        before = len(await self.live())
        call = self.switches[name].place_call(TALKS)
        assert await call.answer() is not None, await call.outcome()

        async def is_known() -> bool:
            live = await self.live()
            return len(live) == before + 1 and all(one["granted_until"] for one in live)

        await self.daemon.until(is_known)
        return call

    def lists(self, name: str) -> int:
        """How often the switch was asked what calls it has."""
        return [asked["Action"] for asked in self.switches[name].actions.asked].count("Status")

    async def live(self) -> list[Any]:
        found: list[Any] = (await self.daemon.good("GET", "/v1/calls"))["calls"]
        return found

    async def record(self, calls: int = 1) -> Any:
        """The last CDR, once there are so many."""

        async def all_there() -> bool:
            return len(await self.daemon.cdrs()) == calls

        await self.daemon.until(all_there)
        return (await self.daemon.cdrs())[-1]


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    policy = "[policy]\nlease_grace_s = 1\n"
    daemon = Provider(tmp_path, more=policy)
    async with AmiSimulator(USERS) as one, AmiSimulator(USERS) as two:
        house = House(daemon, pbx1=one, pbx2=two)
        house.configure("pbx1")
        async with daemon:
            await daemon.furnish()
            await house.linked("pbx1")
            yield house


def agrees(cdr: Any, outcome: Outcome) -> bool:
    return not cdr["estimated"] and abs(cdr["duration_ms"] - outcome.talked_ms) <= 1


async def test_a_switch_is_added_by_a_signal_while_another_has_a_call_up(house: House) -> None:
    first = await house.talking("pbx1")
    house.configure("pbx1", "pbx2")
    await house.hang_up_the_line()
    await house.linked("pbx1", "pbx2")
    second = await house.talking("pbx2")
    for calls, call in enumerate((second, first), 1):
        call.hang_up()
        assert agrees(await house.record(calls), await call.outcome())
    assert house.switches["pbx1"].logins == 1  # its link was not touched


async def test_a_removed_switch_keeps_the_limit_and_its_call_is_settled_by_the_lease(house: House) -> None:
    house.configure("pbx1", "pbx2")
    assert await house.reload() == {"added": ["pbx2"], "removed": [], "changed": [], "needs_restart": []}
    await house.linked("pbx1", "pbx2")
    stays = await house.talking("pbx1")
    gone = await house.talking("pbx2")
    house.configure("pbx1")
    assert await house.reload() == {"added": [], "removed": ["pbx2"], "changed": [], "needs_restart": []}
    await house.linked("pbx1")
    outcome = await gone.outcome()
    assert outcome.ended_by is EndedBy.LIMIT
    cdr = await house.record()
    assert (cdr["switch"], cdr["estimated"]) == ("pbx2", True)
    assert outcome.talked_ms <= cdr["duration_ms"] + 2_000
    stays.hang_up()
    assert agrees(await house.record(2), await stays.outcome())
    account = await house.daemon.account()
    assert (account["held"], account["channels"]["total"]) == ("0.0000", 0)


async def test_a_switch_that_comes_back_has_its_call_taken_up(house: House) -> None:
    call = await house.talking("pbx1")
    lists = house.lists("pbx1")
    house.configure("pbx2")
    assert await house.reload() == {"added": ["pbx2"], "removed": ["pbx1"], "changed": [], "needs_restart": []}
    house.configure("pbx1", "pbx2")
    await house.reload()
    await house.linked("pbx2", "pbx1")
    await until(lambda: house.lists("pbx1") == lists + 2)  # for the link and for control: the call is known there anew
    call.hang_up(EndedBy.CALLEE)
    cdr = await house.record()
    assert agrees(cdr, await call.outcome())
    assert cdr["released_by"] == "callee"


async def test_a_changed_switch_is_linked_anew_and_its_call_goes_on(house: House) -> None:
    call = await house.talking("pbx1")
    lists = house.lists("pbx1")
    house.configure("pbx1", username="other")
    assert (await house.reload())["changed"] == ["pbx1"]
    await house.linked("pbx1")
    assert house.switches["pbx1"].logins == 2
    await until(lambda: house.lists("pbx1") == lists + 2)
    call.hang_up()
    assert agrees(await house.record(), await call.outcome())


async def test_nothing_is_touched_where_nothing_changed(house: House) -> None:
    house.configure("pbx1")
    assert await house.reload() == {"added": [], "removed": [], "changed": [], "needs_restart": []}
    assert house.switches["pbx1"].logins == 1


async def test_a_wrong_file_changes_nothing_and_its_mistake_is_told_with_its_place(house: House) -> None:
    house.configure("pbx1", "pbx2", prot=5038)
    status, said = await house.daemon.ask("POST", "/v1/switches/reload")
    assert (status, said["error"]["code"]) == (422, "unacceptable")
    assert "switch.0.prot: unknown key" in said["error"]["message"]
    await house.hang_up_the_line()

    async def twice() -> bool:
        return house.daemon.log.count("configuration_refused") == 2

    await house.daemon.until(twice)
    assert "switch.1.prot: unknown key" in house.daemon.log
    await house.linked("pbx1")
    call = await house.talking("pbx1")
    call.hang_up()
    assert agrees(await house.record(), await call.outcome())


async def test_a_switch_that_cannot_be_made_stops_the_others_from_being_changed(house: House) -> None:
    house.configure("pbx1", "pbx2", tls=True, tls_ca="nowhere.pem")
    status, said = await house.daemon.ask("POST", "/v1/switches/reload")
    assert status == 422
    assert "switch pbx2.tls_ca" in said["error"]["message"]
    await house.linked("pbx1")


async def test_other_keys_wait_for_a_restart_and_are_named(house: House) -> None:
    house.configure("pbx1", "pbx2", more='[log]\nlevel = "debug"\n')
    said = await house.reload()
    assert (said["added"], said["needs_restart"]) == (["pbx2"], ["log.level"])
    await house.logged("restart_needed")
    assert (await house.reload())["needs_restart"] == ["log.level"]  # it still does


async def test_what_a_switch_can_do_is_told_by_readiness(house: House) -> None:
    _, said = await house.daemon.ask("GET", "/readyz")
    told = {link["name"]: link["capabilities"] for link in said["links"]}
    assert told["pbx1"]["warns"] == ["caller", "callee", "both"]
    assert told["pbx1"]["timer"] is True
    assert all(told[name] is None for name in told if name != "pbx1")


async def test_the_doctor_shows_what_a_switch_can_do_and_what_it_means_that_it_cannot(house: House) -> None:
    house.configure("pbx1", more=LISTENS)
    assert (await house.reload())["added"] == ["sbc1"]
    report = {it["check"]: it for it in (await callctl("doctor", "--json", cwd=house.daemon.home)).json}
    assert report["switch pbx1 can"]["detail"].endswith("hangs_up, lists, warns caller, warns callee, warns both")
    assert not [check for check in report if check.startswith("switch pbx1 without")]
    assert report["switch sbc1 without extends"]["verdict"] == "unwise"
    assert report["switch sbc1 without extends"]["detail"] == "the whole grant is held when the call is admitted"


# -------------------------------------------------------------------- the front door


async def test_the_provider_alone_reloads(door: FrontDoor) -> None:
    for bearer, status in (("ops", 200), ("reader", 403), ("reseller", 403), (None, 401)):
        answer = await door.ask("POST", "/v1/switches/reload", bearer)
        assert answer.status == status, bearer


async def test_a_misspelt_parameter_reloads_nothing(door: FrontDoor) -> None:
    assert (await door.ask("POST", "/v1/switches/reload?dry_run=true")).status == 400


async def test_a_wrong_configuration_is_unacceptable(door: FrontDoor) -> None:
    door.misconfigured = "http.port: found 0.5, expected a whole number"
    answer = await door.ask("POST", "/v1/switches/reload")
    assert (answer.status, (await answer.json())["error"]["message"]) == (
        422,
        f"callctl.toml: {door.misconfigured}",
    )
