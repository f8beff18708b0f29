"""One thing each, made from its table of the configuration: a switch, a sink, tokens. `app.py` puts them together."""

import ssl
from collections.abc import Callable, Sequence
from grp import getgrnam
from pathlib import Path

from msgspec.structs import replace

from callctl.adapters.asterisk.switch import AsteriskSwitch, Contexts
from callctl.adapters.call_control.server import Local, Tcp
from callctl.adapters.call_control.switch import CallControlSwitch
from callctl.adapters.freeswitch.commands import Contexts as FreeSwitchContexts
from callctl.adapters.freeswitch.switch import FreeSwitch
from callctl.adapters.kamailio.switch import KamailioSwitch
from callctl.adapters.radius.server import Places
from callctl.adapters.radius.switch import RadiusSwitch
from callctl.adapters.radius.wire import Client
from callctl.adapters.threecx.audio import read_sound
from callctl.adapters.threecx.calls import Mode, Site
from callctl.adapters.threecx.cdr import CdrSocket
from callctl.adapters.threecx.checking import Checking
from callctl.adapters.threecx.crosscheck import FIELDS as CDR_FIELDS
from callctl.adapters.threecx.remembered import Remembered
from callctl.adapters.threecx.switch import ThreeCxSwitch
from callctl.adapters.webhook.delivery import Courier
from callctl.adapters.webhook.switch import WebhookSwitch
from callctl.call.admission import Policy
from callctl.call.events import CallEvent, Offered
from callctl.call.session import Session
from callctl.clock import SystemClock, clock_name
from callctl.control.journal import Journal
from callctl.errors import ConfigError
from callctl.http.auth import Holder, Scope, Tokens
from callctl.limits.classes import NumberLists
from callctl.limits.ids import RECOMMENDED
from callctl.ports import CdrSink, Report, SwitchAdapter
from callctl.rating.tariff import Direction
from callctl.settings import AsteriskSwitch as AsteriskSettings
from callctl.settings import CallControlSwitch as CallControlSettings
from callctl.settings import FileSink as FileSettings
from callctl.settings import FreeSwitchSwitch as FreeSwitchSettings
from callctl.settings import KamailioSwitch as KamailioSettings
from callctl.settings import MqttSink as MqttSettings
from callctl.settings import RadiusSwitch as RadiusSettings
from callctl.settings import Settings
from callctl.settings import Switch as SwitchSettings
from callctl.settings import ThreeCxSwitch as ThreeCxSettings
from callctl.settings import WebhookSwitch as WebhookSettings
from callctl.sinks.broker import Broker
from callctl.sinks.events import Events
from callctl.sinks.file import FileSink
from callctl.sinks.lines import Csv, JsonLines
from callctl.sinks.mqtt import MqttSink


def policy_of(settings: Settings) -> Policy:
    stated = settings.policy
    return Policy(
        budget_ms=stated.budget_ms,
        setup_timeout_s=stated.setup_timeout_s,
        slice_first_s=stated.slice_first_s,
        slice_max_s=stated.slice_max_s,
        longest_unattended_s=stated.longest_unattended_s,
        lease_grace_s=stated.lease_grace_s,
        blind_s=stated.blind_s if stated.postpaid == "admit" else 0,
        lists=NumberLists(
            settings.limits.high_risk_prefixes, settings.limits.premium_prefixes, settings.limits.emergency_numbers
        ),
        thresholds=RECOMMENDED if settings.limits.protection == "recommended" else None,
        clock=clock_name(),
    )


def switch_of(
    settings: SwitchSettings,
    clock: SystemClock,
    is_trunk: Callable[[str], bool],
    known: Callable[[], Sequence[Session]],
) -> SwitchAdapter:
    """`is_trunk`: whether an endpoint there is a trunk that we know; `known`: the calls that control has of it."""
    match settings:
        case AsteriskSettings():
            return _asterisk(settings, clock, is_trunk)
        case FreeSwitchSettings():
            return _freeswitch(settings, clock, is_trunk)
        case KamailioSettings():
            return _kamailio(settings, clock)
        case CallControlSettings():
            return _call_control(settings, clock)
        case RadiusSettings():
            return _radius(settings, clock)
        case ThreeCxSettings():
            return _threecx(settings, clock, is_trunk, known)
        case WebhookSettings():
            return _webhook(settings, clock)


