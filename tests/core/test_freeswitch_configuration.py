"""The shipped configuration of FreeSWITCH says what the adapter relies on."""

import re
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from callctl.adapters.freeswitch.commands import Contexts
from callctl.adapters.freeswitch.legs import CALL
from callctl.adapters.freeswitch.translate import SUBSCRIBED

FOLDER = Path(__file__).parents[2] / "docker/freeswitch"
DIALPLAN = ET.parse(FOLDER / "callctl.dialplan.xml").getroot()
Action = tuple[str, str]


def contexts() -> dict[str, ET.Element]:
    return {context.get("name", ""): context for context in DIALPLAN.iter("context")}


def actions(element: ET.Element) -> list[Action]:
    return [(action.get("application", ""), action.get("data", "")) for action in element.iter("action")]


def extension(context: str, name: str) -> ET.Element:
    return next(each for each in contexts()[context].iter("extension") if each.get("name") == name)


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.xml")), ids=lambda path: path.name)
def test_it_is_xml(path: Path) -> None:
    ET.parse(path)


def test_the_contexts_have_the_names_that_callctl_sends_calls_to() -> None:
    assert {Contexts().dial, Contexts().refuse, "callctl-out", "callctl-in"} <= set(contexts())


def test_every_gate_closes_by_itself() -> None:
    gates = [actions(each) for each in DIALPLAN.iter("extension") if ("park", "") in actions(each)]
    assert len(gates) == 3
    for gate in gates:
        assert gate[-2:] == [("set", "park_timeout=8:NORMAL_TEMPORARY_FAILURE"), ("park", "")]


def test_emergency_numbers_ask_nobody() -> None:
    emergency = extension("callctl-out", "emergency")
    assert emergency[0].get("expression") == "^(112|911|999)$"
    assert next(iter(contexts()["callctl-out"])) is emergency
    done = actions(emergency)
    assert ("set", "callctl_emergency=yes") in done
    assert ("export", f"{CALL}=${{uuid}}") in done
    assert ("event", "Event-Subclass=callctl::emergency,Event-Name=CUSTOM") in done
    assert done[-1][0] == "bridge"
    assert {name for name, _ in done} <= {"set", "export", "event", "bridge"}
    assert SUBSCRIBED.endswith(" CUSTOM callctl::emergency")


def test_nobody_dials_without_having_been_allowed_to_once() -> None:
    *dialling, last = contexts()[Contexts().dial]
    for each in dialling:
        first = each[0]
        assert (first.get("field"), first.get("expression")) == ("${callctl_go}", "^yes$")
        assert actions(each)[0] == ("unset", "callctl_go")
        assert actions(each)[-1][0] == "bridge"
        assert ("set", "bypass_media=false") in actions(each)
    assert actions(last)[-1] == ("park", "")


def test_a_refusal_is_told_before_the_answer() -> None:
    told = [("pre_answer", ""), ("playback", "${callctl_sound}"), ("hangup", "${callctl_cause}")]
    assert actions(contexts()[Contexts().refuse]) == told


def test_the_directory_user_hears_all_that_callctl_subscribes_to() -> None:
    params = {
        each.get("name"): each.get("value", "") for each in ET.parse(FOLDER / "callctl.directory.xml").iter("param")
    }
    assert set(SUBSCRIBED.split()) <= set(params["esl-allowed-events"].split(","))
    assert len(f"Allowed-Events: {params['esl-allowed-events']}\n") < 440  # in an answer with room for 512 bytes
    assert "esl-allowed-api" not in params  # whatever it lists, `sched_api +60 ...` is denied
    assert params["allow-empty-password"] == "false"  # else it is a telephone, too, that anybody may use


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.xml")), ids=lambda path: path.name)
def test_no_comment_is_carried_out(path: Path) -> None:
    """FreeSWITCH's preprocessor reads lines, not XML: a comment does not stop it, and an <include> ends one."""
    for comment in re.findall("<!--.*?-->", path.read_text(), re.DOTALL):
        assert not re.search("<X-PRE-PROCESS|</?include>|<[?]|<!--#", comment, re.IGNORECASE)


def test_the_event_socket_is_not_open_to_the_world() -> None:
    params = {each.get("name"): each.get("value") for each in ET.parse(FOLDER / "event_socket.conf.xml").iter("param")}
    assert (params["listen-ip"], params["apply-inbound-acl"]) == ("127.0.0.1", "loopback.auto")
