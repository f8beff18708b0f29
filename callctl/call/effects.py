"""What the machine wants done. `control/performer` does it; its outcome comes back as an event."""

import msgspec

from callctl.accounts import WarnTo
from callctl.call.events import CallKey, Deadline
from callctl.call.session import Session
from callctl.call.takes import Extension, Settlement, Take
from callctl.causes import Cause
from callctl.clock import Instant


class TakeNow(msgspec.Struct, frozen=True, gc=False):
    """Ask the store to admit: Taken, TakeRefused or StoreFailed comes back."""

    take: Take


class ExtendNow(msgspec.Struct, frozen=True, gc=False):
    """Ask the store for more, or to save the record: Extended, ExtendRefused or StoreFailed comes back."""

    extension: Extension


class SettleNow(msgspec.Struct, frozen=True, gc=False):
    """Post, record, give back: Settled or StoreFailed comes back."""

    settlement: Settlement


class JournalNow(msgspec.Struct, frozen=True, gc=False):
    """Append the session to the local journal. Its last line there says what is to be replayed into the store."""

    session: Session


class AdmitCall(msgspec.Struct, frozen=True, gc=False):
    """The call may go on: for `granted_s` seconds from answer, ringing at most `setup_s` seconds."""

    call: CallKey
    granted_s: int
    setup_s: int
    b_number: str
    account: str


class RejectCall(msgspec.Struct, frozen=True, gc=False):
    """The call may not go on."""

    call: CallKey
    cause: Cause


class ArmCall(msgspec.Struct, frozen=True, gc=False):
    """The switch's own timer ends the call `remaining_ms` from now, whatever becomes of callctl."""

    call: CallKey
    remaining_ms: int


class WarnCall(msgspec.Struct, frozen=True, gc=False):
    """Announce that about `left_s` seconds of credit are left."""

    call: CallKey
    left_s: int
    to: WarnTo


class HangUpCall(msgspec.Struct, frozen=True, gc=False):
    """End the call now, on all its legs."""

    call: CallKey
    q850: int


class SetDeadline(msgspec.Struct, frozen=True, gc=False):
    """Send DeadlineReached at `at`; replaces one of the same kind. None: forget it."""

    call: CallKey
    deadline: Deadline
    at: Instant | None


class Forget(msgspec.Struct, frozen=True, gc=False):
    """The call is finished: its mailbox and deadlines go."""

    call: CallKey


class Unexpected(msgspec.Struct, frozen=True, gc=False):
    """An event that the state has no use for: counted and logged, nothing changes."""

    call: CallKey
    state: str
    event: str


Effect = (
    TakeNow | ExtendNow | SettleNow | JournalNow | AdmitCall | RejectCall | ArmCall | WarnCall | HangUpCall
    | SetDeadline | Forget | Unexpected
)  # fmt: skip

Advance = tuple[Session, tuple[Effect, ...]]

_DEADLINES = tuple(Deadline)


def deadline_at(session: Session, deadline: Deadline, at: Instant | None) -> SetDeadline:
    return SetDeadline(session.call, deadline, at)


def quiet(session: Session) -> tuple[Effect, ...]:
    """No deadline of the call is waited for any more."""
    return tuple([SetDeadline(session.call, deadline, None) for deadline in _DEADLINES])


def forget(session: Session) -> tuple[Effect, ...]:
    return (*quiet(session), Forget(session.call))