def _asterisk(settings: AsteriskSettings, clock: SystemClock, is_trunk: Callable[[str], bool]) -> SwitchAdapter:
    return AsteriskSwitch(
        name=settings.name,
        host=settings.host,
        port=settings.port,
        username=settings.username,
        secret=settings.secret.get_secret_value(),
        clock=clock,
        announcements=settings.announcements,
        sounds=settings.sounds,
        is_trunk=is_trunk,
        contexts=Contexts(settings.dial_context, settings.refuse_context, settings.announce_context),
        tls=_client_tls(f"switch {settings.name}", settings.tls_ca) if settings.tls else None,
    )


def _freeswitch(settings: FreeSwitchSettings, clock: SystemClock, is_trunk: Callable[[str], bool]) -> SwitchAdapter:
    return FreeSwitch(
        name=settings.name,
        host=settings.host,
        port=settings.port,
        secret=settings.secret.get_secret_value(),
        clock=clock,
        user=settings.user,
        listen=(settings.listen_host, settings.listen_port) if settings.mode == "outbound" else None,
        announcements=settings.announcements,
        sounds=settings.sounds,
        is_trunk=is_trunk,
        contexts=FreeSwitchContexts(settings.dial_context, settings.refuse_context),
    )


def _kamailio(settings: KamailioSettings, clock: SystemClock) -> SwitchAdapter:
    return KamailioSwitch(
        name=settings.name,
        host=settings.host,
        port=settings.port,
        secret=settings.secret.get_secret_value(),
        clock=clock,
    )


def _call_control(settings: CallControlSettings, clock: SystemClock) -> SwitchAdapter:
    place: Local | Tcp = Local(settings.path, int(settings.mode, 8), _group_id(settings))
    if settings.tcp_host is not None:
        place = Tcp(settings.tcp_host, settings.tcp_port)
    return CallControlSwitch(
        name=settings.name,
        place=place,
        clock=clock,
        management=settings.management,
        opensips=settings.product == "opensips",
        answer_ms=settings.answer_ms,
        trusts_diverter=settings.trust_diverter,
    )


def _group_id(settings: CallControlSettings) -> int | None:
    try:
        return None if settings.group is None else getgrnam(settings.group).gr_gid
    except KeyError:
        raise ConfigError(f"switch {settings.name}.group", f"there is no group {settings.group}") from None


def _radius(settings: RadiusSettings, clock: SystemClock) -> SwitchAdapter:
    return RadiusSwitch(
        name=settings.name,
        places=Places(settings.host, settings.auth_port, settings.acct_port),
        clients=[
            Client(
                client.address,
                client.secret.get_secret_value().encode(),
                signed=client.message_authenticator,
                disconnect_port=client.disconnect_port,
            )
            for client in settings.client
        ],
        clock=clock,
        interim_s=settings.interim_s,
        password=settings.password.get_secret_value() if settings.password is not None else None,
    )


def _threecx(
    settings: ThreeCxSettings,
    clock: SystemClock,
    is_trunk: Callable[[str], bool],
    known: Callable[[], Sequence[Session]],
) -> SwitchAdapter:
    socket = None
    if settings.cdr != "none":
        peers = frozenset(settings.cdr_peers)
        socket = CdrSocket(way=settings.cdr, host=settings.cdr_host, port=settings.cdr_port, peers=peers)
    checking = Checking(
        settings.name,
        call_log=settings.xapi,
        socket=socket,
        fields=settings.cdr_fields or CDR_FIELDS,
        zone=settings.cdr_timezone,
    )
    return ThreeCxSwitch(
        name=settings.name,
        base_url=f"{'https' if settings.tls else 'http'}://{settings.host}:{settings.port}",
        client_id=settings.client_id,
        secret=settings.secret.get_secret_value(),
        clock=clock,
        site=Site(
            mode=Mode(settings.mode),
            route_point=settings.client_id,
            account=settings.account,
            extensions=frozenset(settings.extensions),
            numbers=settings.numbers,
            routes=settings.routes,
        ),
        announcements={name: read_sound(path) for name, path in settings.announcements.items()},
        prompt=read_sound(settings.prompt) if settings.prompt is not None else None,
        prefix=settings.number_prefix,
        xapi=settings.xapi,
        checking=checking if settings.xapi or socket is not None else None,
        is_trunk=is_trunk,
        known=lambda: [Remembered(it.call, it.a_number, it.b_number, it.answered) for it in known()],
        tls=_client_tls(f"switch {settings.name}", settings.tls_ca) if settings.tls else None,
    )


