"""The ports Takes, Sessions and Books over Redis. `memory/` says the same in plain Python.

Each take is one script and one round trip; extensions travel together, for most of what one costs alone, here and in
Redis, is sending it. When the connection goes while a take is under way it is repeated once, within its deadline and
with the same nonce: if the first was carried out after all, the repeat gets its answer.
"""

import asyncio
import itertools
import secrets
from collections.abc import Iterable, Sequence
from typing import Any, Final

import msgspec

from callctl.call.events import Extended, ExtendRefused, Taken, TakeRefused
from callctl.call.session import State
from callctl.call.takes import Balance, Extension, LedgerEntry, Settlement, Take, TopUp
from callctl.errors import CallConflict, StoreUnavailable
from callctl.limits.ids import Alert, Ask, Mode, Seen
from callctl.ports import Existing, ExtendAnswer
from callctl.promise import Promise
from callctl.store import books, keys, records, scripts
from callctl.store.alone import Alone
from callctl.store.charging import RedisCharging
from callctl.store.history import RedisHistory
from callctl.store.link import Argument, Link, Reply
from callctl.store.moving import CLOSED
from callctl.store.scripts import Script
from callctl.store.sessions import RedisSessions
from callctl.store.watching import RedisWatching

CALLS_AT_ONCE: Final = 100  # of extensions in one script: some 1 ms of the server's time
READS_AT_ONCE: Final = 32  # commands in one go


class Difference(msgspec.Struct, frozen=True):
    """A figure of an account or trunk that was not what its live calls add up to, and now is."""

    hash: str
    field: str
    found: int
    counted: int


