"""What the scripts are told and what they answer: sessions, words and hashes as the values of `call/`.

The layout of a record stands in `lua/prelude.lua`, the words of an answer at the head of each script.
"""

import itertools
from collections.abc import Iterator, Sequence
from functools import lru_cache
from operator import attrgetter
from typing import Any, Literal

import msgspec
from msgspec.structs import replace

from callctl.call import packing
from callctl.call.anchor import answered_levels
from callctl.call.events import CallKey, Extended, ExtendRefused, Left, SlotUse, Taken, TakeRefused
from callctl.call.grant import admitted
from callctl.call.session import Session
from callctl.call.takes import Extension, Post, Settlement, Take, TakeLevel
from callctl.errors import UnknownCall
from callctl.limits.concurrency import Slot
from callctl.limits.ids import Ask, Rule, Seen, Settled
from callctl.ports import Existing, ExtendAnswer
from callctl.rating.bundles import Sources
from callctl.store import keys
from callctl.store.rejected import Rejected

_session = packing.Decoder(Session)
encode_session = packing.encode
encode_asked = msgspec.json.Encoder().encode
_DECIDED: dict[bytes, type[Extended] | type[ExtendRefused]] = {b"E": Extended, b"N": ExtendRefused}

_FIXED = {
    *("call", "trace_id", "direction", "a_number", "b_number", "root", "account", "levels"),
    *("trunk", "trunk_slots", "fingerprint", "can_extend", "attended", "emergency", "ceiling_s"),
    *("warnings", "warn_to", "first_granted_s", "first_affordable_s", "trace", "taken", "affiliates", "within"),
    *("limits", "setup", "clock"),
    *("refusal", "refused_at", "detail", "released", "release_stated", "q850", "sip_code", "released_by"),  # at its end
    *("estimated", "corrections", "posted", "voided"),
    *("wanted_s", "asked_ms", "tries", "busy"),  # of a request under way
    "version",  # stands in the record's first line
}
"""Fields of a session that stay as they were at its admission while it runs, or are nothing to who takes it up; what
each level holds the scripts know (`prelude.lua`)."""

_CHANGING = tuple(field for field in msgspec.structs.fields(Session) if field.name not in _FIXED)
_CHANGING_NAMES = tuple(field.name for field in _CHANGING)
_ONCE_EXTENDED = {"granted_s": "wanted_s", "sliced_ms": "asked_ms"}
changes = attrgetter(*(_ONCE_EXTENDED.get(name, name) for name in _CHANGING_NAMES))
_running = packing.Decoder(
    msgspec.defstruct("Running", [(field.name, field.type) for field in _CHANGING], array_like=True)
)


def carried_on(admitted: Session, changed: tuple[Any, ...]) -> Session:
    """The session as it was admitted, with what has changed since: the `changes` of one that was extended."""
    session = replace(admitted, **dict(zip(_CHANGING_NAMES, changed, strict=True)))
    if session.taken_up is not None:
        clock, setup = session.taken_up
        session = replace(session, clock=clock, setup=setup)
    return replace(session, levels=answered_levels(session))


def decode_record(record: bytes, running: bytes | None = None) -> Session:
    """The session as remembered, with the version, the holds and the overflow that the scripts wrote.

    The record has what the taking script answered: whoever asks is told the same. `running`: that of its running.
    """
    first, answer, taken, body = _parts(record)
    session = _session.decode(body)
    if answer.startswith(b"T ") and not session.first_granted_s:
        session = admitted(session, _first_answer(session, answer, taken))
    if running is not None:
        first, _, taken, body = _parts(running)
        session = carried_on(session, msgspec.structs.astuple(_running.decode(body)))
    levels = [
        replace(
            level,
            held=int(words[1]),
            overflow=words[2] == b"1",
            sources=_drawn(level.sources, words),
            exposed=_exposed(words),
        )
        for level, words in zip(session.levels, (words for words in taken if words[1] != b"-"), strict=False)
    ]
    version = int(first.split(b" ", 1)[0])
    return replace(session, version=version, levels=(*levels, *session.levels[len(levels) :]))


def _drawn(sources: Sources, words: Sequence[bytes]) -> Sources:
    """What the call has of each source. What is left besides nobody knows before the store is asked again."""
    if not sources:
        return ()
    drawn = words[3].split(b"|")[1].split()[2::3]
    return tuple([replace(source, held=int(held), left=0) for source, held in zip(sources, drawn, strict=True)])


def _exposed(words: Sequence[bytes]) -> int:
    """What the call counts against spend thresholds: of all its days (`lua/watch.lua`). 0: it is not watched."""
    watched = words[3].split(b"|")[2:]
    return sum(map(int, watched[0].split()[4::2])) if watched else 0


