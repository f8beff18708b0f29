"""`services` without Redis: the same rules, in one process."""

from collections.abc import Callable

from msgspec.structs import replace

from callctl.rating.services import Catalogue
from callctl.rating.subscriptions import ServiceBook, Subscriptions, check_book


class MemoryServices:
    """`ports.Services`."""

    def __init__(self) -> None:
        self._book = ServiceBook()

    async def book(self) -> ServiceBook:
        return self._book

    async def put_catalogue(self, catalogue: Catalogue) -> None:
        check_book(self._book, catalogue)
        self._book = replace(self._book, catalogue=catalogue)

    async def change(self, account: str, change: Callable[[ServiceBook], Subscriptions]) -> Subscriptions:
        changed = change(self._book)
        self._book.subscriptions[account] = changed
        return changed

    async def restore(self) -> None:
        """Nothing is lost here."""
