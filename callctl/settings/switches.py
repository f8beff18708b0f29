"""The `[[switch]]` tables, by their `kind`."""

import re
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Literal, TypeVar
from urllib.parse import SplitResult, urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr

from callctl.causes import REFUSALS
from callctl.settings.values import Milliseconds, Name, Port, Section, Text, Whole, matching, words

Sound = TypeVar("Sound")


def _zone(name: str) -> str:
    try:
        return ZoneInfo(name).key
    except (ZoneInfoNotFoundError, ValueError):
        raise ValueError("a time zone such as Europe/Amsterdam") from None


def _of_refusals(sounds: dict[str, Sound]) -> dict[str, Sound]:
    known = sorted({cause.announcement for cause in REFUSALS.values()})
    if unknown := sorted(sounds.keys() - set(known)):
        raise ValueError(f"names among {', '.join(known)}; {unknown[0]} is none")
    return sounds


def _one_line(secret: SecretStr) -> SecretStr:
    if not secret.get_secret_value().isprintable():
        raise ValueError("text without control characters")
    return secret


Sayable = Annotated[str, matching(r"[^\x00-\x1f\x7f;'\"\\$]+", "a file without ; $ quotes and backslashes in its name")]
Word = Annotated[str, matching(r"[^\x00-\x20\x7f]+", "text without spaces")]


class SwitchTable(Section):
    """What every switch has. `carrier`: the trunk by which its outbound calls leave, where it is always the same."""

    name: Name
    carrier: Name | None = None


class AsteriskSwitch(SwitchTable):
    """An Asterisk, by its manager interface. The contexts are those of `docker/asterisk/extensions.conf`.

    `announcements`: the sound file that tells of a refusal, by the name of `causes.REFUSALS`; others are told by
    their SIP status alone. `sounds`: the one that says that so many seconds are left; a beep where there is none.
    """

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
    announcements: Annotated[dict[str, Text], AfterValidator(_of_refusals)] = {}  # noqa: RUF012  pydantic copies it
    sounds: dict[Annotated[Whole, Field(ge=1, le=3600)], Text] = {}  # noqa: RUF012


class FreeSwitchSwitch(SwitchTable):
    """A FreeSWITCH, by its event socket. The contexts are those of `docker/freeswitch/callctl.dialplan.xml`.

    `user`: an esl-user of its directory (`callctl@example.org`); without one the socket's own password is used.
    `mode`: `inbound`, calls are parked; `outbound`, the dialplan's `socket` application tells of them, at
    `listen_host` and `listen_port`. `announcements` and `sounds`: as of an Asterisk.
    """

    kind: Literal["freeswitch"]
    host: Text = "127.0.0.1"
    port: Port = 8021
    user: Annotated[str, matching(r"([^\x00-\x20\x7f:@]+@[^\x00-\x20\x7f:@]+)?", "user@domain")] = ""
    secret: Annotated[SecretStr, AfterValidator(_one_line)]
    secret_file: Path | None = None
    mode: Literal["inbound", "outbound"] = "inbound"
    listen_host: Text = "127.0.0.1"
    listen_port: Port = 8083
    dial_context: Word = "callctl-dial"
    refuse_context: Word = "callctl-refuse"
    announcements: Annotated[dict[str, Sayable], AfterValidator(_of_refusals)] = {}  # noqa: RUF012
    sounds: dict[Annotated[Whole, Field(ge=1, le=3600)], Word] = {}  # noqa: RUF012


class KamailioSwitch(SwitchTable):
    """A Kamailio, by its evapi. `secret` is LINK_SECRET of `docker/kamailio/kamailio.cfg`; empty: none is asked for."""

    kind: Literal["kamailio"]
    host: Text = "127.0.0.1"
    port: Port = 8448
    secret: SecretStr = SecretStr("")
    secret_file: Path | None = None


class CallControlSwitch(SwitchTable):
    """Proxies with the `call_control` module, which connect to us: at `path`, or at `tcp_host` and `tcp_port`.

    `mode` and `group`: who may connect to the path. `management`: the proxy's JSON-RPC datagram socket, without which
    no call can be ended. `answer_ms`: shorter than the module's socket_timeout. `trust_diverter`: the diverter pays.
    """

    kind: Literal["call_control"]
    product: Literal["kamailio", "opensips"] = "kamailio"
    path: Path = Path("/run/callcontrol/socket")
    mode: Literal["600", "660", "666"] = "660"
    group: Text | None = None
    tcp_host: Text | None = None
    tcp_port: Port = 9024
    management: Path | None = None
    answer_ms: Milliseconds = 400
    trust_diverter: bool = False


class RadiusClient(Section):
    """A NAS, by its source address. `message_authenticator`: it must sign what it asks."""

    address: Annotated[str, AfterValidator(lambda text: str(ip_address(text)))]
    secret: Annotated[SecretStr, Field(min_length=1)]
    secret_file: Path | None = None
    message_authenticator: bool = True
    disconnect_port: Port = 3799


