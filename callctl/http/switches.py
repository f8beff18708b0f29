"""Switches added and removed while everything runs: the configuration is read again. The provider's alone."""

from collections.abc import Awaitable, Callable

import msgspec
from aiohttp import web

from callctl.errors import ConfigError
from callctl.http.auth import Holder, Scope
from callctl.http.errors import unacceptable
from callctl.http.routes import Route, json_response, refuse_unknown_queries


class Reloaded(msgspec.Struct, frozen=True):
    """The names of switches that were added, removed, and linked anew; the keys that a restart would apply."""

    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    needs_restart: tuple[str, ...] = ()


Reload = Callable[[], Awaitable[Reloaded]]
"""ConfigError: the configuration is wrong, and nothing was changed."""


class SwitchRoutes:
    """The routes of switches."""

    def __init__(self, reload: Reload) -> None:
        self._reload = reload

    def routes(self) -> tuple[Route, ...]:
        about = "read the configuration again: its switches apply at once"
        path, admin = "/v1/switches/reload", Scope.ADMIN
        return (Route("POST", path, self.reload, admin, about, answer=Reloaded, codes=(400, 422), provider=True),)

    async def reload(self, request: web.Request, _: Holder) -> web.Response:
        refuse_unknown_queries(request)
        try:
            return json_response(await self._reload())
        except ConfigError as wrong:
            raise unacceptable(str(wrong)) from wrong
