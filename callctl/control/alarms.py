"""What ops hear of: emergencies, limits that are not enforced, alerts of spend thresholds, and low balances.

Where a threshold blocks an account its watched calls are hung up.
"""

from collections.abc import Callable, Iterable, Sequence
from operator import is_

import structlog
from msgspec.structs import replace

from callctl.accounts import Account
from callctl.call import news
from callctl.call.events import Extended, ExtendRefused, HangUpAsked, Taken, TakeRefused
from callctl.call.judgement import not_enforced
from callctl.call.session import Level, Session
from callctl.call.watched import watch_on
from callctl.control.within import LIVE
from callctl.limits.ids import Alert, Mode, Rule, Seen, Thresholds
from callctl.ports import Clock, Observer, Tariffs
from callctl.prepaid import slicing
from callctl.rating.tariff import Direction

log = structlog.get_logger(__name__)

ANSWERS = frozenset({Taken, TakeRefused, Extended, ExtendRefused})

_OUTBOUND = Direction.OUTBOUND


class Alarms:
    """`default`: thresholds of who calls and states none. `tripped` is told whose watched calls are to be hung up."""

    def __init__(
        self,
        observer: Observer,
        tariffs: Tariffs,
        clock: Clock,
        default: Thresholds | None,
        tripped: Callable[[str], None],
    ) -> None:
        self._observer = observer
        self._tariffs = tariffs
        self._clock = clock
        self._default = default
        self._tripped = tripped
        self._low: dict[str, int] = {}  # whose balance was told to be below what, since its last top-up

    def by_present_rules(self, session: Session) -> Session:
        """The call with the thresholds as they are now; where there are none any more it is only counted."""
        if session.direction is not _OUTBOUND or not self._may_watch(session.levels):
            return session
        accounts, called_from = self._tariffs.directory.accounts, session.called_from
        callers, called = session.levels[:called_from], session.levels[called_from:]
        defaults = (self._default, *[None] * (called_from - 1))
        renewed = [_renewed(lv, accounts.get(lv.account), of) for lv, of in zip(callers, defaults, strict=True)]
        return session if all(map(is_, renewed, callers)) else replace(session, levels=(*renewed, *called))

    def _may_watch(self, levels: Sequence[Level]) -> bool:
        """Whether any of them has thresholds now, or had them: most have none."""
        with_thresholds = self._tariffs.directory.with_thresholds
        for level in levels:
            if level.watch is not None or level.account in with_thresholds:
                return True
        return self._default is not None and bool(levels)

    def decided(self, session: Session) -> None:
        """A call was told yes or no: what ops are to know of it."""
        for broken in not_enforced(session):
            self._observer.not_enforced(broken.check)
            account = broken.level or session.account
            log.warning("limit_not_enforced", call_id=str(session.call), account=account, limit=str(broken))
        if session.emergency:  # somebody needs help
            log.warning(
                "emergency_call",
                call_id=str(session.call),
                account=session.account or None,
                caller=session.a_number,
                number=session.b_number,
            )

    def heard(self, session: Session, answer: Taken | TakeRefused | Extended | ExtendRefused) -> None:
        """What the store has answered for a call, which is now as `session` says."""
        for seen in answer.watched:
            if seen.news:
                self._tell(session, seen)
            if seen.refuses and (seen.rule is Rule.BLOCKED or Alert.TRIPPED in seen.alerts):
                self._block(session.levels[seen.level])
        self._look_at_balances(session, answer.available)

    def _block(self, level: Level) -> None:
        """Told again by every refusal of a blocked account: the word of the trip itself may be lost, or too early."""
        if level.watch is not None and level.watch.thresholds.mode is Mode.HARD:
            self._tripped(level.account)

    def _tell(self, session: Session, seen: Seen) -> None:
        for alert in seen.alerts:
            self._observer.alerted(session, seen, alert)
            log.warning("ids_alert", call_id=str(session.call), **news.alert(session, seen, alert))

    def topped_up(self, account: str) -> None:
        """It is told anew when it is low again."""
        self._low.pop(account, None)

    def _look_at_balances(self, session: Session, available: Sequence[int | None]) -> None:
        """What they would be if this call ended now; what other calls hold is taken for spent."""
        directory = self._tariffs.directory
        low = directory.with_low_balance
        for depth, level in enumerate(session.levels):
            if level.account in low and (free := available[depth]) is not None:
                begun = session.answered
                used_s = 0 if begun is None else -(-self._clock.now().since_ms(begun) // 1000)
                self._look_at(directory.accounts[level.account], free + slicing.unused(level, used_s), session)

    def spent(self, account_id: str, left: int | None) -> None:
        """Money has left an account beside calls; None: nothing limits what it may spend."""
        account = self._tariffs.directory.accounts.get(account_id)
        if account is not None and left is not None:
            self._look_at(account, left, None)

    def _look_at(self, account: Account, left: int, session: Session | None) -> None:
        """A low balance is told once, and again after a top-up or for another threshold."""
        threshold = account.low_balance
        if threshold is None or left >= threshold or self._low.get(account.id) == threshold:
            return
        self._low[account.id] = threshold
        self._observer.low(session, account, left, threshold)
        call_id = None if session is None else str(session.call)
        log.warning("low_balance", call_id=call_id, **news.low(account, left, threshold))


def watched_calls(account: str, sessions: Iterable[Session]) -> Iterable[HangUpAsked]:
    """What ends those of the calls that count against the account's thresholds."""
    for session in sessions:
        if (
            session.state in LIVE
            and not session.unwanted
            and any(lv.account == account and lv.watch is not None for lv in session.levels)
        ):
            yield HangUpAsked(session.call)


def _renewed(level: Level, account: Account | None, default: Thresholds | None) -> Level:
    if level.watch is None:
        watch = watch_on(account, default, level.traffic_class, None) if account is not None else None
        return level if watch is None else replace(level, watch=watch)
    agreed = (account.thresholds if account is not None else None) or default
    if agreed is None or agreed.mode is Mode.OFF:
        agreed = replace(level.watch.thresholds, mode=Mode.MONITOR)
    return level if agreed == level.watch.thresholds else replace(level, watch=replace(level.watch, thresholds=agreed))
