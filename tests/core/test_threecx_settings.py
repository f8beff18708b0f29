"""The `[[switch]]` of kind threecx: what is wrong stops the start, what is right makes the adapter that was meant."""

from pathlib import Path

import pytest

from callctl.adapters.threecx.switch import ThreeCxSwitch
from callctl.clock import SystemClock
from callctl.errors import ConfigError
from callctl.settings import load
from callctl.wiring import switch_of

TABLE = '[[switch]]\nname = "pbx2"\nkind = "threecx"\nclient_id = "900"\nsecret = "the key"\ntls = false\n'


def made(tmp_path: Path, more: str = "") -> ThreeCxSwitch:
    file = tmp_path / "callctl.toml"
    file.write_text(TABLE + more)
    (settings,) = load(file, {}).switch
    switch = switch_of(settings, SystemClock(), lambda dn: False, tuple)
    assert isinstance(switch, ThreeCxSwitch)
    return switch


@pytest.mark.parametrize(
    ("more", "place"),
    [
        ('cdr_timezone = "Mars/Olympus"', "cdr_timezone"), ('mode = "both"', "mode"),
        ('number_prefix = "zero"', "number_prefix"),
        ('cdr = "active"', "cdr"), ("port = 0", "port"), ('[switch.announcements]\nnoise = "x.wav"', "announcements"),
        ('prompt = "missing.wav"', "missing.wav"), ('[switch.announcements]\nno-credit = "missing.wav"', "missing.wav"),
    ],
)  # fmt: skip
def test_what_stops_the_start(tmp_path: Path, more: str, place: str) -> None:
    with pytest.raises(ConfigError, match=place) as raised:
        made(tmp_path, more)
    assert "the key" not in str(raised.value)


@pytest.mark.parametrize(("mode", "gate"), [("route_point", True), ("observe", False)])
def test_a_mode_says_what_it_can(tmp_path: Path, mode: str, gate: bool) -> None:
    can = made(tmp_path, f'mode = "{mode}"\n').capabilities
    assert (can.gate, can.announcements) == (gate, gate)
    assert (can.timer, can.sip_codes, can.warns, can.tells_who) == (False, False, (), False)
    assert (can.extends, can.hangs_up, can.lists) == (True, True, True)
    assert made(tmp_path).capabilities.gate is True


def test_every_key_is_taken(tmp_path: Path) -> None:
    (tmp_path / "sound.raw").write_bytes(bytes(320))
    more = f"""account = "acme"
extensions = ["112", "113"]
number_prefix = "00"
prompt = "{tmp_path}/sound.raw"
xapi = true
cdr = "connect"
cdr_peers = ["192.0.2.1"]
cdr_fields = ["historyid", "time-start"]
cdr_timezone = "Europe/Amsterdam"
[switch.numbers]
10000 = "+31201234567"
[switch.routes]
"+31201234567" = "112"
[switch.announcements]
no-credit = "{tmp_path}/sound.raw"
"""
    assert made(tmp_path, more).name == "pbx2"
