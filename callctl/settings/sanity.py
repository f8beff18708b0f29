"""The checks that look at more than one key: what cannot be, and what is allowed and yet unwise."""

from collections.abc import Iterator
from pathlib import Path

from callctl.ports import ARCHIVE
from callctl.settings.mistakes import SECRETS, Mistake, Place
from callctl.settings.sections import Settings
from callctl.settings.switches import (
    AsteriskSwitch,
    CallControlSwitch,
    FreeSwitchSwitch,
    KamailioSwitch,
    RadiusSwitch,
    ThreeCxSwitch,
    WebhookSwitch,
)
from callctl.settings.values import Section

GUESSABLE = 16  # characters
LOCAL = ("127.0.0.1", "::1", "localhost")


def contradictions(settings: Settings) -> list[Mistake]:
    """What stops the start."""
    http, policy = settings.http, settings.policy
    mistakes = []
    if not http.local and not http.token:
        where = f"{http.host} is open to the network"
        mistakes.append(Mistake(("http", "host"), f"{where} and there is no [[http.token]]"))
    if (http.tls_certificate is None) != (http.tls_key is None):
        mistakes.append(Mistake(("http", "tls_certificate"), "expected together with tls_key, or neither"))
    if policy.redis_deadline_ms > policy.budget_ms:
        mistakes.append(Mistake(("policy", "redis_deadline_ms"), "longer than budget_ms, where it must fit"))
    if policy.slice_first_s > policy.slice_max_s:
        mistakes.append(Mistake(("policy", "slice_first_s"), "longer than slice_max_s"))
    mistakes += _repeated(("switch",), [switch.name for switch in settings.switch], reserved="http")
    mistakes += _repeated(("sink",), [sink.name for sink in settings.sink], reserved=ARCHIVE)
    mistakes += _repeated(("http", "token"), [token.name for token in http.token])
    for i, switch in enumerate(settings.switch):
        if isinstance(switch, RadiusSwitch):
            mistakes += _repeated(("switch", i, "client"), [client.address for client in switch.client], key="address")
    secrets = [token.token.get_secret_value() for token in http.token]
    for i, secret in enumerate(secrets):
        if secret in secrets[:i]:
            mistakes.append(Mistake(("http", "token", i, "token"), "another's too; expected one of its own"))
    return mistakes


def _repeated(table: Place, names: list[str], reserved: str | None = None, key: str = "name") -> list[Mistake]:
    return [
        Mistake((*table, i, key), f"found {name!r}, which is taken")
        for i, name in enumerate(names)
        if name == reserved or name in names[:i]
    ]


def unwise(settings: Settings) -> list[str]:
    """What `run` logs and `doctor` shows."""
    http = settings.http
    found = []
    if not http.token:
        found.append("http.token: there is none, so nobody can use the API")
    found += [
        f"http.token {token.name}: short enough to be guessed; `openssl rand -hex 24` makes a better one"
        for token in http.token
        if len(token.token.get_secret_value()) < GUESSABLE
    ]
    if not http.local and http.tls_certificate is None:
        found.append(f"http.host: {http.host} is open to the network without TLS; put a proxy in front")
    found += [
        f"switch {switch.name}: the manager password crosses the network without TLS"
        for switch in settings.switch
        if isinstance(switch, AsteriskSwitch) and not switch.tls and switch.host not in LOCAL
    ]
    found += [
        f"switch {switch.name}: its link crosses the network in the clear; keep it in a network of your own"
        for switch in settings.switch
        if isinstance(switch, FreeSwitchSwitch | KamailioSwitch) and switch.host not in LOCAL
    ]
    found += [
        f"switch {switch.name}: without a secret everybody who can reach LINK commands its calls"
        for switch in settings.switch
        if isinstance(switch, KamailioSwitch) and not switch.secret.get_secret_value()
    ]
    found += [
        f"switch {switch.name}: the API key of the PBX crosses the network without TLS"
        for switch in settings.switch
        if isinstance(switch, ThreeCxSwitch) and not switch.tls and switch.host not in LOCAL
    ]
    found += [warning for switch in settings.switch for warning in _of_proxies_and_gateways(switch)]
    found += [
        f"{place}: everybody on this machine can read {path}; chmod 600 it"
        for place, path in _secret_files(settings)
        if readable_by_all(path)
    ]
    return found


def readable_by_all(path: Path) -> bool:
    return path.exists() and bool(path.stat().st_mode & 0o004)


def _of_proxies_and_gateways(switch: Section) -> Iterator[str]:
    if isinstance(switch, CallControlSwitch):
        if switch.management is None:
            yield f"switch {switch.name}: without management no call of it can be ended when its grant is over"
        if switch.tcp_host is None and switch.mode == "666":
            yield f"switch {switch.name}: everybody on this machine can ask at {switch.path}"
        if switch.tcp_host is not None and switch.tcp_host not in LOCAL:
            yield f"switch {switch.name}: everybody who reaches {switch.tcp_host}:{switch.tcp_port} can ask there"
    if isinstance(switch, RadiusSwitch):
        for client in switch.client:
            if len(client.secret.get_secret_value()) < GUESSABLE:
                yield f"switch {switch.name}: the secret of {client.address} is short enough to be guessed"
            if not client.message_authenticator:
                yield f"switch {switch.name}: answers to {client.address} can be forged (CVE-2024-3596)"
    if isinstance(switch, WebhookSwitch):
        if not switch.tls and switch.host not in LOCAL:
            yield f"switch {switch.name}: its url is not https: what it is told crosses the network in the clear"
        if len(switch.secret.get_secret_value()) < GUESSABLE:
            yield f"switch {switch.name}: its secret is short enough to be guessed"


def _secret_files(settings: Settings) -> list[tuple[str, Path]]:
    sections: list[tuple[str, Section]] = [("redis", settings.redis)]
    sections += [(f"http.token.{i}", token) for i, token in enumerate(settings.http.token)]
    sections += [(f"switch.{i}", switch) for i, switch in enumerate(settings.switch)]
    sections += [
        (f"switch.{i}.client.{j}", client)
        for i, switch in enumerate(settings.switch)
        if isinstance(switch, RadiusSwitch)
        for j, client in enumerate(switch.client)
    ]
    sections += [(f"sink.{i}", sink) for i, sink in enumerate(settings.sink)]
    keys = [("http.tls_key", settings.http.tls_key)]
    keys += [(f"{place}.{key}_file", getattr(s, f"{key}_file", None)) for place, s in sections for key in SECRETS]
    return [(place, path) for place, path in keys if path is not None]
