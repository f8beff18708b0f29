"""The end of a call as one step for the store: posts, records, and everything taken given back."""

from collections.abc import Sequence

from msgspec.structs import replace

from callctl.call import cdr, drawing, watched
from callctl.call.anchor import answered_levels
from callctl.call.due import Due, difference, dues
from callctl.call.session import Level, Session, State
from callctl.call.takes import Post, Settlement
from callctl.prepaid import slicing


def anchored(session: Session) -> Session:
    """The session as its answer prices it, granted no more than what was held before the answer pays for.

    A prepaid payer would else owe what nobody has held: the bands may cost more together than each of them alone.
    """
    levels = answered_levels(session)
    if levels == session.levels:
        return session
    return replace(session, levels=levels, granted_s=slicing.within_hold(levels, session.granted_s))


def settle(session: Session) -> Settlement:
    """Close an ended call: posts (estimates where nobody saw the end) and one record per payer."""
    session = anchored(session)
    owed = dues(session)
    kind = "estimate" if session.estimated else "post"
    ended = closed(session, owed)
    posts: tuple[Post, ...] = ()
    if session.answered is not None:
        posts = tuple(
            Post(level.account, kind, due.total, _used(level, due.used), level.root)
            for level, due in zip(session.levels, owed, strict=True)
        )
    return Settlement(ended, posts, cdr.records(ended, owed), watched.settled(session, owed))


def closed(session: Session, owed: Sequence[Due]) -> Session:
    """The session as it is once its payers were charged what they owe: of its sources it has what it used."""
    levels = tuple(
        drawing.holding(level, due.used) if due.used else level for level, due in zip(session.levels, owed, strict=True)
    )
    return replace(session, state=State.ENDED, levels=levels, posted=tuple(due.total for due in owed))


def _used(level: Level, amounts: Sequence[int]) -> tuple[tuple[str, int], ...]:
    """What leaves which source."""
    used = zip(level.sources, amounts, strict=True) if amounts else ()
    return tuple((source.id, amount) for source, amount in used if amount)


def correct(before: Session, after: Session) -> Settlement:
    """The true end of a call that was estimated: the difference, in posts and records of its own.

    What the estimate did not charge a prepaid payer is held no longer, so it is not charged now. Who did not answer
    owes nothing, and has the right record: only what thresholds keep is put right.
    """
    guessed = dues(before)
    if after.answered is None:
        ended = replace(after, corrections=before.corrections + 1)
        return Settlement(ended, (), (), watched.corrected(before, guessed, after, guessed))
    charged_s = [
        due.duration_s - due.unbilled_s for level, due in zip(before.levels, guessed, strict=True) if level.prepaid
    ]
    after = replace(after, levels=answered_levels(after), granted_s=min([after.granted_s, *charged_s]))
    owed = dues(after)
    ended = replace(closed(after, owed), corrections=before.corrections + 1)
    posts = tuple(
        Post(
            level.account, "correction", due.total - posted, _used(level, difference(due.used, guess.used)), level.root
        )
        for level, due, guess, posted in zip(after.levels, owed, guessed, before.posted, strict=True)
    )
    answered = before.answered is not None
    found = cdr.corrections(ended, guessed, owed, was_answered=answered)
    return Settlement(ended, posts, found, watched.corrected(before, guessed, after, owed))


def refuse(session: Session) -> Settlement:
    """Record a refused attempt: one record, for the customer."""
    refused = replace(session, state=State.REFUSED)
    return Settlement(refused, (), cdr.records(refused, ()))