class RedisStore(RedisSessions, RedisCharging, RedisWatching, RedisHistory):
    """Money, channels, calls and ledgers in one Redis. Every method may raise StoreUnavailable."""

    def __init__(self, link: Link) -> None:
        super().__init__(link)
        self._process = secrets.token_hex(6)
        self._requests = itertools.count()
        self._admissions = Alone(link, scripts.ADMIT, self._admission, self._admitted)
        self._settlements = Alone(link, scripts.SETTLE, self._settlement, _settled)

    # ---- Takes

    def admit(self, take: Take) -> Promise[Taken | TakeRefused | Existing]:
        """Take all of it or nothing. Existing: the call is known, whatever its root and its state but refused."""
        return self._admissions.ask(take)

    def _admission(self, take: Take) -> tuple[Sequence[str], Sequence[Argument]]:
        """Keys and arguments of admit.lua."""
        session = take.session
        root, trace_id = session.root, session.trace_id
        touched = keys.admission(root, trace_id)
        hashes: list[tuple[Any, ...]] = []
        if take.trunk_slots:
            touched.append(keys.trunk(root, session.trunk or ""))
            hashes.append(records.taking(take.trunk_slots))
        for level in take.levels:
            touched.append(keys.account(level.root or root, level.account))
            hashes.append(records.taking(level.slots, level))
        limits: list[int] = []
        for rate in take.rates:
            touched.append(keys.attempts(root, rate.owner, rate.second))
            limits.append(rate.per_second)
        asked = (
            self._nonce(),
            session.version + 1,
            "dry" if take.dry else "probe" if take.probe else "take",
            take.force,
            take.lease_until_ms,
            trace_id,
            root,
            keys.CALL_TTL_S,
            hashes,
            limits,
            CLOSED,
        )
        return touched, (records.encode_asked(asked), records.encode_session(session))

    def _admitted(self, take: Take, answer: Any) -> Taken | TakeRefused | Existing:
        if isinstance(answer, list):
            return Existing(records.decode_record(*answer))
        decided = records.decode_admission(take, answer)
        if decided.watched:
            accounts = [level.account for level in take.levels]
            self._tell_trips(decided.watched, [level.watch for level in take.levels], accounts)
        return decided

    async def extend(self, extensions: Sequence[Extension]) -> list[ExtendAnswer]:
        """Hold more at all levels of a call or at none. Existing: the record is not what the caller saw.

        UnknownCall: the store has lost the call (a failover, a restore): it has to be admitted anew. Never raises.
        """
        if len(extensions) <= CALLS_AT_ONCE:
            return await self._extend(extensions)
        starts = range(0, len(extensions), CALLS_AT_ONCE)
        answered = await asyncio.gather(*(self._extend(extensions[at : at + CALLS_AT_ONCE]) for at in starts))
        return list(itertools.chain.from_iterable(answered))

    async def _extend(self, extensions: Sequence[Extension]) -> list[ExtendAnswer]:
        """What one script answers."""
        try:
            touched, asked, changes = zip(*map(records.told, extensions), strict=True)
            arguments = self._nonce(), msgspec.msgpack.encode(asked), *changes
        except Exception as error:  # one of them cannot be told, and is to fail alone
            several = extensions if len(extensions) > 1 else ()
            return [answer for each in several for answer in await self._extend([each])] or [error]
        try:
            answers = await self._run(scripts.EXTEND, touched, arguments)
        except StoreUnavailable as error:
            return [error] * len(extensions)
        return list(map(self._extended, extensions, answers))

    def _extended(self, extension: Extension, answer: Any) -> ExtendAnswer:
        try:
            decided = records.decode_extension(extension, answer)
        except Exception as error:  # this answer's alone
            return error
        if extension.watch and isinstance(decided, Extended | ExtendRefused):
            accounts = [level.account for level in extension.session.levels]
            self._tell_trips(decided.watched, extension.watch, accounts)
        return decided

    def settle(self, settlement: Settlement) -> Promise[Existing | None]:
        """Post, record, give back. Existing: the record is not what the caller saw, and nothing was done."""
        return self._settlements.ask(settlement)

    def _settlement(self, settlement: Settlement) -> tuple[Sequence[str], Sequence[Argument]]:
        """Keys and arguments of settle.lua."""
        session, root = settlement.session, settlement.session.root
        refused = session.state is State.REFUSED
        # An attempt is recorded once, however often it is told: also from the journal, by another process.
        nonce = f"attempt-{session.setup.wall_ms}" if refused else self._nonce()
        trace_id = session.trace_id
        touched = [keys.session(root, trace_id), keys.live(root), keys.outbox(root), keys.call(trace_id)]
        arguments: list[Argument] = [
            nonce,
            session.version,
            "refused" if refused else "ended",
            keys.REFUSED_TTL_S if refused else keys.ENDED_TTL_S,
            trace_id,
            records.encode_session(session),
            str(session.call),
            records.posted_ms(session),
            root,
            keys.CALL_TTL_S,
            len(settlement.posts),
        ]
        for id, post in zip(records.entry_ids(settlement), settlement.posts, strict=True):
            where = post.root or root
            touched.append(keys.account(where, post.account))
            arguments += (id, records.kind(post), -post.amount)
        arguments.append(len(settlement.records))
        for record in settlement.records:
            arguments += (record.account, record.payload)
        arguments.append(len(settlement.watched))
        for settled in settlement.watched:
            arguments += (keys.account(settled.root or root, settled.account), records.used(settled))
        return touched, arguments

    async def top_up(self, top_up: TopUp) -> LedgerEntry:
        """Move money once per id. CallConflict: the id stands for another movement. ValueError: beyond counting.

        StoreUnavailable also where the account has gone to another root, which is unheard of here.
        """
        root, account = top_up.root, top_up.account
        answer = await self._run(
            scripts.TOP_UP,
            (keys.top_up(root, account, top_up.id), keys.account(root, account), keys.ledger(root, account)),
            (top_up.amount, top_up.id, top_up.cause, top_up.at_ms, top_up.note, keys.TOP_UP_TTL_S, CLOSED),
        )
        if answer is None:
            raise StoreUnavailable(f"account {account} has left root {root}")
        if not answer:
            raise ValueError(f"the balance of {account} would be more than can be counted")
        entry = books.decode_top_up(top_up, answer)
        if (entry.amount, entry.kind) != (top_up.amount, top_up.cause):
            raise CallConflict(f"{top_up.id} was another movement of {account}")
        self._post_change("topup", account)
        return entry

    def _tell_trips(self, watched: Iterable[Seen], asks: Sequence[Ask | None], accounts: Sequence[str]) -> None:
        """Every process hears of an account that is blocked now: watched calls of it may be anywhere."""
        for seen in watched:
            ask = asks[seen.level]
            blocks = ask is not None and ask.watch.thresholds.mode is Mode.HARD
            if blocks and seen.refuses and Alert.TRIPPED in seen.alerts:
                self._post_change("trip", accounts[seen.level])

    def _post_change(self, what: str, id: str) -> None:
        self._link.post("XADD", keys.CHANGES, "MAXLEN", "~", keys.CHANGES_KEPT, "*", "what", what, "id", id)

    async def recount(self, root: str, accounts: Iterable[str], trunks: Iterable[str] = ()) -> list[Difference]:
        """Put right what is held and in use, from the records of the live calls. Nothing found is the rule.

        It stops the server for about 5 us per live call of the root: for `doctor`, not for every minute.
        """
        hashes = [*(keys.account(root, a) for a in accounts), *(keys.trunk(root, t) for t in trunks)]
        listed = keys.live(root), keys.guests(root)
        found: Any = await self._run(scripts.RECOUNT, (*listed, *hashes), (keys.session(root, ""),))
        return [
            Difference(hashes[number - 1], keys.name(field.decode()), int(was), int(counted))
            for number, field, was, counted in found
        ]

    # ---- Books

    async def balances(self, root: str, accounts: Sequence[str]) -> list[Balance]:
        """In the order asked for. An account that never had money has zeros."""
        hashes = await self._all(("HGETALL", keys.account(root, account)) for account in accounts)
        return [books.decode_balance(a, flat) for a, flat in zip(accounts, hashes, strict=True)]

    # ---- how a script is run

    def _nonce(self) -> str:
        return f"{self._process}{next(self._requests)}"

    async def _run(self, script: Script, touched: Sequence[str], arguments: Sequence[Argument]) -> Any:
        """The script's answer."""
        return await scripts.run_through(self._link, script, touched, arguments)

    async def _all(self, commands: Iterable[tuple[Argument, ...]]) -> Any:
        """The answers to many reads, a few at a time: they are not to fill the window."""
        answers: list[Reply] = []
        waiting = iter(commands)
        while some := tuple(itertools.islice(waiting, READS_AT_ONCE)):
            answers += await asyncio.gather(*(self._link.call(*command) for command in some))
        return answers


def _settled(_: Settlement, answer: Any) -> Existing | None:
    return Existing(records.decode_record(*answer)) if isinstance(answer, list) else None
