"""POST /connect/token, and who is let in with what it gave."""

import base64
import json
import secrets
from collections.abc import Callable

from aiohttp import web

from callctl.clock import Instant
from callctl.ports import Clock
from callctl.simulators.threecx.setup import Faults, Setup


class Doorkeeper:
    """The tokens of the one API client. `superseded` is called when a new token kills those before."""

    def __init__(self, setup: Setup, faults: Faults, clock: Clock, superseded: Callable[[], None]) -> None:
        self.issued = 0
        self._setup = setup
        self._faults = faults
        self._clock = clock
        self._superseded = superseded
        self._expires: dict[str, Instant] = {}

    async def token(self, request: web.Request) -> web.Response:
        if request.content_type.startswith("multipart/") and not self._faults.accept_multipart:
            return web.json_response({"error": "invalid_request"}, status=400)
        form = await request.post()
        if form.get("grant_type") != "client_credentials":
            return web.json_response({"error": "unsupported_grant_type"}, status=400)
        known = (form.get("client_id"), form.get("client_secret")) == (self._setup.client_id, self._setup.secret)
        if known and self._faults.refuse_tokens > 0:
            self._faults.refuse_tokens -= 1
            known = False
        if not known:
            told = {"error": "invalid_client", "error_description": "Client authentication failed."}
            return web.json_response(told, status=self._faults.bad_client_status)
        token = self._new_token()
        unit_s = 60 if self._faults.expires_in_unit == "minutes" else 1
        answer = {
            "token_type": "Bearer",
            "expires_in": max(1, round(self._faults.token_ttl_s / unit_s)),
            "access_token": token,
        }
        if self._faults.include_refresh_token:
            answer["refresh_token"] = None
        return web.json_response(answer)

    def lets_in(self, request: web.Request) -> bool:
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        if self._faults.unauthorized > 0:
            self._faults.unauthorized -= 1
            return False
        expires = self._expires.get(token)
        return scheme == "Bearer" and expires is not None and self._clock.now().monotonic_ms < expires.monotonic_ms

    def supersede(self) -> None:
        """Somebody else with the same client id has asked for a token."""
        self._new_token()

    def _new_token(self) -> str:
        now, ttl_s = self._clock.now(), self._faults.token_ttl_s
        self.issued += 1
        if self._faults.opaque_token:
            token = secrets.token_urlsafe(24)
        else:
            issued = now.wall_ms // 1000
            claims = {"iat": issued, "exp": issued + max(1, round(ttl_s)), "jti": secrets.token_hex(8)}
            token = ".".join([_part({"alg": "HS256"}), _part(claims), secrets.token_urlsafe(16)])
        if self._faults.single_active_token:
            self._expires.clear()
            if self._faults.token_kills_streams:
                self._superseded()
        self._expires[token] = now.plus_ms(int(ttl_s * 1000))
        return token


def _part(value: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")
