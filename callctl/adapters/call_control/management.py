"""The proxy's management interface: JSON-RPC 2.0 in datagrams of a unix socket, for ending calls and listing them.

Kamailio's is the `dgram_socket` of its jsonrpcs module, OpenSIPS' that of mi_datagram. A question and its answer are
a datagram each; an answer longer than a datagram never comes.
"""

import asyncio
import contextlib
import socket
from itertools import count
from pathlib import Path
from typing import Any, Final

import msgspec

from callctl.errors import SwitchUnavailable

ANSWER_WITHIN_S: Final = 2
LONGEST: Final = 1 << 18


class NotDone(Exception):
    """The proxy answered that it has not done it. `code`: JSON-RPC's, or the module's own."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(f"{code} {message}")
        self.code = code


class _Error(msgspec.Struct):
    code: int = 0
    message: str = ""


class _Answer(msgspec.Struct):
    id: int | None = None
    result: Any = None
    error: _Error | None = None


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(_Answer).decode


class Management:
    """Asks each question from a socket of its own, which has no name in the file system."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._numbers = count(1)

    async def ask(self, method: str, params: list[Any] | dict[str, Any]) -> Any:
        """Its result. NotDone where the proxy says no, SwitchUnavailable where it says nothing that makes sense."""
        number = next(self._numbers)
        request = _encode({"jsonrpc": "2.0", "id": number, "method": method, "params": params})
        try:
            async with asyncio.timeout(ANSWER_WITHIN_S):
                answer = _decode(await self._exchange(request))
        except (OSError, TimeoutError, msgspec.MsgspecError) as failed:
            why = "no answer" if isinstance(failed, TimeoutError) else str(failed)
            raise SwitchUnavailable(f"{self._path}: {method}: {why}") from failed
        if answer.error is not None:
            raise NotDone(answer.error.code, answer.error.message)
        if answer.id != number:
            raise SwitchUnavailable(f"{self._path}: {method}: an answer to something else")
        return answer.result

    async def _exchange(self, request: bytes) -> bytes:
        loop = asyncio.get_running_loop()
        with contextlib.closing(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)) as asking:
            asking.setblocking(False)
            asking.bind("")  # Linux finds a name in the abstract namespace, to which the answer is sent
            asking.connect(str(self._path))
            await loop.sock_sendall(asking, request)
            return await loop.sock_recv(asking, LONGEST)
