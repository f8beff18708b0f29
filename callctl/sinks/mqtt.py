"""CDRs to an MQTT broker: `<prefix>/cdr/<account>`, acknowledged each (QoS 1), in order.

`<prefix>/status` is retained: `online` while callctl is connected, `offline` after; the broker itself says so when
callctl dies (last will). A batch that broke off comes again as a whole, so a subscriber may see a record twice;
its `id` tells. A subscriber of one account's topic sees what the provider sees of it, cost and margin included.
"""

import asyncio
import contextlib
from collections.abc import Sequence
from urllib.parse import quote

import aiomqtt
import msgspec

from callctl.errors import SinkUnavailable
from callctl.ports import FeedRecord
from callctl.sinks.broker import Broker, leave, until_lost
from callctl.sinks.record import columns_of

ONLINE, OFFLINE = b"online", b"offline"

_encode = msgspec.json.Encoder().encode


class MqttSink:
    """One broker, connected at the first delivery and anew at the first one after a loss."""

    def __init__(self, name: str, broker: Broker, *, topic_prefix: str) -> None:
        self.name = name
        self._broker = broker
        self._prefix = topic_prefix
        self._client: aiomqtt.Client | None = None
        self._lost: asyncio.Task[None] | None = None

    async def deliver(self, records: Sequence[FeedRecord]) -> None:
        """Returns when the broker has acknowledged every record. An empty batch only sees to the connection.

        Raises SinkUnavailable; then any part of the batch may have arrived.
        """
        try:
            client, lost = await self._connected()
            sent = asyncio.gather(*(self._publish(client, record) for record in records))
            try:
                await asyncio.wait((sent, lost), return_when=asyncio.FIRST_COMPLETED)
                if not sent.done():
                    lost.result()
                await sent
            finally:
                sent.cancel()
                await asyncio.gather(sent, return_exceptions=True)
        except aiomqtt.MqttError as failed:
            await self._drop()
            raise SinkUnavailable(f"{self._broker}: {failed}") from failed

    async def close(self) -> None:
        """Says goodbye: a connection that is closed in order leaves no last will."""
        if self._client is not None:
            with contextlib.suppress(aiomqtt.MqttError):
                await self._client.publish(f"{self._prefix}/status", OFFLINE, qos=1, retain=True)
        await self._drop()

    async def _publish(self, client: aiomqtt.Client, record: FeedRecord) -> None:
        await client.publish(self.topic_of(record.account), _encode(columns_of(record.payload)), qos=1)

    def topic_of(self, account: str) -> str:
        """An account's topic. Its id is one level whatever is in it: `/`, `+` and `#` are percent-encoded."""
        return f"{self._prefix}/cdr/{quote(account, safe='')}"

    async def _connected(self) -> tuple[aiomqtt.Client, asyncio.Task[None]]:
        if self._client is not None and self._lost is not None and not self._lost.done():
            return self._client, self._lost
        await self._drop()
        status = f"{self._prefix}/status"
        self._client = self._broker.client(will=aiomqtt.Will(status, OFFLINE, qos=1, retain=True))
        await self._client.__aenter__()
        self._lost = asyncio.create_task(until_lost(self._client))
        await self._client.publish(status, ONLINE, qos=1, retain=True)
        return self._client, self._lost

    async def _drop(self) -> None:
        client, lost, self._client, self._lost = self._client, self._lost, None, None
        if client is not None:
            await leave(client)
        if lost is not None:  # with the connection closed it ends by itself
            await asyncio.gather(lost, return_exceptions=True)
