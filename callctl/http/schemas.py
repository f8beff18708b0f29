"""The definitions as the front door writes them, and their way to `callctl.accounts` and `rating.tariff` and back.

The models have the field names of the values they become, with the wire's names as aliases, so that both ways are
a plain conversion (`Body`).
"""

from typing import Annotated, Any, Literal, Self

from pydantic import (
    Field,
    SerializerFunctionWrapHandler,
    ValidationInfo,
    field_validator,
    model_serializer,
    model_validator,
)

from callctl.accounts import Kind, WarnTo
from callctl.http.bundles import BundleBody
from callctl.http.capacity import CapsBody, LicenceBody
from callctl.http.destinations import DestinationsBody
from callctl.http.fields import (
    E164,
    Address,
    Amount,
    Billing,
    Body,
    Currency,
    Id,
    Percent,
    PerMinute,
    Shown,
    Status,
    Text,
    Time,
    Zone,
)
from callctl.http.thresholds import IdsBody
from callctl.money import MICROS, Rounding, format_amount
from callctl.numbering import DialRules
from callctl.rating.presets import with_preset
from callctl.rating.tariff import PERCENT, IncrementBasis, Preset

LARGEST_TOP_UP = 1_000_000 * MICROS


CallRate = Annotated[int, Field(ge=1, le=100_000)]


class DepartmentMatchBody(Body):
    """Which calls a department pays for: by the caller's extension (`2xx`), a trunk, or a dialled prefix."""

    extension: Annotated[str, Field(pattern=r"^[0-9x*#]{1,32}$")] | None = None
    trunk: Id | None = None
    prefix: Annotated[str, Field(pattern=r"^[0-9*#]{1,16}$")] | None = None

    @model_validator(mode="after")
    def _one(self) -> Self:
        if sum(given is not None for given in (self.extension, self.trunk, self.prefix)) != 1:
            raise ValueError("one of extension, trunk and prefix is expected")
        return self


class DepartmentBody(Body):
    match: DepartmentMatchBody
    account: Id


class AffiliateBody(Body):
    """Who gets a share of what the account is charged for its calls."""

    account: Id
    percent: Percent


class DialRulesBody(Body):
    country: str = ""
    national_prefix: str | None = None
    international_prefix: str | None = None
    access_prefix: str = ""
    short_codes: dict[str, str] = Field(default_factory=dict)
    emergency: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _can_be_dialled(self) -> Self:
        self.becomes(DialRules)
        return self


class MarginBody(Body):
    min_per_minute: PerMinute | None = None
    min_percent: Percent | None = None
    min_per_call: Amount | None = None
    assumed_seconds: Annotated[int, Field(ge=1, le=86_400)] = 180


class MaxCostBody(Body):
    per_minute: PerMinute | None = None
    connection: Amount | None = None
    per_call: Amount | None = None


class WarningsBody(Body):
    """Lead times before the credit ends."""

    seconds: Annotated[tuple[Annotated[int, Field(ge=1, le=3600)], ...], Field(max_length=10)] = ()
    to: WarnTo = WarnTo.CALLER

    @field_validator("seconds")
    @classmethod
    def _longest_first(cls, seconds: tuple[int, ...]) -> tuple[int, ...]:
        return tuple(sorted(set(seconds), reverse=True))


def _no_credit_unless_postpaid(stated: dict[str, Any]) -> int | None:
    return None if stated.get("kind") is Kind.POSTPAID else 0


class AccountBody(Body):
    """A payer. `credit_limit` null: a postpaid account without a limit, which is what one is that states none.

    `plan` null: that of its group, or where it is in none that of its parent. `also`: plans that charge its calls
    besides, where they have a row for them. `untaxed`: names of the taxes that it is not liable to; true: to none.
    `plan_since`: no bundle is rolled over from before; where it is not stated it is kept, and now for another plan.
    `low_balance`: ops hear of it when it has less than this left.
    """

    parent: Id | None = None
    kind: Kind
    currency: Currency = "EUR"
    plan: Id | None = None
    group: Id | None = None
    plan_since_ms: Time | None = Field(None, alias="plan_since")
    credit_limit: Amount | None = Field(default_factory=_no_credit_unless_postpaid)
    timezone: Zone = "UTC"
    dial_rules: DialRulesBody = DialRulesBody()
    source_ips: tuple[Address, ...] = ()
    numbers: tuple[E164, ...] = ()
    also: Annotated[tuple[Id, ...], Field(max_length=4)] = ()
    untaxed: Literal[True] | tuple[Text, ...] = ()
    exempt: Billing = Field(False, alias="billing")
    caps: CapsBody | None = None
    licence: LicenceBody | None = None
    calls_per_second: CallRate | None = None
    destinations: DestinationsBody | None = None
    margin: MarginBody | None = None
    max_cost: MaxCostBody | None = None
    thresholds: IdsBody | None = Field(None, alias="ids")
    warnings: WarningsBody = WarningsBody()
    low_balance: Amount | None = None
    active: Status = Field(True, alias="status")
    expires_ms: Time | None = Field(None, alias="expires")
    departments: tuple[DepartmentBody, ...] = ()
    affiliates: tuple[AffiliateBody, ...] = ()
    attributes: dict[Text, Text] = Field(default_factory=dict)

    @field_validator("credit_limit")
    @classmethod
    def _only_postpaid_is_unlimited(cls, credit_limit: int | None, info: ValidationInfo) -> int | None:
        if credit_limit is None and info.data.get("kind") in (Kind.PREPAID, Kind.CARD):
            raise ValueError("only a postpaid account can be without a limit")
        return credit_limit


