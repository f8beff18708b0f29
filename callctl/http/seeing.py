"""What a token may see (`docs/rules.md`, Seeing). `viewer` is the account it is bound to; None is the provider.

The viewer sees itself and what is below it. Whatever is not visible looks like what does not exist.
"""

from typing import Any

from callctl.accounts import Account, Directory
from callctl.call.session import Session
from callctl.http.errors import HttpError, not_found

Record = dict[str, Any]
_PURCHASE = ("cost", "margin", "buy_plan", "buy_row", "exchange")


def may_see(directory: Directory, viewer: str | None, account: str) -> bool:
    """Whether `account` is the viewer or below it."""
    return viewer is None or any(level.id == viewer for level in directory.chain(account))


def visible_account(directory: Directory, viewer: str | None, account_id: str) -> Account:
    """The account. HttpError 404 when there is none, or none for this viewer."""
    account = directory.accounts.get(account_id)
    if account is None or not may_see(directory, viewer, account_id):
        raise not_found("account")
    return account


def writable_account(directory: Directory, viewer: str | None, account_id: str) -> Account:
    """The same, for a change: a reseller changes those below it, never itself. HttpError 403 for that."""
    account = visible_account(directory, viewer, account_id)
    if account_id == viewer:
        raise HttpError(403, "forbidden", "an account is changed from above only")
    return account


def sees_call(directory: Directory, viewer: str | None, session: Session) -> bool:
    """Whether the viewer is one of the caller's payers, or was above the account that was refused.

    To the called party the call is its own record: what the caller pays is not for it to see.
    """
    if viewer is None or any(level.account == viewer for level in session.levels[: session.called_from]):
        return True
    return bool(session.account) and may_see(directory, viewer, session.account)


def record_seen(directory: Directory, viewer: str | None, record: Record) -> Record | None:
    """A CDR as the viewer sees it, None when it does not. `chain` (what every level paid) is never shown.

    Of itself: without parent, cost and margin. Of those below: `cost` is what the viewer pays for the call; the
    margin and the purchase row are another reseller's business unless the payer is the viewer's own customer. An
    affiliate is named to those who see that account.
    """
    shown = record.copy()
    chain = shown.pop("chain", ())
    if viewer is None:
        return shown
    shown["parts"] = [_without(part, "cost") for part in record.get("parts") or ()]
    shown["affiliates"] = [each for each in record["affiliates"] if may_see(directory, viewer, each["account"])]
    payer = record["account"]
    if payer == viewer:
        return _without(shown, "parent", *_PURCHASE)
    if payer is None or not may_see(directory, viewer, payer):
        return None
    if record["parent"] != viewer:
        shown = _without(shown, *_PURCHASE)
    paid = dict(chain)
    return shown | {"cost": paid[viewer]} if viewer in paid else _without(shown, "cost", "margin")


def _without(record: Record, *keys: str) -> Record:
    return {key: value for key, value in record.items() if key not in keys}