class RadiusSwitch(SwitchTable):
    """Gateways that ask and report by RADIUS. `password`: what they send as a User-Password, where they send one."""

    kind: Literal["radius"]
    host: Text = "127.0.0.1"
    auth_port: Port = 1812
    acct_port: Port = 1813
    interim_s: Annotated[Whole, Field(ge=5, le=3600)] = 60
    password: SecretStr | None = None
    password_file: Path | None = None
    client: Annotated[tuple[RadiusClient, ...], Field(min_length=1)]


class ThreeCxSwitch(SwitchTable):
    """A 3CX, by its Call Control API. `client_id` is also the DN of the route point.

    `account`: who pays for its calls, where neither a trunk nor a number tells. `extensions`: those to look at; empty:
    all that the API client may see. `numbers`: the number called, by extension or trunk, of inbound calls without a
    DID. `routes`: where the route point sends the calls to a number of ours. `number_prefix`: what the PBX's outbound
    rules want in front of a country code. `cdr_fields`: the columns of its CDR lines, if not the usual ones.
    """

    kind: Literal["threecx"]
    host: Text = "127.0.0.1"
    port: Port = 443
    tls: bool = True
    tls_ca: Path | None = None
    client_id: Annotated[str, matching(r"[A-Za-z0-9._*#+-]{1,64}", "the DN of a route point")]
    secret: SecretStr
    secret_file: Path | None = None
    mode: Literal["route_point", "observe"] = "route_point"
    account: Text | None = None
    extensions: Annotated[tuple[Text, ...], BeforeValidator(words)] = ()
    numbers: dict[str, Text] = {}  # noqa: RUF012
    routes: dict[str, Text] = {}  # noqa: RUF012
    number_prefix: Annotated[str, matching(r"[0-9*#+]{0,8}", "keys of a telephone, or nothing")] = "+"
    announcements: Annotated[dict[str, Path], AfterValidator(_of_refusals)] = {}  # noqa: RUF012
    prompt: Path | None = None
    xapi: bool = False
    cdr: Literal["none", "listen", "connect"] = "none"
    cdr_host: Text = "127.0.0.1"
    cdr_port: Port = 5015
    cdr_peers: Annotated[tuple[Text, ...], BeforeValidator(words)] = ()
    cdr_fields: Annotated[tuple[Text, ...], BeforeValidator(words)] = ()
    cdr_timezone: Annotated[str, AfterValidator(_zone)] = "UTC"


def _wanted(events: tuple[str, ...]) -> tuple[str, ...]:
    if "hang_up" not in events:
        raise ValueError("hang_up among them")
    if "warn" in events and "extended" not in events:
        raise ValueError("extended beside warn: only calls that callctl extends are warned of")
    return events


def _receiver(url: SecretStr) -> SecretStr:
    try:
        told = urlsplit(url.get_secret_value())
        good = told.scheme in ("http", "https") and told.hostname and told.port != 0 and not told.fragment
    except ValueError:
        good = False
    if not good or "@" in told.netloc or not re.fullmatch("[!-~]+", url.get_secret_value()):
        raise ValueError("https://host/path, without a password")
    return url


class WebhookSwitch(SwitchTable):
    """Whatever authorizes its calls over HTTP under this name, and can be told of them at `url`.

    `events`: what it is told. With `extended` callctl extends its calls by itself. `secret`: signs what it is told.
    """

    kind: Literal["webhook"]
    url: Annotated[SecretStr, AfterValidator(_receiver)]
    url_file: Path | None = None
    secret: Annotated[SecretStr, Field(min_length=1)]
    secret_file: Path | None = None
    tls_ca: Path | None = None
    timeout_ms: Milliseconds = 2_000
    events: Annotated[
        tuple[Literal["hang_up", "extended", "warn"], ...], BeforeValidator(words), AfterValidator(_wanted)
    ] = ("hang_up",)

    @property
    def tls(self) -> bool:
        return self._place.scheme == "https"

    @property
    def host(self) -> str:
        return self._place.hostname or ""

    @property
    def port(self) -> int:
        return self._place.port or (443 if self.tls else 80)

    @property
    def _place(self) -> SplitResult:
        return urlsplit(self.url.get_secret_value())


SWITCHES: tuple[type[Section], ...] = (
    AsteriskSwitch,
    FreeSwitchSwitch,
    KamailioSwitch,
    CallControlSwitch,
    RadiusSwitch,
    ThreeCxSwitch,
    WebhookSwitch,
)
Switch = Annotated[
    AsteriskSwitch
    | FreeSwitchSwitch
    | KamailioSwitch
    | CallControlSwitch
    | RadiusSwitch
    | ThreeCxSwitch
    | WebhookSwitch,
    Field(discriminator="kind"),
]
"""One of `SWITCHES`, told by its kind."""

LISTENING = (CallControlSwitch, RadiusSwitch)
"""Those that connect to us."""
