"""What a proxy asks, as what happened to calls. Values in, values out: no I/O, no clock.

A call is named by its Call-ID alone, for that is all that `start` and `stop` tell. `start` comes with every 200 to the
INVITE, and a stop also for calls that nobody asked about: only the first of each counts. The protocol tells no times,
so a call is as long as it was from the first `start` to the `stop`, by our clock, and it tells no causes.
"""

from collections.abc import Collection, Iterable
from typing import Final

import msgspec
from msgspec.structs import replace

from callctl.adapters.call_control.wire import Init, Start, Stop
from callctl.call.events import Answered, CallKey, Offered, Released, SeenAlive
from callctl.clock import Instant

MOST_CALLS: Final = 100_000
"""In the book; beyond it the oldest is forgotten, and with it only how to end that call."""

CONFIRMED: Final = (3, 4)  # states of Kamailio's dialog module: answered, without and with an ACK
DELETED: Final = 5
NOT_YET_LISTED_MS: Final = 5_000
"""A call becomes a dialog only after its verdict: one so young need not be in a list."""


class Known(msgspec.Struct, frozen=True):
    """A call that was asked about, or that the proxy listed; `since` then. `dialog`: its name there, once answered."""

    since: Instant
    dialog: str | None = None


class Translator:
    """Keeps the book of live calls, by Call-ID. `trusts_diverter`: who a call is diverted for pays for it."""

    def __init__(self, switch: str, *, trusts_diverter: bool) -> None:
        self._switch = switch
        self._trusts_diverter = trusts_diverter
        self._calls: dict[str, Known] = {}

    def known(self, call_id: str) -> Known | None:
        return self._calls.get(call_id)

    def __len__(self) -> int:
        return len(self._calls)

    def call_ids(self) -> frozenset[str]:
        return frozenset(self._calls)

    def key(self, call_id: str) -> CallKey:
        return CallKey(self._switch, call_id)

    def offered(self, init: Init, now: Instant) -> Offered:
        """A diverter pays as an account, or by its number; else who calls, by source address and then by number."""
        self._remember(init.call_id, Known(now))
        account, source_ip, a_number = None, init.source_ip, init.caller
        if self._trusts_diverter and init.diverter is not None:
            is_number = init.diverter.removeprefix("+").isdigit()
            account, source_ip, a_number = None if is_number else init.diverter, "", init.diverter
        return Offered(
            self.key(init.call_id),
            now,
            a_number=a_number,
            b_number=init.called,
            account=account,
            source_ip=source_ip or None,
        )

    def started(self, start: Start, now: Instant) -> Answered | SeenAlive:
        """A call that is not in the book was asked about before we began."""
        known = self._calls.get(start.call_id)
        again = known is not None and known.dialog is not None
        self._remember(start.call_id, replace(known or Known(now), dialog=start.dialog))
        if again:
            return SeenAlive(self.key(start.call_id), now)
        return Answered(self.key(start.call_id), now)

    def stopped(self, stop: Stop, now: Instant) -> Released:
        self.forget(stop.call_id)
        return Released(self.key(stop.call_id), now)

    def forget(self, call_id: str) -> None:
        self._calls.pop(call_id, None)

    def listed(self, dialogs: Iterable["Dialog"], before: Collection[str], now: Instant) -> list[SeenAlive]:
        """The calls in Kamailio's list of dialogs; of those in the book `before`, what is not in it is forgotten."""
        up = {dialog.call_id: dialog for dialog in dialogs if dialog.state != DELETED}
        young = []
        for call_id in before:
            known = self._calls.get(call_id)
            if known is None or call_id in up:
                continue
            if now.since_ms(known.since) < NOT_YET_LISTED_MS:
                young.append(call_id)
            else:
                self.forget(call_id)
        for dialog in up.values():
            if dialog.is_answered:
                known = self._calls.get(dialog.call_id) or Known(now)
                self._remember(dialog.call_id, replace(known, dialog=dialog.name))
        seen = [SeenAlive(self.key(call_id), now, dialog.answered_at(now)) for call_id, dialog in up.items()]
        return seen + [SeenAlive(self.key(call_id), now) for call_id in young]

    def _remember(self, call_id: str, known: Known) -> None:
        self._calls[call_id] = known
        if len(self._calls) > MOST_CALLS:
            del self._calls[next(iter(self._calls))]


class Dialog(msgspec.Struct, frozen=True):
    """One of Kamailio's list. `start_s`: when it was answered, in seconds since the epoch; 0 before."""

    call_id: str = msgspec.field(name="call-id")
    h_entry: int
    h_id: int
    state: int = 0
    start_s: int = msgspec.field(name="start_ts", default=0)

    @property
    def name(self) -> str:
        """As `start` tells it."""
        return f"{self.h_entry}:{self.h_id}"

    @property
    def is_answered(self) -> bool:
        return self.state in CONFIRMED

    def answered_at(self, now: Instant) -> Instant | None:
        return now.at_wall(self.start_s * 1000) if self.is_answered and self.start_s else None