def _parts(record: bytes) -> tuple[bytes, bytes, list[list[bytes]], bytes]:
    """First line, answer, the words of what is taken where, and what is packed."""
    head, _, body = record.partition(b"\n\n")
    first, answer, *lines = head.split(b"\n")
    return first, answer, [_words(line) for line in lines], body


def _words(line: bytes) -> list[bytes]:
    """Hash, held, overflow, and the rest: counters, behind "|" sources, and behind another what is watched."""
    hash, held, rest = line.split(b" ", 2)
    return [hash, held, rest[:1], rest[1:]]


def _first_answer(session: Session, answer: bytes, taken: Sequence[Sequence[bytes]]) -> Taken:
    """What the script answered when it took: its words, by the record's lines (hash, held, overflow, counters)."""
    words = itertools.islice(answer.split(), 2, None)
    available: list[int | None] = []
    overflow: list[bool] = []
    uses: list[SlotUse] = []
    trunk_uses: list[SlotUse] = []
    left: list[tuple[int, ...]] = []
    watched: list[Seen] = []
    for _, held, _, rest in taken:
        if held == b"-":
            depth, slots, seen = len(session.levels), session.trunk_slots, trunk_uses
        else:
            depth, slots, seen = len(available), session.levels[len(available)].slots, uses
            available.append(_micros(next(words)))
            overflow.append(next(words) == b"1")
        limits = {keys.word(slot.name).encode(): slot for slot in slots}
        names, sources, watch = (*rest.split(b"|"), b"", b"")[:3]
        for name in names.split():
            slot = limits.get(name, Slot(keys.name(name.decode())))
            seen.append(SlotUse(depth, slot.name, int(next(words)), slot.limit, slot.hard_limit))
        if held != b"-":
            left.append(_left(len(sources.split()) // 3, words))
        if watch:
            watched.append(_seen(depth, words, int(watch.split()[2])))
    seen_so = tuple(available), tuple(overflow), tuple(uses + trunk_uses)
    return Taken(session.call, *seen_so, _any(left), watched=tuple(watched))


@lru_cache(maxsize=8_192)
def _counters(slots: tuple[Slot, ...]) -> tuple[str | int | Literal[False], ...]:
    """A line's counters, their number, and what each of them is asked."""
    names = [keys.word(slot.name) for slot in slots]
    limits = [(_or_false(slot.limit), _or_false(slot.hard_limit)) for slot in slots]
    asked = [word for name, of in zip(names, limits, strict=True) for word in (name, *of)]
    return ("".join(f" {name}" for name in names), len(names), *asked)


def _or_false(limit: int | None) -> int | Literal[False]:
    """Lua's null of JSON is true."""
    return False if limit is None else limit


def decode_admission(take: Take, answer: bytes) -> Taken | TakeRefused:
    if len(take.levels) == 1 and not take.trunk_slots and answer.startswith(b"T"):
        (level,) = take.levels
        if not level.draws and level.watch is None:
            return _taken_plainly(take.session.call, level.slots, answer)
    call, words = take.session.call, iter(answer.split())
    taken, rate = next(words) == b"T", int(next(words))
    trunk_uses = _uses(len(take.levels), take.trunk_slots, words) if take.trunk_slots else []
    available, overflow, uses, left, watched = [], [], [], [], []
    for depth, level in enumerate(take.levels):
        available.append(_micros(next(words)))
        overflow.append(next(words) == b"1")
        uses += _uses(depth, level.slots, words)
        left.append(_left(len(level.draws), words) if level.draws else ())
        if level.watch is not None:
            watched.append(_seen(depth, words, level.watch.amount))
    seen = tuple(available), tuple(overflow), tuple(uses + trunk_uses)
    if taken:
        return Taken(call, *seen, _any(left), watched=tuple(watched))
    return TakeRefused(call, *seen, take.rates[rate - 1] if rate else None, _any(left), tuple(watched))


def _seen(depth: int, words: Iterator[bytes], amount: int) -> Seen:
    rule, refuses, *figures = itertools.islice(words, 9)
    news, exposure, baseline, threshold, seen, limit, since_ms = map(int, figures)
    known = Rule(rule.decode()), refuses == b"1", news
    return Seen(depth, *known, exposure, baseline, threshold, seen, limit, since_ms, amount)


def _taken_plainly(call: CallKey, slots: tuple[Slot, ...], answer: bytes) -> Taken:
    """By one account, of its money alone: as most are."""
    words = answer.split(None, 4)
    seen = _seen_of(slots, words[4]) if slots else ()
    return Taken(call, (_micros(words[2]),), (words[3] == b"1",), seen)


@lru_cache(maxsize=8_192)
def _seen_of(slots: tuple[Slot, ...], in_use: bytes) -> tuple[SlotUse, ...]:
    """What was seen of one payer's counters: many have the same caps, and most of them few calls at a time."""
    return tuple(_uses(0, slots, iter(in_use.split())))


def _uses(depth: int, slots: Sequence[Slot], words: Iterator[bytes]) -> list[SlotUse]:
    return [SlotUse(depth, slot.name, int(next(words)), slot.limit, slot.hard_limit) for slot in slots]


def decode_extension(extension: Extension, answer: bytes | list[bytes]) -> ExtendAnswer:
    """What extend.lua answered for one call."""
    call = extension.session.call
    if isinstance(answer, list):
        return Existing(decode_record(*answer))
    answered = _DECIDED.get(answer[:1])
    if answered is None:
        return UnknownCall(str(call)) if answer == b"U" else Rejected(answer[2:].decode("utf-8", "replace"))
    words = answer[2:].split()
    if not extension.draws and not extension.watch:
        return answered(call, tuple(map(_micros, words)))
    rest, levels = iter(words), len(extension.more)
    available, left, watched = [], [], []
    for depth, draws, ask in zip(
        range(levels), extension.draws or ((),) * levels, extension.watch or (None,) * levels, strict=True
    ):
        available.append(_micros(next(rest)))
        left.append(_left(len(draws), rest))
        if ask is not None:
            watched.append(_seen(depth, rest, ask.amount))
    return answered(call, tuple(available), _any(left), tuple(watched))


def _left(sources: int, words: Iterator[bytes]) -> tuple[int, ...]:
    return tuple([int(next(words)) for _ in range(sources)]) if sources else ()


def _any(left: Sequence[tuple[int, ...]]) -> Left:
    return tuple(left) if any(left) else ()


def taking(slots: tuple[Slot, ...], level: TakeLevel | None = None) -> tuple[Any, ...]:
    """What is asked of one hash, as admit.lua is told; of a trunk, which has no money, where there is no level."""
    if level is None:
        return (False, 0, "", False, *_counters(slots))
    if not level.draws and level.watch is None:
        return (level.hold, level.hold_overflow, "", False, *_counters(slots))
    drawn = " ".join([f"{keys.word(draw.source)} {draw.allowance} {draw.amount}" for draw in level.draws])
    watch = False if level.watch is None else _asked(level.watch)
    return (level.hold, level.hold_overflow, drawn, watch, *_counters(slots))


def told(extension: Extension) -> tuple[str, tuple[Any, ...], bytes]:
    """One call as extend.lua is told: its record, what is asked of it, and of its session what may have changed."""
    session = extension.session
    root, trace_id = session.root, session.trace_id
    more = _beside_money(extension) if extension.draws or extension.watch else extension.more
    asked = keys.live(root), session.version, extension.force, extension.lease_until_ms, trace_id, more
    return keys.session(root, trace_id), asked, packing.encode(changes(session))


def _beside_money(extension: Extension) -> list[tuple[int, Sequence[int], Sequence[str | int] | Literal[False]]]:
    levels = len(extension.more)
    each = zip(extension.more, extension.draws or ((),) * levels, extension.watch or (None,) * levels, strict=True)
    return [(money, draws, False if watch is None else _asked(watch)) for money, draws, watch in each]


def _asked(ask: Ask) -> tuple[str | int, ...]:
    """What `lua/watch.lua` is asked."""
    agreed = ask.watch.thresholds
    return (
        *(ask.amount, ask.day, ask.now_ms, ask.range, keys.word(ask.watch.country) or False),
        *(agreed.mode, agreed.range, _or_false(agreed.ceiling), agreed.hourly, agreed.concurrent),
        *(_or_false(agreed.new_country), False if ask.again else _or_false(agreed.attempts_per_minute)),
    )


def used(settled: Settled) -> str:
    """What settle.lua is told of one account's day."""
    if settled.more:
        return f"+ {settled.day} {settled.amount} {settled.guessed}"
    return f"{'-' if settled.amount is None else settled.amount} {settled.day} {settled.estimated:d}"


def kind(post: Post) -> str:
    """What a post is, as settle.lua is told, and what it uses of which source."""
    if not post.used:
        return post.kind
    return f"{post.kind}|{' '.join(f'{keys.word(source)} {amount}' for source, amount in post.used)}"


def _micros(word: bytes) -> int | None:
    return None if word == b"-" else int(word)


def entry_ids(settlement: Settlement) -> list[str]:
    """`<switch>/<call id>:<kind>:<n>` per post: n counts the corrections, and a second post of a kind to an account."""
    session, seen, ids = settlement.session, set[tuple[str, str]](), []
    for number, post in enumerate(settlement.posts):
        again = f".{number}" if (post.account, post.kind) in seen else ""
        seen.add((post.account, post.kind))
        ids.append(f"{session.call}:{post.kind}:{session.corrections}{again}")
    return ids


def posted_ms(session: Session) -> int:
    """When a call's posts are booked: at its end, by the wall clock of its session."""
    return (session.released or session.setup).wall_ms