def _webhook(settings: WebhookSettings, clock: SystemClock) -> SwitchAdapter:
    courier = Courier(
        settings.url.get_secret_value(),
        settings.secret.get_secret_value().encode(),
        clock=clock,
        timeout_ms=settings.timeout_ms,
        tls=_client_tls(f"switch {settings.name}", settings.tls_ca) if settings.tls else None,
    )
    return WebhookSwitch(
        name=settings.name,
        courier=courier,
        clock=clock,
        extends="extended" in settings.events,
        warns="warn" in settings.events,
        carrier=settings.carrier,
    )


def leaving_by(carrier: str | None, report: Report) -> Report:
    """How a switch reports whose outbound calls leave by `carrier`, unless it says by which."""
    if carrier is None:
        return report

    def report_carrier(event: CallEvent) -> None:
        if isinstance(event, Offered) and event.direction is Direction.OUTBOUND and event.trunk_out is None:
            event = replace(event, trunk_out=carrier)
        report(event)

    return report_carrier


def sink_of(settings: FileSettings | MqttSettings, clock: SystemClock) -> CdrSink:
    if isinstance(settings, FileSettings):
        return FileSink(
            settings.name,
            settings.directory,
            Csv() if settings.format == "csv" else JsonLines(),
            rotate_bytes=settings.rotate_mb * 1_000_000,
            rotate_ms=settings.rotate_s * 1000,
            clock=clock,
        )
    return MqttSink(settings.name, _broker(settings), topic_prefix=settings.topic_prefix)


def events_of(settings: Settings, clock: SystemClock) -> list[Events]:
    """Of every broker that is told of any."""
    return [
        Events(sink.name, _broker(sink), topic_prefix=sink.topic_prefix, kinds=sink.events, clock=clock)
        for sink in settings.sink
        if isinstance(sink, MqttSettings) and sink.events
    ]


def _broker(settings: MqttSettings) -> Broker:
    return Broker(
        settings.host,
        settings.port,
        client_id=settings.client_id or f"callctl-{settings.name}",
        username=settings.username,
        password=settings.password.get_secret_value() if settings.password is not None else None,
        tls=_client_tls(f"sink {settings.name}", settings.tls_ca) if settings.tls else None,
    )


def tokens_of(settings: Settings, clock: SystemClock) -> Tokens:
    return Tokens(
        (
            (
                token.token.get_secret_value(),
                Holder(token.name, frozenset(Scope(scope) for scope in token.scopes), token.account),
            )
            for token in settings.http.token
        ),
        clock,
    )


def journal_of(settings: Settings) -> Journal:
    try:
        return Journal(settings.redis.data_dir / "journal")
    except OSError as failed:
        raise ConfigError("redis.data_dir", f"the journal cannot be kept: {failed}") from failed


def _client_tls(place: str, authorities: Path | None) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=authorities)
    except OSError as failed:  # SSLError is one
        raise ConfigError(f"{place}.tls_ca", f"{authorities}: {_reason(failed)}") from failed


def server_tls(settings: Settings) -> ssl.SSLContext | None:
    certificate, key = settings.http.tls_certificate, settings.http.tls_key
    if certificate is None:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        context.load_cert_chain(certificate, key)
    except OSError as failed:
        raise ConfigError("http.tls_certificate", f"{certificate} with tls_key {key}: {_reason(failed)}") from failed
    return context


def _reason(failed: OSError) -> str:
    return "not PEM, or not a pair" if isinstance(failed, ssl.SSLError) else failed.strerror or str(failed)
