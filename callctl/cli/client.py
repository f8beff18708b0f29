"""The running daemon as the commands see it: its HTTP API, one request at a time."""

import argparse
import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode, urlsplit

from callctl.cli.exits import SaidNoError, UnreachableError, WrongUseError
from callctl.errors import ConfigError
from callctl.printable import printable

if TYPE_CHECKING:
    from http.client import HTTPConnection, HTTPResponse
    from ssl import SSLContext

_TIMEOUT_S = 30
_UPLOAD_TIMEOUT_S = 300
_CHUNK = 65_536

Json = dict[str, Any]


def configuration_option() -> argparse.ArgumentParser:
    """A parent parser: where the configuration is."""
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument(
        "-c", "--config", type=Path, metavar="FILE", help="default: config/callctl.toml where it exists"
    )
    return parser


def json_option() -> argparse.ArgumentParser:
    """A parent parser: for machines."""
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--json", action="store_true", help="print JSON instead of text for people")
    return parser


def client_options() -> argparse.ArgumentParser:
    """A parent parser: everything that a command needs to talk to the daemon."""
    parser = argparse.ArgumentParser(add_help=False, parents=[configuration_option(), json_option()])
    parser.add_argument("--url", help="of the daemon; default: $CALLCTL_URL, else from the configuration")
    parser.add_argument("--token", help="default: $CALLCTL_TOKEN, else the most powerful one of the configuration")
    return parser


def count(text: str) -> int:
    """An option that is a whole number, 0 or more."""
    if not text.isascii() or not text.isdigit():
        raise ValueError(text)
    return int(text)


