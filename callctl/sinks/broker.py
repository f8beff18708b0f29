"""An MQTT broker: how it is reached. Every connection is one of its own."""

import contextlib
import logging
import ssl

import aiomqtt
import msgspec

ANSWER_S = 5  # for a connection, and for the acknowledgement of one message
KEEPALIVE_S = 15  # an idle connection to a broker that is gone is noticed after about twice this time
IN_FLIGHT = 50  # messages on their way at once

_silent = logging.Logger("mqtt", logging.CRITICAL)  # every failure is in an exception already


class Broker(msgspec.Struct, frozen=True):
    """Its address, and who we are there."""

    host: str
    port: int
    client_id: str
    username: str | None = None
    password: str | None = None
    tls: ssl.SSLContext | None = None

    def client(self, suffix: str = "", will: aiomqtt.Will | None = None) -> aiomqtt.Client:
        """A connection to be entered; it and all that is done on it may raise MqttError. `suffix`: of its client id."""
        return aiomqtt.Client(
            self.host,
            self.port,
            identifier=self.client_id + suffix,
            username=self.username,
            password=self.password,
            tls_context=self.tls,
            will=will,
            timeout=ANSWER_S,
            keepalive=KEEPALIVE_S,
            max_inflight_messages=IN_FLIGHT,
            logger=_silent,
        )

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


async def leave(client: aiomqtt.Client) -> None:
    """Ends a connection, as far as there is one left."""
    with contextlib.suppress(aiomqtt.MqttError):
        await client.__aexit__(None, None, None)


async def until_lost(client: aiomqtt.Client) -> None:
    """Raises MqttError as soon as the connection is gone. Nothing is subscribed, so no message ever comes."""
    async for _ in client.messages:
        pass
