"""An account's money when the account is put: how far it may fall, and where it goes with another root.

Within a root an account moves at once, its money stays where it is. Another root is another place in the store: then
no call may be up and nothing held, by it or any account below it (`docs/rules.md`, Moving an account). All that they
have goes there in the step that writes the definition; what is left at the old root is the past, and where they went.
"""

from collections.abc import Iterable
from typing import Final

import msgspec

from callctl.accounts import Account
from callctl.errors import CallConflict
from callctl.money import MAX_MICROS
from callctl.store.registry import Registry

CLOSED: Final = -MAX_MICROS
"""The limit where an account was, which no credit reaches: no call begins there (not even one that costs nothing), no
subscription is charged and nothing paid in."""


class FormerRoot(msgspec.Struct, frozen=True):
    """An account that was directly below the provider once: CDRs of that time may wait there still."""

    id: str


class Move(msgspec.Struct, frozen=True):
    """Where the money of an account is and is to be, and that of all below it where the root changes.

    `limits`: how far below zero each of them may go then, in micro-units; None: any amount.
    """

    account: str
    from_root: str
    to_root: str
    limits: dict[str, int | None]

    @property
    def leaves(self) -> bool:
        return self.from_root != self.to_root

    @property
    def former_root(self) -> FormerRoot | None:
        return FormerRoot(self.account) if self.leaves and self.account == self.from_root else None

    def refused(self, busy: Iterable[str]) -> CallConflict:
        """Because of these."""
        whose = ", ".join(sorted(busy))
        return CallConflict(f"account {self.account} cannot leave {self.from_root}: {whose} has calls or holds")


def move_of(registry: Registry, account: Account) -> Move:
    """What it means to put an account."""
    from_root, to_root = registry.root(registry.accounts.get(account.id, account)), registry.root(account)
    going = registry.directory.below(account.id) if from_root != to_root else ()
    limits = {id: registry.accounts[id].credit_limit for id in going}
    return Move(account.id, from_root, to_root, limits | {account.id: account.credit_limit})
