"""The Lua scripts, as Redis knows them: by the SHA-1 of their text."""

from collections.abc import Sequence
from hashlib import sha1
from importlib.resources import files
from typing import Final

import msgspec

from callctl.store.link import Argument, Link, Reply, ScriptMissing

_LUA: Final = files("callctl.store") / "lua"
_PRELUDE: Final = (_LUA / "prelude.lua").read_text("utf-8")


class Script(msgspec.Struct, frozen=True):
    """One script: `source` is the prelude and its file."""

    source: str
    sha: str


def load(*names: str) -> Script:
    """The script of `lua/<name>.lua`; of several, one behind the other."""
    source = "".join((_PRELUDE, *((_LUA / f"{name}.lua").read_text("utf-8") for name in names)))
    return Script(source, sha1(source.encode(), usedforsecurity=False).hexdigest())


ADMIT: Final = load("watch", "admit")
EXTEND: Final = load("watch", "extend")
SETTLE: Final = load("watch", "settle")
TOP_UP: Final = load("top_up")
RECOUNT: Final = load("recount")
MOVE_ON: Final = load("move_on")
DEFINE: Final = load("define")
CHARGE: Final = load("charge")
BUY: Final = load("buy")
WORD: Final = load("watch", "word")
PROVIDER: Final = load("provider")


async def run(
    link: Link, script: Script, keys: Sequence[str], *arguments: Argument, timeout_ms: int | None = None
) -> Reply:
    """Run a script, its text sent only to a server that does not know it. Raises what `Link.call` raises."""
    try:
        return await link.call("EVALSHA", script.sha, len(keys), *keys, *arguments, timeout_ms=timeout_ms)
    except ScriptMissing:
        return await link.call("EVAL", script.source, len(keys), *keys, *arguments, timeout_ms=timeout_ms)
