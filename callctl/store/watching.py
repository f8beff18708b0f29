"""Spend thresholds over Redis, beside the calls: what operators see, what they say, and what moves with an account."""

import itertools
from collections.abc import Sequence
from typing import Any, Final

import msgspec
from msgspec.structs import replace

from callctl.errors import CallConflict, StoreUnavailable
from callctl.limits.exposure import DAYS, Day, begun
from callctl.limits.watching import Allow, Note, Release, Statistics, Tell, Word
from callctl.store import keys, scripts
from callctl.store.link import Argument, Link

NOTES_SHOWN: Final = 50
_decode = msgspec.msgpack.Decoder(Day, strict=False).decode


class RedisWatching:
    """What a `RedisStore` can do about thresholds. Every method may raise StoreUnavailable."""

    _link: Link

    async def statistics(self, root: str, account: str, day: int) -> Statistics:
        """As they are on the account's local `day`."""
        kept: Any = await self._link.call("HGET", keys.account(root, account), "ids")
        flat: Any = await self._link.call("HGETALL", keys.watched(root, account))
        notes: Any = await self._link.call("XREVRANGE", keys.notes(root, account), "+", "-", "COUNT", NOTES_SHOWN)
        days = {int(field): _decode(value) for field, value in _pairs(flat) if field.isdigit()}
        since = next((int(value) for field, value in _pairs(flat) if field == b"since"), None)
        shown = tuple([Note({name.decode(): told.decode() for name, told in _pairs(note)}) for _, note in notes])
        return statistics(_decode(kept) if kept is not None else None, days, since, day, shown)

    async def say(self, word: Word) -> None:
        """Do what an operator says. What is told of days is taken over as it is.

        CallConflict: the id stands for another word. StoreUnavailable also where the account has left for another root.
        """
        arguments: list[Argument] = [word.day, word.at_ms, word.by, word.why, word.id, keys.SAID_TTL_S]
        match word.said:
            case Release(until_ms):
                arguments = ["release", *arguments, until_ms]
            case Allow(extra):
                arguments = ["allow", *arguments, extra]
            case Tell(days):
                told = itertools.chain.from_iterable(map(msgspec.structs.astuple, days))
                arguments = ["tell", *arguments, len(days), *("-" if it is None else int(it) for it in told)]
        touched = keys.account(word.root, word.account), keys.said(word.root, word.account)
        answer = await scripts.run(self._link, scripts.WORD, touched, *arguments)
        if answer is None:
            raise StoreUnavailable(f"account {word.account} has left root {word.root}")
        if not answer:
            raise CallConflict(f"{word.id} was another word about {word.account}")


def statistics(
    kept: Day | None, days: dict[int, Day], since: int | None, day: int, notes: Sequence[Note] = ()
) -> Statistics:
    """The account's day, as the next call would find it, and what its average is of."""
    known = days if kept is None else {**days, kept.day: kept}
    first = since if since is not None else kept.day if kept is not None else day
    today = kept
    if today is None or today.day != day:
        today = begun(day, first, known)
        today.free_until_ms = kept.free_until_ms if kept is not None else 0
        if day in known:
            today = replace(known[day], baseline=today.baseline, most=today.most)
    past = tuple([known[each] for each in sorted(known) if day - DAYS <= each < day])
    return Statistics(today, past, first, tuple(notes))


def _pairs(flat: Sequence[bytes]) -> list[tuple[bytes, bytes]]:
    return list(zip(flat[::2], flat[1::2], strict=True))