class Client:
    """Raises SaidNoError for every answer that is not 200, UnreachableError where none comes.

    `certificate`: the PEM file of the one certificate that is trusted; by default whatever the system trusts.
    """

    def __init__(self, url: str, token: str | None, certificate: Path | None = None) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise WrongUseError(f"--url {url}: http://HOST:PORT is expected")
        self.url = url.rstrip("/")
        self._parts = parts
        self._token = token
        self._certificate = certificate

    @classmethod
    def of(cls, arguments: argparse.Namespace) -> "Client":
        """As the options, the environment or the configuration say, in this order."""
        url = arguments.url or os.environ.get("CALLCTL_URL")
        token = arguments.token or os.environ.get("CALLCTL_TOKEN")
        certificate = None
        if url is None or token is None:
            from callctl.settings import load

            http = load(arguments.config).http
            if url is None:
                host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(http.host, http.host)  # noqa: S104
                scheme = "https" if http.tls_certificate else "http"
                url = f"{scheme}://{f'[{host}]' if ':' in host else host}:{http.port}"
                certificate = http.tls_certificate  # a self-signed one, or for a name that is not `host`, will do
            ranked = sorted(http.token, key=lambda it: (it.account is None, len(it.scopes)))
            if token is None and ranked:
                token = ranked[-1].token.get_secret_value()
        return cls(url, token, certificate)

    def get(self, path: str, **query: object) -> Json:
        return self._json("GET", path, query=query)

    def post(self, path: str, body: Json) -> Json:
        return self._json("POST", path, json.dumps(body).encode())

    def put(self, path: str, body: Json, **query: object) -> Json:
        return self._json("PUT", path, json.dumps(body).encode(), query=query)

    def delete(self, path: str, **query: object) -> Json:
        return self._json("DELETE", path, query=query)

    def upload(self, path: str, csv: Iterable[bytes], size: int, **query: object) -> Json:
        """A CSV of `size` bytes in UTF-8, sent as it comes."""
        return self._json("PUT", path, csv, _csv_headers(size), query, timeout_s=_UPLOAD_TIMEOUT_S)

    def upload_for_csv(self, path: str, csv: Iterable[bytes], size: int, **query: object) -> Iterator[bytes]:
        """The same, answered in CSV, in pieces."""
        headers = {**_csv_headers(size), "Accept": "text/csv"}
        return self._pieces(self._send("PUT", path, csv, headers, query, timeout_s=_UPLOAD_TIMEOUT_S))

    def download(self, path: str) -> Iterator[bytes]:
        """A body in pieces. UnreachableError when it breaks off."""
        return self._pieces(self._send("GET", path, timeout_s=_UPLOAD_TIMEOUT_S))

    def _pieces(self, response: "HTTPResponse") -> Iterator[bytes]:
        from http.client import HTTPException

        try:
            while chunk := response.read(_CHUNK):
                yield chunk
        except (OSError, HTTPException) as failed:
            raise UnreachableError(f"{self.url}: the answer broke off: {failed}") from failed

    def _json(self, *arguments: Any, **options: Any) -> Json:
        response = self._send(*arguments, **options)
        try:
            answer: Json = json.loads(response.read())
        except (OSError, ValueError) as failed:
            raise UnreachableError(f"{self.url}: this is not callctl that answers: {failed}") from failed
        return answer

    def _send(
        self,
        method: str,
        path: str,
        body: bytes | Iterable[bytes] | None = None,
        headers: dict[str, str] | None = None,
        query: dict[str, object] | None = None,
        timeout_s: int = _TIMEOUT_S,
    ) -> "HTTPResponse":
        from http.client import HTTPException

        asked = {name: value for name, value in (query or {}).items() if value is not None}
        target = f"{self._parts.path.rstrip('/')}{path}{'?' if asked else ''}{urlencode(asked)}"
        sent = {"Content-Type": "application/json", **(headers or {})}
        if self._token:
            sent["Authorization"] = f"Bearer {self._token}"
        connection = self._connect(timeout_s)
        try:
            connection.request(method, target, body, sent)
            response = connection.getresponse()
            if response.status == 200:
                return response
            raise _refusal(response.status, response.read())
        except (OSError, HTTPException) as failed:
            reason = getattr(failed, "strerror", None) or failed
            raise UnreachableError(f"{self.url}: {reason}; is callctl running?") from failed

    def _connect(self, timeout_s: int) -> "HTTPConnection":
        from http.client import HTTPConnection, HTTPSConnection

        host, port = self._parts.hostname or "", self._parts.port
        if self._parts.scheme == "http":
            return HTTPConnection(host, port, timeout=timeout_s)
        trusted = _only(self._certificate) if self._certificate is not None else None
        return HTTPSConnection(host, port, timeout=timeout_s, context=trusted)


def _only(certificate: Path) -> "SSLContext":
    """Trusts the first certificate of this file, which is the server's own, and no other."""
    import ssl

    try:
        own, end, _ = certificate.read_text("ascii").partition("-----END CERTIFICATE-----")
        context = ssl.create_default_context(cadata=own + end)
    except (OSError, ValueError) as failed:
        reason = getattr(failed, "strerror", None) or failed
        raise ConfigError("http.tls_certificate", f"{certificate}: {reason}") from failed
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    context.check_hostname = False
    return context


def _csv_headers(size: int) -> dict[str, str]:
    return {"Content-Type": "text/csv; charset=utf-8", "Content-Length": str(size)}


def segment(text: str) -> str:
    """An id as one segment of a path."""
    return quote(text, safe="")


def _refusal(status: int, body: bytes) -> SaidNoError:
    try:
        answer = json.loads(body)
    except ValueError:
        return SaidNoError(f"status {status}")
    error = answer.get("error") if isinstance(answer, dict) else None
    if not isinstance(error, dict):
        return SaidNoError(f"status {status}", answer=answer if isinstance(answer, dict) else None)
    details = tuple(printable(str(detail)) for detail in error.get("details", ()))
    field = f"{error['field']}: " if error.get("field") else ""
    count = "1 mistake" if len(details) == 1 else f"{len(details)} mistakes"
    message = f"{count}:" if details else f"{field}{error.get('message')}"
    return SaidNoError(printable(f"{message} ({status} {error.get('code')})"), details, answer)
