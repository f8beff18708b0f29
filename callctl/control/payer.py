"""Who pays for an offered call, told by its account, trunk, address or number; and what was really dialled."""

import msgspec

from callctl.accounts import Chain, Directory, Trunk
from callctl.call.events import Offered
from callctl.call.session import Session
from callctl.limits.classes import NumberLists
from callctl.numbering import DialRules, Number, caller, emergency_number
from callctl.rating.tariff import Direction

NO_RULES = DialRules()


class Payer(msgspec.Struct, frozen=True, gc=False):
    """The account that pays and all above it, the trunk whose channels the call takes, and in words what told them.

    `rules`: by which its numbers are read. `dialled`: without a department's code. `pbx`: the account that was told,
    where it is a department of it that pays. `unknown`: why nobody pays.
    """

    chain: Chain
    trunk: Trunk | None
    told_by: str
    rules: DialRules
    dialled: str
    pbx: str = ""
    unknown: str = "no such account"


def find_payer(offered: Offered, outer: Session | None, directory: Directory, lists: NumberLists) -> Payer:
    """The account that the call is told by, or its department that the call is of.

    Of a call within another, `outer`, that one's payer.
    """
    if offered.within is not None:
        return _within(offered, outer, directory)
    account, trunk, told_by = _told(offered, directory)
    chain = directory.chain(account) if account is not None else ()
    if not chain:
        return Payer((), trunk, told_by, NO_RULES, offered.b_number)
    if chain[0].departments:
        return _department(offered, chain, trunk, told_by, directory, lists)
    return Payer(chain, trunk, told_by, chain[0].dial_rules, offered.b_number)


def find_called(offered: Offered, payer: Payer, number: Number, directory: Directory) -> str | None:
    """The account whose number is called, or its department of that extension; None where that one is the payer."""
    owner = directory.by_number(number.e164)
    if owner is None or offered.direction is Direction.INTERNAL:
        return None
    account = payer.chain[0].id if payer.chain else None
    if owner == account:
        return None
    if owner == payer.pbx and offered.direction is Direction.INBOUND:
        return None  # a department of whom is called pays for this very call
    found = directory.accounts[owner].department("", number.e164, None, inbound=True)
    if found is not None and found[0].account in directory.accounts:
        owner = found[0].account
    return owner if owner != account else None


def _within(offered: Offered, outer: Session | None, directory: Directory) -> Payer:
    """`outer` None: it is not up."""
    told_by = f"within call {offered.within}"
    chain = directory.chain(outer.account) if outer is not None else ()
    if not chain:
        return Payer((), None, told_by, NO_RULES, offered.b_number, unknown="which is not up")
    trunk = directory.trunks.get(offered.trunk) if offered.trunk is not None else None
    return Payer(chain, _beside(trunk, chain[0].id, directory), told_by, chain[0].dial_rules, offered.b_number)


def _department(
    offered: Offered, chain: Chain, trunk: Trunk | None, told_by: str, directory: Directory, lists: NumberLists
) -> Payer:
    """Numbers are read by the rules of the PBX, whoever pays. In front of an emergency number no code is looked for."""
    pbx, dialled, inbound = chain[0], offered.b_number, offered.direction is Direction.INBOUND
    line = trunk.id if trunk is not None else offered.trunk
    found = pbx.department(offered.a_number, dialled, line, inbound=inbound)
    if found is None:
        return Payer(chain, trunk, told_by, pbx.dial_rules, dialled)
    department, told_by = found
    code = department.match.prefix
    if code is not None and emergency_number(dialled, pbx.dial_rules, lists.emergency) is None:
        dialled = dialled.removeprefix(code)
    told_by = f"{told_by} of {pbx.id}: {department.account}"
    payers, trunk = directory.chain(department.account), _beside(trunk, department.account, directory)
    return Payer(payers, trunk, told_by, pbx.dial_rules, dialled, pbx.id)


def _beside(trunk: Trunk | None, account: str, directory: Directory) -> Trunk | None:
    """The trunk, unless it is somebody else's: its channels are counted where its owner's are."""
    if trunk is None or directory.root(trunk.account) != directory.root(account):
        return None
    return trunk


def _told(offered: Offered, directory: Directory) -> tuple[str | None, Trunk | None, str]:
    """The account that the call is told by, its trunk, and in words what told them."""
    account, trunk = offered.account, None
    if account is not None:
        if offered.trunk is not None:
            trunk = _beside(directory.trunks.get(offered.trunk), account, directory)
        return account, trunk, f"account {account}"
    if offered.linked and offered.direction is Direction.INBOUND:  # a carrier's line has calls for many accounts
        owner, told_by = _owner(offered, directory)
        if owner is not None:
            return owner, None, told_by
    if offered.trunk is not None:
        trunk = directory.trunks.get(offered.trunk)
        return (trunk.account if trunk is not None else None), trunk, f"trunk {offered.trunk}"
    if offered.source_ip is not None:
        found = directory.by_ip(offered.source_ip)
        if found is not None:
            trunk = directory.trunks.get(found[1]) if found[1] is not None else None
            return found[0], trunk, f"address {offered.source_ip}"
    owner, told_by = _owner(offered, directory)
    return owner, None, told_by


def _owner(offered: Offered, directory: Directory) -> tuple[str | None, str]:
    """Whose number it is that calls out or is called, and in words which one."""
    number = offered.b_number if offered.direction is Direction.INBOUND else offered.a_number
    return directory.by_number(caller(number, NO_RULES)), f"number {number}"
