"""The tables of the configuration file: every key, its default and its bounds. Units stand last in names."""

import re
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, SecretStr

from callctl.causes import REFUSALS


def _whole(value: Any) -> Any:
    """Of variables plain digits too; pydantic itself would also read "+9_0", 90.0 and the digits of other scripts."""
    if type(value) is int or (isinstance(value, str) and re.fullmatch("-?[0-9]+", value)):
        return value
    raise ValueError("a whole number")


def _words(value: Any) -> Any:
    return [word.strip() for word in value.split(",")] if isinstance(value, str) else value


def _matching(pattern: str, expected: str) -> AfterValidator:
    def check(value: str) -> str:
        if not re.fullmatch(pattern, value):
            raise ValueError(expected)
        return value

    return AfterValidator(check)


Whole = Annotated[int, BeforeValidator(_whole)]
Port = Annotated[Whole, Field(ge=1, le=65_535)]
Seconds = Annotated[Whole, Field(ge=1, le=86_400)]
Milliseconds = Annotated[Whole, Field(ge=1, le=60_000)]
Name = Annotated[str, _matching(r"[A-Za-z0-9][A-Za-z0-9._-]{0,39}", "1-40 letters, digits, . _ or -")]
Text = Annotated[str, _matching(r"[^\x00-\x1f\x7f]+", "text without control characters")]
Topic = Annotated[str, _matching(r"[^\x00-\x1f\x7f+#/$][^\x00-\x1f\x7f+#]*(?<!/)", "a topic without wildcards")]
Scope = Literal["call", "read", "admin"]


class Section(BaseModel):
    """A table of the file: unknown keys are errors, values never change."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class Redis(Section):
    """Where the state lives. Without `url` an embedded server keeps it under `data_dir`."""

    url: SecretStr | None = None
    url_file: Path | None = None
    data_dir: Path = Path("var")


class Token(Section):
    """Who may use the HTTP API, and for what. `account`: sees only this account and those below it."""

    name: Name
    token: Annotated[SecretStr, Field(min_length=1)]
    token_file: Path | None = None
    scopes: Annotated[tuple[Scope, ...], BeforeValidator(_words), Field(min_length=1)]
    account: Text | None = None


class Http(Section):
    """The decision and administration API. `port` 0: any that is free."""

    host: Text = "127.0.0.1"
    port: Annotated[Whole, Field(ge=0, le=65_535)] = 8080
    tls_certificate: Path | None = None
    tls_key: Path | None = None
    token: tuple[Token, ...] = ()

    @property
    def local(self) -> bool:
        """Only this machine can connect."""
        try:
            return ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"


class Policy(Section):
    """What holds for every call, and what is answered when the store does not (`docs/rules.md`, Without Redis).

    Emergency calls are always admitted, prepaid ones never; those are no settings.
    """

    budget_ms: Milliseconds = 1500
    redis_deadline_ms: Milliseconds = 500
    postpaid: Literal["refuse", "admit"] = "admit"
    blind_s: Seconds = 300
    setup_timeout_s: Seconds = 120
    slice_first_s: Seconds = 10
    slice_max_s: Seconds = 300
    longest_unattended_s: Seconds = 3600
    lease_grace_s: Seconds = 30


def _of_refusals(sounds: dict[str, str]) -> dict[str, str]:
    known = sorted({cause.announcement for cause in REFUSALS.values()})
    if unknown := sorted(sounds.keys() - set(known)):
        raise ValueError(f"names among {', '.join(known)}; {unknown[0]} is none")
    return sounds


class AsteriskSwitch(Section):
    """An Asterisk, by its manager interface. The contexts are those of `docker/asterisk/extensions.conf`.

    `announcements`: the sound file that tells of a refusal, by the name of `causes.REFUSALS`; others are told by
    their SIP status alone. `sounds`: the one that says that so many seconds are left; a beep where there is none.
    """

    name: Name
    kind: Literal["asterisk"]
    host: Text = "127.0.0.1"
    port: Port = 5038
    username: Text = "ccgate"
    secret: SecretStr
    secret_file: Path | None = None
    tls: bool = False
    tls_ca: Path | None = None
    dial_context: Text = "callctl-dial"
    refuse_context: Text = "callctl-refuse"
    announce_context: Text = "callctl-announce"
    announcements: Annotated[dict[str, Text], AfterValidator(_of_refusals)] = {}
    sounds: dict[Annotated[Whole, Field(ge=1, le=3600)], Text] = {}


class FileSink(Section):
    """CDRs as files that are complete when they get their final name."""

    name: Name
    kind: Literal["file"]
    directory: Path = Path("var/cdr")
    format: Literal["jsonl", "csv"] = "jsonl"
    rotate_mb: Annotated[Whole, Field(ge=1, le=10_000)] = 100
    rotate_s: Seconds = 3600


class MqttSink(Section):
    """CDRs to `<topic_prefix>/cdr/<account>` of an MQTT broker; `<topic_prefix>/status` tells if we live."""

    name: Name
    kind: Literal["mqtt"]
    host: Text = "127.0.0.1"
    port: Port = 1883
    username: Text | None = None
    password: SecretStr | None = None
    password_file: Path | None = None
    topic_prefix: Topic = "callctl"
    client_id: Text | None = None
    tls: bool = False
    tls_ca: Path | None = None


class Log(Section):
    """`auto`: readable on a terminal, JSON elsewhere."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["auto", "json", "text"] = "auto"


class Settings(Section):
    """Everything. `load` makes one."""

    redis: Redis = Redis()
    http: Http = Http()
    policy: Policy = Policy()
    switch: tuple[AsteriskSwitch, ...] = ()
    sink: tuple[Annotated[FileSink | MqttSink, Field(discriminator="kind")], ...] = ()
    log: Log = Log()
