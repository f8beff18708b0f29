"""A bare AMI session for tests: what a script of ours would say to Asterisk, without any of callctl."""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Self

from tests.switches.rig.asterisk import AsteriskRig
from tests.waiting import PATIENCE_S

Fields = dict[str, str]


class Manager:
    """A login; keeps every event that it is shown. Of a header that comes twice the last one stays."""

    def __init__(self, rig: AsteriskRig, user: str = "ccgate", secret: str = "gate-secret") -> None:
        """Log in as `user` once entered."""
        self.events: list[Fields] = []
        self._rig, self._user, self._secret = rig, user, secret
        self._responses: asyncio.Queue[Fields] = asyncio.Queue()
        self._arrived = asyncio.Condition()

    async def __aenter__(self) -> Self:
        self._reader, self._writer = await asyncio.open_connection(self._rig.host, self._rig.ami_port)
        await self._reader.readline()  # the banner
        self._reading = asyncio.create_task(self._read())
        response = await self.ask("Login", Username=self._user, Secret=self._secret)
        assert response["Response"] == "Success", response
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._writer.close()
        await self._reading

    async def ask(self, action: str, **headers: str) -> Fields:
        """Send an action; its response."""
        lines = [f"Action: {action}", *(f"{name}: {value}" for name, value in headers.items()), "", ""]
        self._writer.write("\r\n".join(lines).encode())
        return await asyncio.wait_for(self._responses.get(), PATIENCE_S)

    async def set(self, channel: str, **variables: str) -> None:
        """Setvar, one after the other."""
        for name, value in variables.items():
            response = await self.ask("Setvar", Channel=channel, Variable=name, Value=value)
            assert response["Response"] == "Success", response

    async def event(self, event: str, **fields: str) -> Fields:
        """The first event of this name with these fields; waits for it if it has not come yet."""
        wanted = {"Event": event, **fields}
        async with asyncio.timeout(PATIENCE_S), self._arrived:
            while True:
                for one in self.events:
                    if wanted.items() <= one.items():
                        return one
                await self._arrived.wait()

    async def closed(self) -> None:
        """Wait until Asterisk has closed the connection."""
        await asyncio.wait_for(asyncio.shield(self._reading), PATIENCE_S)

    async def _read(self) -> None:
        fields: Fields = {}
        while line := await self._reader.readline():
            name, colon, value = line.decode("utf-8", "replace").rstrip("\r\n").partition(": ")
            if name:
                fields[name] = value if colon else ""
                continue
            if "Response" in fields and "Event" not in fields:
                self._responses.put_nowait(fields)
            else:
                self.events.append(fields)
                async with self._arrived:
                    self._arrived.notify_all()
            fields = {}
