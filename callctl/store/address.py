"""Where a Redis server is, as a URL says it."""

import ssl
from collections.abc import Mapping
from urllib.parse import parse_qsl, unquote, urlsplit

import msgspec

from callctl.errors import ConfigError

_SCHEMES = ("redis", "rediss", "unix")


class Address(msgspec.Struct, frozen=True):
    """One server. `path` is its Unix socket, then `host` and `port` mean nothing. Shown without its password."""

    host: str = "127.0.0.1"
    port: int = 6379
    path: str | None = None
    username: str | None = None
    password: str | None = None
    db: int = 0
    tls: ssl.SSLContext | None = None

    def __str__(self) -> str:
        place = self.path or (f"[{self.host}]" if ":" in self.host else self.host) + f":{self.port}"
        return f"redis at {place}"

    __repr__ = __str__


def parse_address(url: str) -> Address:
    """`redis://[user:password@]host[:port][/db]`, `rediss://` with TLS, or `unix:///path/of/socket?db=0`.

    With TLS, `ssl_ca_certs=FILE` names the authorities to trust instead of the system's. ConfigError otherwise;
    it does not repeat the URL, which may hold a password.
    """
    try:
        parts = urlsplit(url)
        options = dict(parse_qsl(parts.query, strict_parsing=True)) if parts.query else {}
        allowed = {"db"} if parts.scheme == "unix" else {"ssl_ca_certs"} if parts.scheme == "rediss" else set()
        if parts.scheme not in _SCHEMES or options.keys() - allowed:
            raise ValueError
        unix = parts.scheme == "unix"
        db = options.get("db", "0") if unix else parts.path.strip("/") or "0"
        return Address(
            host=parts.hostname or "127.0.0.1",
            port=parts.port or 6379,
            path=unquote(parts.path) if unix else None,
            username=unquote(parts.username) if parts.username else None,
            password=unquote(parts.password) if parts.password else None,
            db=_database(db),
            tls=_tls(options) if parts.scheme == "rediss" else None,
        )
    except ValueError:
        expected = "redis://[user:password@]host[:port][/db], rediss://... or unix:///path?db=0"
        raise ConfigError("redis.url", f"expected {expected}") from None


def _database(text: str) -> int:
    if not text.isdecimal():
        raise ValueError
    return int(text)


def _tls(options: Mapping[str, str]) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=options.get("ssl_ca_certs"))
    except OSError as error:
        raise ConfigError("redis.url", f"ssl_ca_certs cannot be read: {error.strerror}") from error
