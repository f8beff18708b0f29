"""Settings: the example says the defaults, every mistake is named with its place, no secret is ever shown."""

import re
from pathlib import Path
from typing import get_args

import pytest

from callctl.call.news import Kind
from callctl.errors import ConfigError
from callctl.settings import Settings, load, warnings
from callctl.settings.values import EventKind

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "config/callctl.example.toml"
TOKEN = '[[http.token]]\nname = "ops"\ntoken = "0123456789abcdef"\nscopes = ["read"]\n'
THREECX = '[[switch]]\nname = "pbx2"\nkind = "threecx"\nclient_id = "900"\nsecret = "s"\n'
FREESWITCH = '[[switch]]\nname = "fs1"\nkind = "freeswitch"\nsecret = "s"\n'
KAMAILIO = '[[switch]]\nname = "sbc1"\nkind = "kamailio"\n'
CALL_CONTROL = '[[switch]]\nname = "sbc2"\nkind = "call_control"\n'
NAS = '[[switch.client]]\naddress = "192.0.2.7"\nsecret = "not to be guessed"\n'
RADIUS = f'[[switch]]\nname = "gateways"\nkind = "radius"\n{NAS}'
WEBHOOK = (
    '[[switch]]\nname = "sbc3"\nkind = "webhook"\nurl = "https://192.0.2.8/callctl"\nsecret = "not to be guessed"\n'
)
MQTT = '[[sink]]\nname = "broker"\nkind = "mqtt"\n'
SWITCH = '[[switch]]\nname = "pbx1"\nkind = "asterisk"\nsecret = "s3cret-of-pbx1"\n'


@pytest.fixture
def configure(tmp_path: Path):
    def write(text: str, **environ: str) -> Settings:
        file = tmp_path / "callctl.toml"
        file.write_text(text, "utf-8")
        return load(file, {f"CALLCTL_{key}": value for key, value in environ.items()})

    return write


@pytest.fixture
def complaint(configure):
    def read(text: str, **environ: str) -> str:
        with pytest.raises(ConfigError) as raised:
            configure(text, **environ)
        return str(raised.value)

    return read


def test_the_example_says_the_defaults() -> None:
    assert load(EXAMPLE, {}) == Settings()


def test_the_example_names_every_key() -> None:
    text = EXAMPLE.read_text()
    keys = set(re.findall(r"^(?:# )?(?:\[switch\.)?([a-z_]+)(?: = |\])", text, re.MULTILINE))
    tables = Settings.model_json_schema()["$defs"].values()
    wanted = {key for table in tables for key in table["properties"]} - {"token"}
    wanted -= {"secret", "password"}  # the example shows their files
    assert wanted - {"switch", "client", "sink", "http", "redis", "log", "policy"} <= keys


def test_the_commented_lines_of_the_example_are_true(configure, tmp_path: Path) -> None:
    """Uncommented, with files that exist, each default in them is the default."""
    for name in re.findall(r'_file = "/etc/callctl/([^"]+)"', EXAMPLE.read_text()):
        (tmp_path / name).write_text(f"{name} {name}\n")
    lines = [re.sub(r"^# (?=\[|[a-z0-9_-]+ = )", "", line) for line in EXAMPLE.read_text().splitlines()]
    text = "\n".join(line for line in lines if not line.startswith('url = "redis'))
    settings = configure(text.replace("/etc/callctl", str(tmp_path)))
    bare = configure(
        SWITCH
        + FREESWITCH
        + KAMAILIO
        + CALL_CONTROL
        + RADIUS
        + WEBHOOK
        + THREECX
        + '[[sink]]\nname = "billing"\nkind = "file"\n'
        + MQTT
    )
    unlike = {"carrier", "tls_ca", "username", "user", "client_id", "announcements", "sounds"}
    unlike |= {"account", "extensions", "prompt", "cdr_peers", "cdr_fields", "numbers", "routes"}
    unlike |= {"secret", "secret_file", "password", "password_file", "group", "tcp_host", "management", "client"}
    both = *zip(settings.switch, bare.switch, strict=True), *zip(settings.sink, bare.sink, strict=True)
    for full, default in both:
        assert full.model_dump(exclude=unlike) == default.model_dump(exclude=unlike)
    assert settings.switch[0].username == bare.switch[0].username == "ccgate"


