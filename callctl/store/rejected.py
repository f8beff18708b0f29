"""Redis answers with an error: which, as far as it matters what to do about it."""

from typing import Final

from callctl.errors import StoreUnavailable


class Rejected(StoreUnavailable):
    """The server answered with an error: READONLY, OOM, LOADING, MISCONF ... It says so in its own words."""


class WritesRefused(Rejected):
    """The server answers, but takes no writes for now."""


class ScriptMissing(Rejected):
    """NOSCRIPT: nothing was done, the server has to be given the script's text."""


_KINDS: Final = {"NOSCRIPT": ScriptMissing} | dict.fromkeys(
    ("READONLY", "OOM", "MISCONF", "NOREPLICAS", "LOADING", "MASTERDOWN", "CLUSTERDOWN"), WritesRefused
)


def rejected(message: str) -> Rejected:
    """The error that a server's message is, by the word that it begins with."""
    return _KINDS.get(message.partition(" ")[0], Rejected)(message)
