"""What gateways ask and report, as what happened to calls. Values in, values out: no I/O, no clock.

A call is named by what its NAS calls it and by the NAS: `0000A1B2@192.0.2.7`. It has several names (its conference, its
Call-ID, its accounting session); the first report that has any of them, or our own in its Class, is about that call.

Times. A NAS states whole seconds, or none, and may report late; how long the call has been up is the best that it
says. So the end lies exactly that long behind the answer as we know it, and only where that is not told are the two
moments subtracted.
"""

from ipaddress import ip_address
from typing import Final

import msgspec
from msgspec.structs import replace

from callctl.adapters.radius.wire import Ask, Client, Names, Status, Told
from callctl.call.events import Alerting, Answered, CallKey, Offered, Released, ReleasedBy, SeenAlive
from callctl.clock import Instant

MOST_CALLS: Final = 100_000
"""In the book; beyond it the oldest is forgotten, and then known only by what its reports say."""
MISSED_INTERIMS: Final = 3
LONGEST_MS: Final = 24 * 3600 * 1000
BY_US: Final = (5, 6)  # Acct-Terminate-Cause: the Session-Timeout that we gave, and a Disconnect-Request

Event = Alerting | Answered | Released | SeenAlive
Moment = tuple[Instant, bool]
"""When it happened, and whether the NAS's own clock says so."""


class Known(msgspec.Struct, frozen=True):
    """A call in the book.

    `names`: as it was called last, `aliases` whatever it was called. `heard`: the last report; `interims` of them said
    that it lives, at most `gap_ms` apart. `asked`: when it was; None where that was before we began. `ingress`: the leg
    from the caller has been reported, so that reports of the other leg mean nothing.
    """

    key: CallKey
    client: str
    names: Names
    ask: Ask
    heard: Instant
    asked: Instant | None = None
    aliases: frozenset[str] = frozenset()
    answered: Moment | None = None
    interims: int = 0
    gap_ms: int = 0
    ingress: bool = False


