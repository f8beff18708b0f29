"""From a file, the environment and secret files to one tree of plain values, which `sections` then judges."""

import tomllib
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

from callctl.errors import ConfigError
from callctl.settings.mistakes import Mistake, Place

PREFIX = "CALLCTL_"
KEYED = (["sounds"], ["numbers"], ["routes"])
NOT_SETTINGS = {"CALLCTL_URL", "CALLCTL_TOKEN"}  # what the command line, as a client, is told


def read(file: Path) -> dict[str, Any]:
    """The TOML of `file`. ConfigError when there is none."""
    try:
        return tomllib.loads(file.read_text("utf-8"))
    except OSError as failed:
        raise ConfigError(str(file), failed.strerror or "cannot be read") from failed
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as wrong:
        raise ConfigError(str(file), f"not TOML: {wrong}") from wrong


def overlay(tree: dict[str, Any], environ: Mapping[str, str]) -> tuple[dict[Place, str], list[Mistake]]:
    """Writes the variables into the tree; answers which key came from which variable."""
    variables = {_place(name): name for name in environ if name.startswith(PREFIX) and name not in NOT_SETTINGS}
    mistakes = []
    for place in sorted(variables, key=lambda place: [f"{part:>9}" for part in place]):  # 2 before 10
        try:
            _write(tree, place, environ[variables[place]])
        except (LookupError, TypeError):
            mistakes.append(Mistake(place, "leads to no setting; lists are counted from 0, without gaps"))
    return variables, mistakes


def _place(name: str) -> Place:
    """`CALLCTL_SWITCH__0__HOST` is ("switch", 0, "host"); below `KEYED` numbers are keys, not places in a list."""
    place: list[str | int] = []
    for part in name[len(PREFIX) :].split("__"):
        place.append(int(part) if part.isdecimal() and place[-1:] not in KEYED else part.lower())
    return tuple(place)


def _write(tree: Any, place: Place, value: str) -> None:
    for part, below in pairwise(place):
        if isinstance(tree, list) and part == len(tree):
            tree.append({})
        elif isinstance(tree, dict) and part not in tree:
            tree[part] = [] if isinstance(below, int) else {}
        tree = tree[part]
    if isinstance(tree, list) and place[-1] == len(tree):
        tree.append(value)
    elif isinstance(tree, dict) == isinstance(place[-1], str):
        tree[place[-1]] = value
    else:
        raise LookupError(place)


def read_secrets(tree: Any, keys: tuple[str, ...], place: Place = ()) -> list[Mistake]:
    """Puts the contents of every `<key>_file` beside it, without the line's end."""
    if not isinstance(tree, dict):
        items = enumerate(tree) if isinstance(tree, list) else ()
        return [mistake for i, item in items for mistake in read_secrets(item, keys, (*place, i))]
    mistakes = []
    for key, value in list(tree.items()):
        secret = key.removesuffix("_file")
        if secret == key or secret not in keys or not isinstance(value, str):
            mistakes += read_secrets(value, keys, (*place, key))
        elif secret in tree:
            mistakes.append(Mistake((*place, key), f"given beside {secret}; expected one of them"))
        else:
            try:
                tree[secret] = Path(value).read_text("utf-8").rstrip("\r\n")
            except (OSError, UnicodeDecodeError) as failed:
                reason = failed.strerror if isinstance(failed, OSError) else "not UTF-8"
                mistakes.append(Mistake((*place, key), f"cannot read {value}: {reason}"))
                tree[secret] = "-"  # so that its absence is not a second mistake
    return mistakes


def holds_secrets(tree: Any, keys: tuple[str, ...]) -> bool:
    """Whether a secret stands in the file itself. An address is one where it has a password."""
    if isinstance(tree, list):
        return any(holds_secrets(item, keys) for item in tree)
    return isinstance(tree, dict) and any(
        (key in keys and isinstance(value, str) and (key != "url" or "@" in value)) or holds_secrets(value, keys)
        for key, value in tree.items()
    )
