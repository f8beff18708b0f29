"""The end of a call that is over for us: what was estimated meanwhile is corrected."""

from collections.abc import Awaitable, Callable

import structlog

from callctl.call.events import CallKey, Released
from callctl.call.running import RETRY_AFTER_MS
from callctl.control.mailbox import Mailbox
from callctl.errors import PortError, UnknownCall
from callctl.ports import Clock

log = structlog.get_logger(__name__)

TRIES = 8  # each after twice the time: four minutes in all


async def end(event: Released, opened: Callable[[CallKey], Awaitable[Mailbox | None]], clock: Clock) -> None:
    """`opened`: the call's mailbox; None where nothing that is reported of the call changes anything."""
    for tried in range(TRIES):
        try:
            box = await opened(event.call)
            if box is not None:
                box.put(event)
            return
        except UnknownCall:
            return  # it is none of ours
        except PortError as error:
            log.warning("late_end_not_noted", call_id=str(event.call), error=str(error))
            await clock.sleep_ms(RETRY_AFTER_MS << tried)
