"""Asking a NAS to end a call: Disconnect-Request (RFC 5176), which some obey and some have never heard of.

A request that is not answered is sent again as it was, as UDP needs it; the NAS does it once.
"""

import asyncio
from itertools import count
from typing import Final

from callctl.adapters.radius.wire import Client, Disconnect, Malformed, Names, Untrusted
from callctl.errors import SwitchUnavailable

TRIES: Final = 3
ANSWER_WITHIN_S: Final = 1


class Disconnector:
    """`disconnect` of one call beside others."""

    def __init__(self) -> None:
        self._numbers = count()

    async def disconnect(self, client: Client, names: Names, user: str) -> None:
        """Returns when the NAS has ended the call, or has no such call. SwitchUnavailable otherwise."""
        request = Disconnect(client, next(self._numbers) % 256, names, user)
        place = f"{client.address}:{client.disconnect_port}"
        answered: asyncio.Future[tuple[int, int | None]] = asyncio.get_running_loop().create_future()
        try:
            transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(
                lambda: _Reply(request, answered), remote_addr=(client.address, client.disconnect_port)
            )
            try:
                code, error = await _ask(transport, request, answered)
            finally:
                transport.close()
        except OSError as failed:  # also where nobody listens
            reason = "no answer" if isinstance(failed, TimeoutError) else failed.strerror or str(failed)
            raise SwitchUnavailable(f"{place}: Disconnect-Request: {reason}") from failed
        if code != Disconnect.ACKNOWLEDGED and error != Disconnect.NOT_THERE:
            raise SwitchUnavailable(f"{place}: Disconnect-Request: refused, Error-Cause {error}")


async def _ask(
    transport: asyncio.DatagramTransport, request: Disconnect, answered: "asyncio.Future[tuple[int, int | None]]"
) -> tuple[int, int | None]:
    for _ in range(TRIES):
        transport.sendto(request.datagram)
        await asyncio.wait({answered}, timeout=ANSWER_WITHIN_S)
        if answered.done():
            return answered.result()
    raise TimeoutError


class _Reply(asyncio.DatagramProtocol):
    """The first trusted reply, or why there can be none."""

    def __init__(self, request: Disconnect, answered: "asyncio.Future[tuple[int, int | None]]") -> None:
        self._request = request
        self._answered = answered

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        try:
            outcome = self._request.outcome(data)
        except (Untrusted, Malformed):
            return  # anybody can send us something
        if not self._answered.done():
            self._answered.set_result(outcome)

    def error_received(self, exc: Exception) -> None:
        if not self._answered.done():
            self._answered.set_exception(exc)
