"""What a provider configures: one TOML file, overridden by `CALLCTL_...` variables; read once, then frozen.

`-c FILE`, else `config/callctl.toml` where it exists, else the defaults. `CALLCTL_HTTP__PORT` is `http.port`,
`CALLCTL_SWITCH__0__HOST` the host of the first `[[switch]]`; a list of words is written with commas. A secret
may be given as `<key>_file` instead. Anything wrong stops the start: every mistake at once, each with its
place, what was found (never the value of a secret) and what was expected.
"""

import os
from collections.abc import Mapping
from pathlib import Path

from pydantic import ValidationError

from callctl.errors import ConfigError
from callctl.settings.mistakes import SECRETS, Place, dotted, translated
from callctl.settings.sanity import contradictions, readable_by_all, unwise
from callctl.settings.sections import (
    FileSink,
    Http,
    Limits,
    Log,
    MqttSink,
    Policy,
    Redis,
    Settings,
    Token,
)
from callctl.settings.source import holds_secrets, overlay, read, read_secrets
from callctl.settings.switches import (
    AsteriskSwitch,
    CallControlSwitch,
    FreeSwitchSwitch,
    KamailioSwitch,
    RadiusSwitch,
    Switch,
    ThreeCxSwitch,
    WebhookSwitch,
)

__all__ = [
    "DEFAULT_FILE",
    "AsteriskSwitch",
    "CallControlSwitch",
    "FreeSwitchSwitch",
    "KamailioSwitch",
    "FileSink",
    "Http",
    "Limits",
    "Log",
    "MqttSink",
    "Policy",
    "RadiusSwitch",
    "Redis",
    "Settings",
    "Switch",
    "ThreeCxSwitch",
    "Token",
    "WebhookSwitch",
    "load",
    "warnings",
]

DEFAULT_FILE = Path("config/callctl.toml")


def load(file: Path | None = None, environ: Mapping[str, str] = os.environ) -> Settings:
    """The settings of `file` and `environ`. Raises ConfigError, which lists every mistake."""
    source = _source(file)
    tree = read(source) if source else {}
    variables, mistakes = overlay(tree, environ)
    mistakes += read_secrets(tree, SECRETS)
    settings = None
    try:
        settings = Settings.model_validate(tree)
    except ValidationError as wrong:
        mistakes += translated(wrong.errors())
    if settings and not mistakes:
        mistakes = contradictions(settings)
        if not mistakes:
            return settings
    lines = {f"{_named(m.place, variables)}: {m.message}": None for m in mistakes}
    origin = str(source) if source else "configuration"
    raise ConfigError(origin, next(iter(lines)) if len(lines) == 1 else "\n  " + "\n  ".join(lines))


def warnings(settings: Settings, file: Path | None = None) -> list[str]:
    """What is allowed and yet unwise in `settings`, and in the file that they came from: `file`, as for `load`."""
    found, source = unwise(settings), _source(file)
    if source and readable_by_all(source) and holds_secrets(read(source), SECRETS):
        found.append(f"{source}: everybody on this machine can read the secrets in it; chmod 600 it")
    return found


def _source(file: Path | None) -> Path | None:
    return file or (DEFAULT_FILE if DEFAULT_FILE.is_file() else None)


def _named(place: Place, variables: Mapping[Place, str]) -> str:
    """The variable that is to blame for what stands at `place`, or its key in the file."""
    to_blame = (name for origin, name in variables.items() if origin[: len(place)] == place)
    return next(to_blame, dotted(place))
