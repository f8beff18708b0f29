"""Who asks, and what they may do: bearer tokens with scopes, some bound to an account.

    call   decide: POST and DELETE on /v1/calls, explain
    read   every GET
    admin  definitions and top-ups

Tokens are known by a hash under a key of this process's own: what a look-up's duration could tell is worthless, and
no secret is kept but in the headers that came last. Wrong tokens are counted per peer; a peer that has tried too many
is not listened to for a minute, except for tokens that it used rightly before: one misconfigured script must not
silence the SBC that shares its address.
"""

import base64
import binascii
import hashlib
import secrets
from collections.abc import Iterable
from enum import StrEnum
from functools import lru_cache

import msgspec

from callctl.http.errors import HttpError
from callctl.ports import Clock

WRONG_TOKENS_AT_MOST = 20
WINDOW_MS = 60_000
REMEMBERED = 10_000  # peers, and pairs of peer and token
RECENT = 1_024  # headers


class Scope(StrEnum):
    CALL = "call"
    READ = "read"
    ADMIN = "admin"


class Holder(msgspec.Struct, frozen=True):
    """Whose token it is. `account`: sees only this account and those below it; None: the provider."""

    name: str
    scopes: frozenset[Scope]
    account: str | None = None


class Tokens:
    """All tokens of this process: pairs of secret and holder. ValueError for a secret that stands there twice."""

    def __init__(self, tokens: Iterable[tuple[str, Holder]], clock: Clock) -> None:
        self._key = secrets.token_bytes(32)
        self._presented = lru_cache(maxsize=RECENT)(self._presented_in)
        self._clock = clock
        self._holders: dict[bytes, Holder] = {}
        self._wrong: dict[str, tuple[int, int]] = {}  # peer -> wrong tokens, since when (ms)
        self._used: dict[tuple[str, bytes], None] = {}
        for secret, holder in tokens:
            digest = self._digest(secret.encode())
            if digest in self._holders:
                raise ValueError(f"token {holder.name}: the same secret as {self._holders[digest].name}")
            self._holders[digest] = holder

    def holder(self, authorization: str | None, peer: str, scope: Scope, *, basic: bool = False) -> Holder:
        """Whoever sent this header. HttpError 401 without a valid token, 403 without the scope, 429 when barred.

        `basic`: the token may come as the password of HTTP Basic, for browsers; never where something changes,
        since a browser sends it along to forged requests.
        """
        digest = self._presented(authorization, basic)
        holder = self._holders.get(digest)
        if holder is None or (peer, digest) not in self._used:
            holder = self._new_here(holder, digest, peer, basic)
        if scope not in holder.scopes:
            raise HttpError(403, "forbidden", f"this token has no scope {scope.value!r}")
        return holder

    def _new_here(self, holder: Holder | None, digest: bytes, peer: str, basic: bool) -> Holder:
        """The holder of a token that this peer has not used before; None: nobody is."""
        if peer in self._wrong and self._barred(peer):
            raise HttpError(
                429,
                "too_many_attempts",
                "too many wrong tokens",
                headers={"Retry-After": str(WINDOW_MS // 1000)},
            )
        if holder is None:
            self._count_wrong(peer)
            raise _unauthenticated("this token is not known", basic)
        self._used[peer, digest] = None
        if len(self._used) > REMEMBERED:
            del self._used[next(iter(self._used))]
        return holder

    def _presented_in(self, authorization: str | None, basic: bool) -> bytes:
        """The hash of the token in a header. Most clients repeat theirs."""
        return self._digest(_secret(authorization, basic))

    def _digest(self, secret: bytes) -> bytes:
        return hashlib.blake2b(secret, key=self._key, digest_size=32).digest()

    def _barred(self, peer: str) -> bool:
        wrong, since_ms = self._wrong[peer]
        if self._clock.now().monotonic_ms - since_ms >= WINDOW_MS:
            del self._wrong[peer]
            return False
        return wrong >= WRONG_TOKENS_AT_MOST

    def _count_wrong(self, peer: str) -> None:
        wrong, since_ms = self._wrong.get(peer, (0, self._clock.now().monotonic_ms))
        self._wrong[peer] = wrong + 1, since_ms
        if len(self._wrong) > REMEMBERED:
            del self._wrong[next(iter(self._wrong))]


def _secret(authorization: str | None, basic: bool) -> bytes:
    kind, _, credentials = (authorization or "").partition(" ")
    if kind.lower() == "bearer" and credentials:
        return credentials.strip().encode(errors="surrogateescape")
    if basic and kind.lower() == "basic":
        try:
            return base64.b64decode(credentials, validate=True).partition(b":")[2]
        except binascii.Error:
            raise _unauthenticated("the Basic credentials are not base64", basic) from None
    raise _unauthenticated("Authorization: Bearer TOKEN is missing", basic)


def _unauthenticated(message: str, basic: bool) -> HttpError:
    challenge = 'Bearer, Basic realm="callctl"' if basic else "Bearer"
    return HttpError(401, "unauthenticated", message, headers={"WWW-Authenticate": challenge})