def test_no_file_at_all_is_the_defaults(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert load(None, {}) == Settings()


def test_the_usual_file_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "config").mkdir()
    (tmp_path / "config/callctl.toml").write_text("http.port = 9001")
    monkeypatch.chdir(tmp_path)
    assert load(None, {}).http.port == 9001


@pytest.mark.parametrize(
    ("text", "place", "expected"),
    [
        ('[http]\nport = "abc"', "http.port: found 'abc'", "a whole number"),
        ("[http]\nport = -1", "http.port: found -1", "greater than or equal to 0"),
        ("[http]\nport = 65536", "http.port: found 65536", "less than or equal to 65535"),
        ("[http]\nport = true", "http.port: found True", "whole number"),
        ("[http]\nport = 80.0", "http.port: found 80.0", "a whole number"),
        ('[policy]\nblind_s = "+60"', "policy.blind_s: found '+60'", "a whole number"),
        ('[policy]\nblind_s = "6_0"', "policy.blind_s: found '6_0'", "a whole number"),
        ('[policy]\nblind_s = "\\uff16"', "policy.blind_s", "a whole number"),
        ("[http]\nhots = 1", "http.hots: unknown key", "did you mean host?"),
        ("[redsi]", "redsi: unknown key", "did you mean redis?"),
        ("[log]\nquux = 1", "log.quux: unknown key", "one of level, format"),
        ('[log]\nlevel = "loud"', "log.level: found 'loud'", "'debug', 'info', 'warning' or 'error'"),
        ("[policy]\nbudget_ms = 0", "policy.budget_ms: found 0", "greater"),
        ('[policy]\npostpaid = "maybe"', "policy.postpaid: found 'maybe'", "'refuse' or 'admit'"),
        ("[policy]\nredis_deadline_ms = 1501", "policy.redis_deadline_ms", "budget_ms"),
        ("[policy]\nslice_first_s = 301", "policy.slice_first_s", "slice_max_s"),
        ("policy = 5", "policy", "a table [policy]"),
        ('[switch]\nname = "a"', "switch", "[[switch]] tables"),
        ('[[sink]]\nname = "a"\nkind = "postgres"', "sink.0.kind: postgres", "not in this version"),
        ('[[switch]]\nname = "a"\nkind = "cisco"', "switch.0.kind: found 'cisco'", "asterisk"),
        ('[[switch]]\nname = "a"\nkind = ["radius"]', "switch.0.kind: found ['radius']", "asterisk"),
        ('[[switch]]\nname = "a"\nsecret = "s"', "switch.0.kind: missing", "asterisk"),
        ('[[switch]]\nname = "a"\nkind = "asterisk"', "switch.0.secret: missing", "secret or secret_file"),
        (SWITCH + SWITCH, "switch.1.name: found 'pbx1'", "taken"),
        (SWITCH.replace("pbx1", "http"), "switch.0.name: found 'http'", "taken"),
        (SWITCH.replace('"pbx1"', '"a b"'), "switch.0.name: found 'a b'", "letters"),
        (SWITCH + 'tls = "perhaps"', "switch.0.tls: found 'perhaps'", "boolean"),
        (SWITCH + 'dial_context = "a\\r\\nAction: x"', "switch.0.dial_context", "control characters"),
        (SWITCH + '[switch.announcements]\nno-money = "x"', "switch.0.announcements", "no-money is none"),
        (SWITCH + '[switch.sounds]\nsoon = "x"', "switch.0.sounds.soon", "a whole number"),
        (SWITCH + '[switch.sounds]\n0 = "x"', "switch.0.sounds.0", "greater"),
        ('[[sink]]\nname = "a"\nkind = "webhook"', "sink.0.kind: webhook", "not in this version"),
        ('[[sink]]\nname = "a"', "sink.0.kind: missing", "file or mqtt"),
        ('[[sink]]\nname = "api"\nkind = "file"', "sink.0.name: found 'api'", "taken"),
        (
            '[[sink]]\nname = "a"\nkind = "file"\nformat = "xml"',
            "sink.0.format: found 'xml'",
            "'jsonl' or 'csv'",
        ),
        ('[[sink]]\nname = "a"\nkind = "file"\nhost = "b"', "sink.0.host: unknown key", ""),
        ('[[sink]]\nname = "a"\nkind = "mqtt"\ntopic_prefix = "a/#"', "sink.0.topic_prefix", "wildcards"),
        ('[[sink]]\nname = "a"\nkind = "mqtt"\ntopic_prefix = "$SYS"', "sink.0.topic_prefix", "wildcards"),
        (
            MQTT + 'events = ["admited"]',
            "sink.0.events.0: found 'admited'",
            "'admitted', 'refused', 'answered', 'warned'",
        ),
        (MQTT + 'events = "all"', "sink.0.events.0: found 'all'", "'ids_alert', 'emergency_call' or 'low_balance'"),
        (MQTT + "events = true", "sink.0.events", "expected a list"),
        (MQTT + 'event = ["ended"]', "sink.0.event: unknown key", "did you mean events?"),
        ('[[sink]]\nname = "a"\nkind = "file"\nevents = []', "sink.0.events: unknown key", "it is one of kind mqtt"),
        ('[http]\nhost = "0.0.0.0"', "http.host: 0.0.0.0 is open", "[[http.token]]"),
        ('[http]\ntls_key = "k"', "http.tls_certificate", "together"),
        (
            TOKEN.replace('"read"', '"root"'),
            "http.token.0.scopes.0: found 'root'",
            "'call', 'read' or 'admin'",
        ),
        (TOKEN.replace('["read"]', "[]"), "http.token.0.scopes", "at least 1"),
        (TOKEN + TOKEN.replace("ops", "b"), "http.token.1.token", "one of its own"),
        (TOKEN + TOKEN.replace("0123", "x"), "http.token.1.name: found 'ops'", "taken"),
        ("[http", "callctl.toml: not TOML", "Expected"),
    ],
)
def test_a_mistake_is_named_with_its_place(complaint, text: str, place: str, expected: str) -> None:
    message = complaint(text)
    assert place in message
    assert expected in message
    assert "callctl.toml" in message
    assert "\n" not in message, "one mistake, one line"


