"""What a reseller may put is asked of its own accounts, however many others the provider has."""

from callctl.accounts import Account, Kind
from callctl.http.accounts import refuse_foreign_prices
from callctl.rating.tariff import Plan
from callctl.store.registry import Registry
from tests.effort import calls


def test_a_reseller_who_sells_as_before_is_not_compared_with_all_others() -> None:
    def work(others: int) -> int:
        known = Registry()
        known.put_plan(Plan("wholesale"))
        known.put_plan(Plan("retail"))
        for id in ("shop", *(f"other {n}" for n in range(others))):
            known.put_account(Account(id, Kind.PREPAID, "wholesale"))
            known.put_account(Account(f"customer of {id}", Kind.PREPAID, "retail", id))
        new = Account("new", Kind.PREPAID, "retail", "shop")
        return calls(lambda: refuse_foreign_prices(known, "shop", new))

    assert work(others=500) == work(others=5)
