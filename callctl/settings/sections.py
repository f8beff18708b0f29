"""The tables of the configuration file: every key, its default and its bounds. Units stand last in names."""

from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, SecretStr

from callctl.limits.classes import NumberLists
from callctl.settings.switches import Switch
from callctl.settings.values import (
    Dialled,
    EventKind,
    Milliseconds,
    Name,
    Port,
    Prefix,
    Scope,
    Seconds,
    Section,
    Text,
    Topic,
    Whole,
    words,
)


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
    scopes: Annotated[tuple[Scope, ...], BeforeValidator(words), Field(min_length=1)]
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


class Limits(Section):
    """What holds for all customers (`docs/limits.md`). Prefixes are digits of E.164.

    `protection`: spend thresholds of accounts that state none.
    """

    high_risk_prefixes: Annotated[tuple[Prefix, ...], BeforeValidator(words)] = NumberLists().high_risk
    premium_prefixes: Annotated[tuple[Prefix, ...], BeforeValidator(words)] = NumberLists().premium
    emergency_numbers: Annotated[tuple[Dialled, ...], BeforeValidator(words)] = ()
    protection: Literal["none", "recommended"] = "none"


class FileSink(Section):
    """CDRs as files that are complete when they get their final name."""

    name: Name
    kind: Literal["file"]
    directory: Path = Path("var/cdr")
    format: Literal["jsonl", "csv"] = "jsonl"
    rotate_mb: Annotated[Whole, Field(ge=1, le=10_000)] = 100
    rotate_s: Seconds = 3600


class MqttSink(Section):
    """CDRs to `<topic_prefix>/cdr/<account>` of an MQTT broker; `<topic_prefix>/status` tells if we live.

    `events`: what is told as it happens, too, to `<topic_prefix>/event/<kind>/<account>` (`docs/events.md`).
    """

    name: Name
    kind: Literal["mqtt"]
    host: Text = "127.0.0.1"
    port: Port = 1883
    username: Text | None = None
    password: SecretStr | None = None
    password_file: Path | None = None
    topic_prefix: Topic = "callctl"
    events: Annotated[tuple[EventKind, ...], BeforeValidator(words)] = ()
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
    limits: Limits = Limits()
    switch: tuple[Switch, ...] = ()
    sink: tuple[Annotated[FileSink | MqttSink, Field(discriminator="kind")], ...] = ()
    log: Log = Log()