def test_an_unknown_key_of_a_switch_is_told_the_keys_of_its_kind(complaint) -> None:
    message = complaint(FREESWITCH + "quux = 1")
    assert "listen_port" in message
    assert "disconnect_port" not in message
    assert message.count("secret_file") == 1


def test_what_is_wrong_in_a_table_is_told_once(complaint) -> None:
    message = complaint('[[switch]]\nname = "g"\nkind = "radius"\n[[switch.client]]\nsecret = "not to be guessed"')
    assert message.endswith("switch.0.client.0.address: missing; expected address")


def test_all_mistakes_at_once(complaint) -> None:
    message = complaint('[http]\nport = -1\n[log]\nlevel = 1\n[[sink]]\nname = "a"\nkind = "stream"\n')
    assert [line.split(":")[0].strip() for line in message.splitlines()[1:]] == [
        "http.port",
        "sink.0.kind",
        "log.level",
    ]


def test_an_absent_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nowhere\.toml: No such file"):
        load(tmp_path / "nowhere.toml", {})


def test_the_environment_wins_over_the_file(configure) -> None:
    settings = configure(
        "[http]\nport = 9000\n" + SWITCH + TOKEN,
        HTTP__PORT="9001",
        LOG__LEVEL="debug",
        SWITCH__0__HOST="10.0.0.5",
        SWITCH__0__TLS="true",
        HTTP__TOKEN__0__SCOPES="call, admin",
        TOKEN="of the command line",
        URL="of the command line",
    )
    assert settings.http.port == 9001
    assert settings.log.level == "debug"
    assert (settings.switch[0].host, settings.switch[0].tls, settings.switch[0].port) == (
        "10.0.0.5",
        True,
        5038,
    )
    assert settings.http.token[0].scopes == ("call", "admin")


