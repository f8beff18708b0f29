"""What is found of a configuration that was read again."""

from typing import Any

from callctl.settings import Settings
from callctl.settings.difference import Difference, difference

PBX1 = {"name": "pbx1", "kind": "asterisk", "secret": "one"}
PBX2 = {"name": "pbx2", "kind": "asterisk", "secret": "two"}
FILE = {"name": "billing", "kind": "file"}


def settings(*switches: dict[str, Any], **others: Any) -> Settings:
    return Settings.model_validate({"switch": switches, **others})


def names(found: Difference) -> tuple[list[str], list[str], list[str]]:
    added, changed = ([table.name for table in tables] for tables in (found.added, found.changed))
    return added, changed, list(found.removed)


def test_the_same_is_no_difference_in_whatever_order() -> None:
    assert difference(settings(PBX1, PBX2), settings(PBX2, PBX1)) == Difference((), (), (), ())


def test_switches_are_told_apart_by_their_names() -> None:
    assert names(difference(settings(PBX1), settings(PBX1, PBX2))) == (["pbx2"], [], [])
    assert names(difference(settings(PBX1, PBX2), settings(PBX2))) == ([], [], ["pbx1"])
    assert names(difference(settings(PBX1), settings(PBX1 | {"name": "pbx3"}))) == (["pbx3"], [], ["pbx1"])


def test_every_key_of_a_switch_counts_its_secret_and_its_kind_too() -> None:
    for other in ({"secret": "another"}, {"port": 5039}, {"kind": "kamailio"}):
        found = difference(settings(PBX1, PBX2), settings(PBX1 | other, PBX2))
        assert names(found) == ([], ["pbx1"], [])
        assert found.others == ()


def test_what_needs_a_restart_is_named_by_its_key() -> None:
    read = settings(policy={"slice_first_s": 20}, http={"port": 8081}, sink=[FILE])
    assert difference(settings(), read).others == ("http.port", "policy.slice_first_s", "sink")
    named = difference(settings(sink=[FILE]), settings(sink=[FILE | {"directory": "elsewhere"}]))
    assert named.others == ("sink.0.directory",)
