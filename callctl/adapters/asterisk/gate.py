"""What a call at the gate of `docker/asterisk/extensions.conf` tells of itself. Values in, values out.

The dialplan tells it in an event (`CCAuthorize`), and it stands in the variable of the subroutine that puts it together
(`callctl-describe`): an AsyncAGI gate asks once, and who was not there then reads it in the list.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Final

from callctl.adapters.asterisk.wire import Message
from callctl.call.events import CallKey, Offered
from callctl.clock import Instant
from callctl.rating.tariff import Direction

CONTEXT: Final = "callctl-gate"
DESCRIPTION: Final = "GOSUB_RETVAL"
DIRECTIONS: Final = {direction.value: direction for direction in Direction}


def waiting(channels: Iterable[Message]) -> Iterator[tuple[Message, Mapping[str, str]]]:
    """The channels of a `Status` list that wait there, each with what it has told."""
    for channel in channels:
        asked = channel.variables("Variable").get(DESCRIPTION, "")
        told = dict(header.partition(": ")[::2] for header in asked.split(","))
        if channel.all("Context") == [CONTEXT] and "Called" in told:
            yield channel, told


def offer(
    call: CallKey, at: Instant, told: Mapping[str, str], is_trunk: Callable[[str], bool], *, emergency: bool
) -> Offered:
    endpoint = told.get("Endpoint", "")
    return Offered(
        call,
        at,
        a_number=told.get("Caller", ""),
        b_number=told.get("Called", ""),
        direction=DIRECTIONS.get(told.get("Direction", ""), Direction.OUTBOUND),
        account=told.get("Account") or None,
        trunk=endpoint if is_trunk(endpoint) else None,
        source_ip=told.get("Source") or None,
        can_extend=True,
        attended=True,
        emergency=emergency,
    )
