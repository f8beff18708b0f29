"""Whoever listens to the CDRs of an MQTT broker, and a broker that forgets nothing."""

import asyncio
import json
import subprocess

import aiomqtt

from tests.servers import Mosquitto


class Subscriber:
    """Hears everything below a prefix, and comes back when the broker does."""

    def __init__(self, port: int, prefix: str) -> None:
        self.port, self.prefix = port, prefix
        self.heard: list[tuple[str, bytes, bool]] = []
        self.listening = asyncio.Event()

    async def run(self) -> None:
        while True:
            try:
                session = aiomqtt.Client(
                    "127.0.0.1", self.port, identifier=f"subscriber-{self.prefix}", clean_session=False
                )
                async with session as client:
                    await client.subscribe(f"{self.prefix}/#", qos=1)
                    self.listening.set()
                    async for message in client.messages:
                        payload = message.payload
                        assert isinstance(payload, bytes)
                        self.heard.append((str(message.topic), payload, bool(message.retain)))
            except aiomqtt.MqttError:
                self.listening.clear()
                await asyncio.sleep(0.05)

    @property
    def sequences(self) -> list[int]:
        return [json.loads(payload)["sequence"] for topic, payload, _ in self.heard if "/cdr/" in topic]

    @property
    def statuses(self) -> list[bytes]:
        return [payload for topic, payload, _ in self.heard if topic.endswith("/status")]


class LastingMosquitto(Mosquitto):
    """Keeps what it has acknowledged over a restart, as one for CDRs must."""

    def command(self) -> list[str]:
        command = super().command()
        with (self.directory / "mosquitto.conf").open("a") as config:
            config.write(f"persistence true\npersistence_location {self.directory}/\nmax_queued_messages 0\n")
        return command


class GuardedMosquitto(Mosquitto):
    """Speaks TLS with a certificate of its own and lets in callctl alone, password `open-sesame`."""

    def command(self) -> list[str]:
        self.certificate = self.directory / "tls.crt"
        key, passwords = self.directory / "tls.key", self.directory / "passwords"
        name = ["-subj", "/CN=broker", "-addext", "subjectAltName=IP:127.0.0.1"]
        made = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", *name]
        subprocess.run([*made, "-keyout", key, "-out", self.certificate], check=True, capture_output=True)
        subprocess.run(["mosquitto_passwd", "-b", "-c", passwords, "callctl", "open-sesame"], check=True)
        command = super().command()
        config = self.directory / "mosquitto.conf"
        text = config.read_text().replace("allow_anonymous true", "allow_anonymous false")
        config.write_text(f"{text}certfile {self.certificate}\nkeyfile {key}\npassword_file {passwords}\n")
        return command
