"""The `[[switch]]` tables, by their `kind`."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, SecretStr

from callctl.causes import REFUSALS
from callctl.settings.values import Name, Port, Section, Text, Whole


def _of_refusals(sounds: dict[str, str]) -> dict[str, str]:
    known = sorted({cause.announcement for cause in REFUSALS.values()})
    if unknown := sorted(sounds.keys() - set(known)):
        raise ValueError(f"names among {', '.join(known)}; {unknown[0]} is none")
    return sounds


class AsteriskSwitch(Section):
    """An Asterisk, by its manager interface. The contexts are those of `docker/asterisk/extensions.conf`.

    `announcements`: the sound file that tells of a refusal, by the name of `causes.REFUSALS`; others are told by
    their SIP status alone. `sounds`: the one that says that so many seconds are left; a beep where there is none.
    """

    name: Name
    kind: Literal["asterisk"]
    host: Text = "127.0.0.1"
    port: Port = 5038
    username: Text = "ccgate"
    secret: SecretStr
    secret_file: Path | None = None
    tls: bool = False
    tls_ca: Path | None = None
    dial_context: Text = "callctl-dial"
    refuse_context: Text = "callctl-refuse"
    announce_context: Text = "callctl-announce"
    announcements: Annotated[dict[str, Text], AfterValidator(_of_refusals)] = {}  # noqa: RUF012  pydantic copies it
    sounds: dict[Annotated[Whole, Field(ge=1, le=3600)], Text] = {}  # noqa: RUF012


class KamailioSwitch(Section):
    """A Kamailio, by its evapi. `secret` is LINK_SECRET of `docker/kamailio/kamailio.cfg`; empty: none is asked for."""

    name: Name
    kind: Literal["kamailio"]
    host: Text = "127.0.0.1"
    port: Port = 8448
    secret: SecretStr = SecretStr("")
    secret_file: Path | None = None


SWITCHES: tuple[type[Section], ...] = (AsteriskSwitch, KamailioSwitch)
Switch = Annotated[AsteriskSwitch | KamailioSwitch, Field(discriminator="kind")]
"""One of `SWITCHES`, told by its kind."""