def test_the_environment_makes_tables(configure) -> None:
    eleven = {f"SINK__{i}__{key}": value for i in range(11) for key, value in (("KIND", "file"), ("NAME", f"s{i}"))}
    assert [sink.name for sink in configure("", **eleven).sink] == [f"s{i}" for i in range(11)]


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("HTTP__PORT", "x"),
        ("HTP__PORT", "1"),
        ("SWITCH__5__HOST", "h"),
        ("SWITCH__X__HOST", "h"),
        ("HTTP__PORT__LOW", "1"),
        ("LOG__0", "1"),
        ("LOG", "1"),
        ("", "1"),
    ],
)
def test_a_wrong_variable_is_named(complaint, variable: str, value: str) -> None:
    assert f"CALLCTL_{variable}: " in complaint("[http]\nport = 1\n", **{variable: value})


def test_secrets_come_from_files(configure, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text(" with spaces \n")
    secret.chmod(0o600)
    text = f'[redis]\nurl_file = "{secret}"\n' + SWITCH.replace("secret =", "secret_file =").replace(
        "s3cret-of-pbx1", str(secret)
    )
    settings = configure(text, SINK__0__KIND="mqtt", SINK__0__NAME="m", SINK__0__PASSWORD_FILE=str(secret))
    assert settings.switch[0].secret.get_secret_value() == " with spaces "
    assert settings.redis.url is not None
    assert settings.sink[0].password.get_secret_value() == " with spaces "  # type: ignore[union-attr]
    assert not any("everybody" in warning for warning in warnings(settings))


def test_a_secret_and_its_file_contradict_each_other(complaint) -> None:
    message = complaint(SWITCH + 'secret_file = "x"')
    assert "switch.0.secret_file: given beside secret; expected one of them" in message


def test_an_unreadable_secret_file_is_named(complaint) -> None:
    message = complaint(SWITCH.replace("secret =", "secret_file ="))
    assert "switch.0.secret_file: cannot read s3cret-of-pbx1: No such file" in message
    assert "\n" not in message


@pytest.mark.parametrize(
    "text",
    [
        SWITCH + "port = 0",
        SWITCH.replace('"s3cret-of-pbx1"', '["s3cret-of-pbx1"]'),
        SWITCH.replace("secret", "secrte"),
        '[redis]\nurl = ["s3cret-of-pbx1"]',
        'redis = "redis://:s3cret-of-pbx1@host"',
        'http.token = "s3cret-of-pbx1"',
        SWITCH.replace("[[switch]]", "[switch]"),
        '[[switch]]\nname = "g"\nkind = "radius"\n[[switch.client]]\nsecret = "s3cret-of-pbx1"',
        '[[switch]]\nname = "g"\nkind = "radius"\nclient = {secret = "s3cret-of-pbx1"}',
    ],
)
def test_no_message_shows_a_secret(complaint, text: str) -> None:
    assert "s3cret-of-pbx1" not in complaint(text)


def test_no_representation_shows_a_secret(configure) -> None:
    settings = configure(SWITCH + TOKEN + '[redis]\nurl = "redis://:0123456789abcdef@h"\n')
    for text in (repr(settings), str(settings), settings.model_dump_json()):
        assert "s3cret-of-pbx1" not in text
        assert "0123456789abcdef" not in text


def test_settings_are_frozen(configure) -> None:
    with pytest.raises(ValueError, match="frozen"):
        configure("").http.port = 1


@pytest.mark.parametrize(
    ("text", "warning"),
    [
        ("", "http.token: there is none"),
        (TOKEN.replace("0123456789abcdef", "short"), "http.token ops: short enough"),
        ('[http]\nhost = "10.0.0.1"\n' + TOKEN, "without TLS"),
        (SWITCH + 'host = "10.0.0.1"', "switch pbx1: the manager password"),
        (KAMAILIO + 'host = "10.0.0.1"\nsecret = "s"', "switch sbc1: its link crosses the network in the clear"),
        (FREESWITCH + 'host = "10.0.0.1"\n', "switch fs1: its link crosses the network in the clear"),
        (KAMAILIO, "switch sbc1: without a secret"),
        (CALL_CONTROL, "switch sbc2: without management no call of it can be ended"),
        (CALL_CONTROL + 'mode = "666"', "switch sbc2: everybody on this machine can ask at /run/callcontrol/socket"),
        (CALL_CONTROL + 'tcp_host = "10.0.0.1"', "switch sbc2: everybody who reaches 10.0.0.1:9024"),
        (RADIUS.replace("not to be guessed", "short"), "switch gateways: the secret of 192.0.2.7 is short"),
        (WEBHOOK.replace("https", "http"), "switch sbc3: its url is not https"),
        (WEBHOOK.replace("not to be guessed", "short"), "switch sbc3: its secret is short enough"),
        (RADIUS + "message_authenticator = false", "switch gateways: answers to 192.0.2.7 can be forged"),
    ],
)
def test_the_unwise_is_warned_of(configure, text: str, warning: str) -> None:
    assert any(warning in line for line in warnings(configure(text)))


def test_a_secret_that_everybody_can_read_is_warned_of(configure, tmp_path: Path) -> None:
    secret = tmp_path / "token"
    secret.write_text("0123456789abcdef")
    secret.chmod(0o644)
    settings = configure(f'[[http.token]]\nname = "a"\nscopes = ["read"]\ntoken_file = "{secret}"')
    assert warnings(settings) == [f"http.token.0.token_file: everybody on this machine can read {secret}; chmod 600 it"]


@pytest.mark.parametrize(
    ("text", "mode", "told"),
    [
        (TOKEN, 0o644, True),
        (TOKEN, 0o640, False),
        ('[redis]\nurl = "redis://:s3cret@127.0.0.1"', 0o604, True),
        ('[redis]\nurl = "redis://127.0.0.1"', 0o644, False),
        ("http.port = 9001", 0o644, False),
    ],
)
def test_secrets_in_a_file_that_everybody_can_read_are_warned_of(
    tmp_path: Path, text: str, mode: int, told: bool
) -> None:
    file = tmp_path / "callctl.toml"
    file.write_text(text)
    file.chmod(mode)
    warning = f"{file}: everybody on this machine can read the secrets in it; chmod 600 it"
    assert (warning in warnings(load(file, {}), file)) is told


def test_a_private_key_that_everybody_can_read_is_warned_of(configure, tmp_path: Path) -> None:
    key = tmp_path / "tls.key"
    key.touch()
    key.chmod(0o644)
    settings = configure(f'{TOKEN}[http]\ntls_certificate = "c"\ntls_key = "{key}"')
    assert warnings(settings) == [f"http.tls_key: everybody on this machine can read {key}; chmod 600 it"]


def test_a_wise_configuration_has_no_warnings(configure) -> None:
    proxy = CALL_CONTROL + 'management = "/run/rpc.sock"\n'
    assert warnings(configure(TOKEN + SWITCH + proxy + RADIUS + WEBHOOK)) == []
    for host in ("127.0.0.1", "[::1]:8090", "localhost"):
        here = WEBHOOK.replace("https://192.0.2.8", f"http://{host}")
        assert warnings(configure(TOKEN + here)) == []


def test_events_are_told_when_their_kinds_are_named(configure) -> None:
    assert configure(MQTT).sink[0].events == ()
    assert configure(MQTT + 'events = ["ended", "low_balance"]').sink[0].events == ("ended", "low_balance")
    assert configure(MQTT, SINK__0__EVENTS=",".join(Kind)).sink[0].events == tuple(Kind)
    assert get_args(EventKind) == tuple(Kind)


def test_a_nas_is_one_client_by_its_address(complaint, configure) -> None:
    assert "switch.0.client: missing" in complaint(RADIUS.replace(NAS, ""))
    assert "switch.0.client.1.address: found '192.0.2.7', which is taken" in complaint(RADIUS + NAS)
    assert "switch.0.client.0.address: found 'nas'" in complaint(RADIUS.replace("192.0.2.7", "nas"))
    assert "did you mean address?" in complaint(RADIUS + 'adress = "::1"')
    assert configure(RADIUS.replace("192.0.2.7", "2001:DB8:0::7")).switch[0].client[0].address == "2001:db8::7"


@pytest.mark.parametrize(
    "url",
    [
        "", "192.0.2.8/callctl", "ftp://192.0.2.8/", "https://", "https:///callctl", "https://u:p@192.0.2.8/", "https://h:0/",
        "https://h:99999/", "https://h/a b", "https://h/\\n", "https://[::1/", "https://h/#x", "https://h/\u00e9",
    ],
)  # fmt: skip
def test_where_a_webhook_is_not_sent_to(complaint, url: str) -> None:
    told = complaint(WEBHOOK.replace("https://192.0.2.8/callctl", url))
    assert "switch.0.url: expected https://host/path, without a password" in told
    assert "found" not in told


@pytest.mark.parametrize(
    ("events", "expected"),
    [
        ("[]", "hang_up among them"),
        ('["extended"]', "hang_up among them"),
        ('["hang_up", "warn"]', "extended beside warn"),
        ('["hang_up", "answered"]', "'hang_up', 'extended' or 'warn'"),
    ],
)
def test_what_a_webhook_cannot_be_told(complaint, events: str, expected: str) -> None:
    assert expected in complaint(WEBHOOK + f"events = {events}")


def test_a_webhook_has_a_url_and_a_secret(complaint, configure) -> None:
    assert "switch.0.url: missing; expected url or url_file" in complaint(WEBHOOK.replace("url =", "# url ="))
    assert "switch.0.secret: missing" in complaint(WEBHOOK.replace("secret =", "# secret ="))
    assert "switch.0.secret" in complaint(WEBHOOK.replace("not to be guessed", ""))
    settings = configure(WEBHOOK, SWITCH__0__EVENTS="hang_up, extended")
    assert settings.switch[0].events == ("hang_up", "extended")
    for shown in (repr(settings), settings.model_dump_json()):
        assert "192.0.2.8" not in shown
        assert "guessed" not in shown


def test_sounds_by_their_seconds_from_the_environment(configure) -> None:
    settings = configure(SWITCH, SWITCH__0__SOUNDS__30="callctl/half-a-minute", SWITCH__0__SOUNDS__60="one-minute")
    assert settings.switch[0].sounds == {30: "callctl/half-a-minute", 60: "one-minute"}


@pytest.mark.parametrize(
    ("line", "place", "expected"),
    [
        ('user = "callctl"', "switch.0.user", "user@domain"),
        ('secret = "a\\nb"', "switch.0.secret", "without control characters"),
        ('dial_context = "a b"', "switch.0.dial_context", "without spaces"),
        ('mode = "both"', "switch.0.mode", "'inbound' or 'outbound'"),
        ('announcements = {no-credit = "a;b"}', "switch.0.announcements.no-credit", "without ; $"),
        ('announcements = {no-credits = "a"}', "switch.0.announcements", "no-credits is none"),
        ('sounds = {60 = "a b"}', "switch.0.sounds.60", "without spaces"),
    ],
)
def test_what_a_freeswitch_would_misread_is_no_setting(complaint, line: str, place: str, expected: str) -> None:
    table = FREESWITCH.replace('secret = "s"\n', "") if line.startswith("secret") else FREESWITCH
    message = complaint(f"{table}{line}\n")
    assert f"{place}: " in message
    assert expected in message
    assert "a\nb" not in message
