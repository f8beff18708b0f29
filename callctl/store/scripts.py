"""The Lua scripts, as Redis knows them: by the SHA-1 of their text."""

import asyncio
import re
from collections.abc import Sequence
from hashlib import sha1
from importlib.resources import files
from typing import Final

import msgspec

from callctl.store.link import Argument, Link, LinkLost, Reply
from callctl.store.rejected import ScriptMissing

_LUA: Final = files("callctl.store") / "lua"
_CONSTANTS: Final = re.compile(r"^ *local ([A-Z_]+(?:, [A-Z_]+)*) = (\d+(?:, \d+)*)(?:  --.*)?$", re.MULTILINE)
_CAPITALS: Final = re.compile(r"\b[A-Z_]+\b")
_PRELUDE: Final = (_LUA / "prelude.lua").read_text("utf-8")


class Script(msgspec.Struct, frozen=True):
    """One script: `source` is the prelude and its file."""

    source: str
    sha: str


def load(*names: str) -> Script:
    """The script of `lua/<name>.lua`; of several, one behind the other."""
    source = "".join((_PRELUDE, *(_with_constants((_LUA / f"{name}.lua").read_text("utf-8")) for name in names)))
    return Script(source, sha1(source.encode(), usedforsecurity=False).hexdigest())


def _with_constants(text: str) -> str:
    """The text with the value of each constant where its name stands.

    To a function of Lua's a constant is one more variable to be found and bound whenever the function is made, and
    Redis makes them anew in every run.
    """
    values: dict[str, str] = {}
    for names, numbers in _CONSTANTS.findall(text):
        values |= zip(names.split(", "), numbers.split(", "), strict=True)
    return _CAPITALS.sub(lambda found: values.get(found[0], found[0]), _CONSTANTS.sub("", text))


ADMIT: Final = load("watch", "admit")
EXTEND: Final = load("watch", "extend")
SETTLE: Final = load("watch", "watched", "settle")
TOP_UP: Final = load("top_up")
RECOUNT: Final = load("recount")
LEASES: Final = load("leases")
DEPTH: Final = load("depth")
MOVE_ON: Final = load("move_on")
COPY: Final = load("copy")
DEFINE: Final = load("written", "define")
LIMITS: Final = load("written", "limits")
PUT_ACCOUNT: Final = load("written", "put_account")
CHARGE: Final = load("charge")
BUY: Final = load("buy")
WORD: Final = load("watch", "watched", "word")
PROVIDER: Final = load("provider")


async def run(
    link: Link, script: Script, keys: Sequence[str], *arguments: Argument, timeout_ms: int | None = None
) -> Reply:
    """Run a script, its text sent only to a server that does not know it. Raises what `Link.call` raises."""
    try:
        return await link.call("EVALSHA", script.sha, len(keys), *keys, *arguments, timeout_ms=timeout_ms)
    except ScriptMissing:
        return await link.call("EVAL", script.source, len(keys), *keys, *arguments, timeout_ms=timeout_ms)


async def run_through(link: Link, script: Script, keys: Sequence[str], arguments: Sequence[Argument]) -> Reply:
    """Run a script, and once more where the connection goes meanwhile."""
    try:
        return await run(link, script, keys, *arguments)
    except LinkLost as lost:
        return await run_again(link, script, keys, arguments, lost.until)


async def run_again(
    link: Link, script: Script, keys: Sequence[str], arguments: Sequence[Argument], until: float
) -> Reply:
    """Run it once more, when the link is up again. `until`: the loop's time by which it is to be answered."""
    await link.ready(_left_ms(until))
    return await run(link, script, keys, *arguments, timeout_ms=_left_ms(until))


def _left_ms(until: float) -> int:
    return max(1, round((until - asyncio.get_running_loop().time()) * 1000))