class Translator:
    """Keeps the book of live calls."""

    def __init__(self, switch: str, *, interim_s: int) -> None:
        self._switch = switch
        self._interim_ms = interim_s * 1000
        self._calls: dict[CallKey, Known] = {}
        self._named: dict[tuple[str, str], CallKey] = {}

    def whereabouts(self, call: CallKey) -> tuple[str, Names, str]:
        """The address of its NAS, its names there, its user; of one that is not in the book what its name tells."""
        known = self._calls.get(call)
        if known is not None:
            return known.client, known.names, known.ask.user
        name, _, address = call.call_id.rpartition("@")
        return address, Names(session_id=name), ""

    def find(self, names: Names, client: Client) -> Known | None:
        """The call that has any of these names at this NAS."""
        for name in names.all():
            call = self._named.get((client.address, name))
            if call is not None:
                return self._calls[call]
        return self._calls.get(CallKey(self._switch, names.ours)) if _is_of(names.ours, client) else None

    def offered(self, ask: Ask, client: Client, now: Instant) -> Offered:
        """The user is an account, or, where it is an address or a number, what tells the payer."""
        call = self._key(ask.names, client)
        self._remember(Known(call, client.address, ask.names, ask, now, asked=now))
        account, source_ip = None, ask.remote_address or None
        if _is_address(ask.user):
            source_ip = ask.user
        elif ask.user and not ask.user.removeprefix("+").isdigit():
            account = ask.user
        a_number = ask.caller or (ask.user if account is None and not _is_address(ask.user) else "")
        return Offered(call, now, a_number, ask.called, account=account, source_ip=source_ip)

    def forget(self, call: CallKey) -> None:
        known = self._calls.pop(call, None)
        if known is not None:
            for name in known.aliases:
                self._named.pop((known.client, name), None)

    def told(self, told: Told, client: Client, now: Instant) -> tuple[Event, ...]:
        """What a report means; nothing, where it is about the called party's leg of a call that has another."""
        if told.status in (Status.ON, Status.OFF):
            return self._restarted(client, _moment(_credible(told, None, now), now)[0])
        known = self.find(told.names, client)
        if known is not None:
            if told.egress and known.ingress:
                return ()
            known = replace(known, ingress=known.ingress or not told.egress, names=_both(known.names, told.names))
        told = _credible(told, known, now)
        at = _moment(told, now)
        match told.status:
            case Status.START | Status.INTERIM:
                return self._alive(told, known, at, client, now)
            case _:
                return (self._ended(told, known, at, client),)

    def overdue(self, now: Instant) -> list[Released]:
        """Calls that were reported alive and are not any more. They are taken to have lasted until the last report."""
        return [
            self._vanished(known)
            for known in [*self._calls.values()]
            if known.interims and now.since_ms(known.heard) > MISSED_INTERIMS * max(self._interim_ms, known.gap_ms)
        ]

    def _restarted(self, client: Client, at: Instant) -> tuple[Released, ...]:
        """No call of then is up any more. What has begun since is: the report may be a repeated one."""
        of_then = [
            known
            for known in self._calls.values()
            if known.client == client.address and known.heard.monotonic_ms <= at.monotonic_ms
        ]
        return tuple([self._vanished(known) for known in of_then])

    def _alive(self, told: Told, known: Known | None, at: Moment, client: Client, now: Instant) -> tuple[Event, ...]:
        began = _began(told, at)
        interim = told.status is Status.INTERIM
        if known is None:  # it was admitted before we began, or is over
            call = self._key(told.names, client)
            known = Known(call, client.address, told.names, _NOTHING_ASKED, now, answered=began, interims=int(interim))
            self._remember(known)
            return (SeenAlive(call, now, began[0] if began is not None else None),)
        gap_ms = max(known.gap_ms, now.since_ms(known.heard)) if interim else 0
        first = began is not None and known.answered is None
        self._remember(
            replace(
                known,
                heard=now,
                interims=known.interims + interim,
                gap_ms=gap_ms,
                answered=known.answered or began,
            )
        )
        if first and began is not None:
            return (Answered(known.key, *began),)
        return (SeenAlive(known.key, now),) if known.answered is not None else (Alerting(known.key, at[0]),)

    def _ended(self, told: Told, known: Known | None, at: Moment, client: Client) -> Released:
        """A NAS that tells no length has reported the answer, or there was none."""
        call = known.key if known is not None else self._key(told.names, client)
        answered = known.answered if known is not None else None
        if told.status is Status.STOP and told.talked_ms is not None:
            if answered is not None:
                at = (answered[0].plus_ms(told.talked_ms), answered[1])
            elif told.talked_ms:
                answered = (at[0].plus_ms(-told.talked_ms), at[1])
        self.forget(call)
        if answered is not None and answered[1] != at[1]:
            at = (_by_the_clock_of(answered, at[0]), False)
        return Released(
            call,
            at[0],
            at[1],
            q850=told.q850,
            sip_code=told.sip_code,
            released_by=ReleasedBy.CALLCTL if told.terminate_cause in BY_US else None,
            answered_at=answered[0] if answered is not None else None,
        )

    def _vanished(self, known: Known) -> Released:
        self.forget(known.key)
        return Released(known.key, _by_the_clock_of(known.answered, known.heard), estimated=True)

    def _key(self, names: Names, client: Client) -> CallKey:
        if _is_of(names.ours, client):
            return CallKey(self._switch, names.ours)
        return CallKey(self._switch, f"{next(iter(names.all()), '')}@{client.address}")

    def _remember(self, known: Known) -> None:
        self._calls[known.key] = replace(known, aliases=known.aliases.union(known.names.all()))
        for name in known.names.all():
            self._named[known.client, name] = known.key
        if len(self._calls) > MOST_CALLS:
            self.forget(next(iter(self._calls)))


_NOTHING_ASKED: Final = Ask(Names(), "", "", "", "", None, None)


def _is_of(ours: str, client: Client) -> bool:
    """No NAS can name another one's call."""
    return ours.rpartition("@")[2] == client.address


def _both(before: Names, after: Names) -> Names:
    return Names(
        before.ours or after.ours,
        before.conf_id or after.conf_id,
        before.call_id or after.call_id,
        after.session_id or before.session_id,
    )


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def _credible(told: Told, known: Known | None, now: Instant) -> Told:
    """Without a length or a delay that cannot be. A length proves an answer all the same."""
    talked_ms = told.talked_ms
    if talked_ms is not None and talked_ms > LONGEST_MS:
        asked = known.asked if known is not None and known.answered is None else None
        talked_ms = now.since_ms(asked) if asked is not None else None
    return replace(told, talked_ms=talked_ms, delay_s=told.delay_s if told.delay_s * 1000 <= LONGEST_MS else 0)


def _moment(told: Told, now: Instant) -> Moment:
    """When it happened; a NAS whose clock is a day wrong is not asked what time it is."""
    ours = now.plus_ms(-told.delay_s * 1000)
    if told.event_ms is None or abs(told.event_ms - now.wall_ms) > LONGEST_MS:
        return ours, False
    return Instant(told.event_ms, ours.monotonic_ms), True


def _by_the_clock_of(answered: Moment | None, ended: Instant) -> Instant:
    """A record tells both times by one clock, and the NAS's may be minutes from ours."""
    return ended if answered is None else answered[0].plus_ms(ended.since_ms(answered[0]))


def _began(told: Told, at: Moment) -> Moment | None:
    """When the call was answered, if it was."""
    if told.talked_ms:
        return at[0].plus_ms(-told.talked_ms), at[1]
    if told.status is Status.START and not told.rings:
        return at
    return None