class AccountAnswer(AccountBody):
    """An account and its money. `available` null: nothing limits it. `channels`: calls in progress by counter.

    `effective_plan`: what it is charged by.
    """

    id: Id
    effective_plan: Id
    balance: Shown
    held: Shown
    available: Shown | None
    channels: dict[str, int]


class AccountPage(Body):
    """By id; `next` is what to give as `after` for what follows, null on the last page."""

    accounts: tuple[AccountAnswer, ...]
    next: Id | None


class CustomerGroupBody(Body):
    """Accounts that state no plan of their own and name this group are charged by its plan.

    `plan_since`: as of an account.
    """

    plan: Id
    plan_since_ms: Time | None = Field(None, alias="plan_since")


class CustomerGroupAnswer(CustomerGroupBody):
    """A group as it is."""

    id: Id


class TrunkBody(Body):
    """A line by which an account's calls arrive. `buy_plan`: what its calls are bought by, instead of the plan's.

    `licence`: that of the PBX behind it, where that cannot keep its cap itself.
    """

    account: Id
    source_ips: tuple[Address, ...] = ()
    switch: Id | None = None
    caps: CapsBody | None = None
    destinations: DestinationsBody | None = None
    calls_per_second: CallRate | None = None
    buy_plan: Id | None = None
    licence: LicenceBody | None = None


class TrunkAnswer(TrunkBody):
    """A trunk as it is. `warnings`: where it is put, which percentages have no purchase price for its calls."""

    id: Id
    warnings: tuple[str, ...] = ()


class TaxBody(Body):
    """On the net of every charge: a percentage of it, or so much once per call that costs something."""

    name: Annotated[Text, Field(min_length=1)]
    percent: Annotated[Percent, Field(le=1_000 * PERCENT)] = 0
    fixed: Annotated[Amount, Field(le=1_000 * MICROS)] = 0

    @model_validator(mode="after")
    def _one(self) -> Self:
        if not self.model_fields_set & {"percent", "fixed"} or (self.percent and self.fixed):
            raise ValueError("one of percent and fixed is expected")
        return self

    @model_serializer(mode="wrap")
    def _as_stated(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        shown: dict[str, Any] = handler(self)
        del shown["percent" if self.fixed else "fixed"]
        return shown


class PlanBody(Body):
    """What holds for all rows of a tariff plan. Where it states no convention of its own, its preset's holds.

    `owner`: the account for whose customers it is; null: for everybody's.
    """

    currency: Currency = "EUR"
    timezone: Zone = "UTC"
    buy_plan: Id | None = None
    round_seconds: Annotated[int, Field(ge=1, le=86_400)] = 1
    round_decimals: Annotated[int, Field(ge=0, le=6)] = 4
    rounding: Rounding = Rounding.HALF_UP
    duration_rounding: Rounding = Rounding.UP
    increment_basis: IncrementBasis = IncrementBasis.AFTER_INITIAL
    grace_beats_minimum: bool = True
    bill_on_net: bool = False
    taxes: tuple[TaxBody, ...] = ()
    effective_ms: Time | None = Field(None, alias="effective")
    extends: Id | None = None
    preset: Preset | None = None
    bundles: tuple[BundleBody, ...] = ()
    owner: Id | None = None

    @field_validator("taxes", "bundles", mode="before")
    @classmethod
    def _a_list(cls, stated: object) -> object:
        return tuple(stated) if isinstance(stated, list) else stated  # `_of_its_preset` answers Python's, not JSON's

    @field_validator("taxes")
    @classmethod
    def _each_once(cls, levied: tuple[TaxBody, ...]) -> tuple[TaxBody, ...]:
        if len({tax.name for tax in levied}) < len(levied):
            raise ValueError("two taxes of one name")
        return levied

    @field_validator("bundles")
    @classmethod
    def _each_bundle_once(cls, bundles: tuple[BundleBody, ...]) -> tuple[BundleBody, ...]:
        if len({bundle.name for bundle in bundles}) < len(bundles):
            raise ValueError("two bundles of one name")
        return bundles

    @model_validator(mode="before")
    @classmethod
    def _of_its_preset(cls, stated: object) -> object:
        return with_preset(stated) if isinstance(stated, dict) else stated


class PlanAnswer(PlanBody):
    """A plan as it is."""

    id: Id


class PlanList(Body):
    """All that there are, by id, without their rows."""

    plans: tuple[PlanAnswer, ...]


class TopUpBody(Body):
    """Money into an account, once per id."""

    id: Id
    amount: Amount
    note: Text = ""

    @field_validator("amount")
    @classmethod
    def _sane(cls, amount: int) -> int:
        if not 0 < amount <= LARGEST_TOP_UP:
            raise ValueError(f"more than 0 and at most {format_amount(LARGEST_TOP_UP)} is expected")
        return amount
