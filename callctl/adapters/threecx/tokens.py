"""The bearer token of one API client. 3CX keeps one active token per client: a new one kills the one before at once.

So there is one asker at a time, nobody asks while the token is good, and a token is renewed early only when no
audio stream is open, for the streams die with it.
"""

import asyncio
import base64
import binascii
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

import msgspec

from callctl.adapters.threecx.wire import decoded
from callctl.errors import SwitchUnavailable
from callctl.ports import Clock

MOST_MINUTES: Final = 300  # `expires_in` is in minutes before 20.0.9 (60), in seconds since (3600)
EARLY_MS: Final = 60_000
FAILED_MS: Final = 1_000
LONGEST_PAUSE_MS: Final = 60_000


class CredentialsRefused(SwitchUnavailable):
    """3CX does not accept our client id and secret. Not cured by trying harder, and 3CX bars whoever does."""


class Grant(msgspec.Struct, frozen=True):
    """A token, and how long it is good for. Its text is a secret: nothing prints it."""

    token: str
    lifetime_ms: int

    def __repr__(self) -> str:
        return f"Grant(lifetime_ms={self.lifetime_ms})"


def grant_of(told: Any) -> Grant | None:
    """The answer of /connect/token; None where it holds no token."""
    token = told.get("access_token") if isinstance(told, dict) else None
    if not isinstance(token, str) or not token or not token.isascii() or not token.isprintable():
        return None
    seconds = _by_claims(token)
    if seconds is None:
        stated = told.get("expires_in")
        stated = int(stated) if isinstance(stated, str) and stated.isdecimal() and len(stated) < 10 else stated
        whole = isinstance(stated, int | float) and not isinstance(stated, bool) and 0 < stated < 10**9
        seconds = 0 if not whole else int(stated * 60) if stated < MOST_MINUTES else int(stated)
    return Grant(token, seconds * 1000)


def _by_claims(token: str) -> int | None:
    """Its lifetime in seconds by its own `exp` and `iat`; None where it is no JWT that tells both."""
    parts = token.split(".")
    if len(parts) != 3:
        return None
    try:
        claims = decoded(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
    except (binascii.Error, ValueError):
        return None
    if not isinstance(claims, dict):
        return None
    expires, issued = claims.get("exp"), claims.get("iat")
    if not isinstance(expires, int) or not isinstance(issued, int) or not 0 < expires - issued < 10**9:
        return None
    return expires - issued


class Tokens:
    """`ask` gets a new token. `superseded`: how often one was refused before its time, as when another asked for one.

    A token without a lifetime is used until it is refused.
    """

    def __init__(self, ask: Callable[[], Awaitable[Grant]], clock: Clock) -> None:
        self.asked = 0
        self.superseded = 0
        self._ask = ask
        self._clock = clock
        self._asking = asyncio.Lock()
        self._grant: Grant | None = None
        self._expires_ms: int | None = None
        self._early_ms = 0
        self._streams = 0
        self._failed: SwitchUnavailable | None = None
        self._not_before_ms = 0
        self._refusals = 0

    async def current(self) -> str:
        """A token that is good as far as we know. CredentialsRefused, SwitchUnavailable."""
        async with self._asking:
            if self._grant is None or self._is_due():
                self._grant = await self._renewed()
            return self._grant.token

    def rejected(self, token: str) -> None:
        """The PBX has refused it. Of a token that we have replaced meanwhile that says nothing."""
        if self._grant is not None and self._grant.token == token:
            if self._expires_ms is None or self._now_ms() < self._expires_ms:
                self.superseded += 1
            self._grant = None

    @contextmanager
    def streaming(self) -> Iterator[None]:
        """While an audio stream is open the token is not renewed before it has to be."""
        self._streams += 1
        try:
            yield
        finally:
            self._streams -= 1

    def _is_due(self) -> bool:
        early_ms = 0 if self._streams else self._early_ms
        return self._expires_ms is not None and self._now_ms() >= self._expires_ms - early_ms

    async def _renewed(self) -> Grant:
        began_ms = self._now_ms()
        if self._failed is not None and began_ms < self._not_before_ms:
            raise self._failed
        self.asked += 1
        try:
            grant = await self._ask()
        except SwitchUnavailable as error:
            pause_ms = min(LONGEST_PAUSE_MS, FAILED_MS << min(self._refusals, 20))
            self._refusals += isinstance(error, CredentialsRefused)
            self._failed, self._not_before_ms = error, self._now_ms() + pause_ms
            raise
        self._failed, self._refusals = None, 0
        self._expires_ms = began_ms + grant.lifetime_ms if grant.lifetime_ms else None
        self._early_ms = min(EARLY_MS, grant.lifetime_ms // 10)
        return grant

    def _now_ms(self) -> int:
        return self._clock.now().monotonic_ms
