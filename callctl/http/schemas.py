"""The definitions as the front door writes them, and their way to `callctl.accounts` and `rating.tariff` and back.

The models have the field names of the values they become, with the wire's names as aliases, so that both ways are
a plain conversion. Money is a decimal string on the wire and an integer inside. A value that is not what the schema
says is a 400; one that has the right form and cannot be accepted raises ValueError in its validator, a 422.
"""

import ipaddress
import re
from typing import Annotated, Any, Literal, Self, TypeVar
from zoneinfo import ZoneInfo

import msgspec
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    ValidationInfo,
    WithJsonSchema,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError

from callctl.accounts import Kind, WarnTo
from callctl.clock import format_time, parse_time
from callctl.http.errors import bad_request
from callctl.money import (
    MICROS,
    Rounding,
    format_amount,
    format_percent,
    format_rate,
    parse_amount,
    parse_percent,
    parse_rate,
)
from callctl.numbering import DialRules, NumberType
from callctl.rating.tariff import IncrementBasis

Struct = TypeVar("Struct")
LARGEST_TOP_UP = 1_000_000 * MICROS
_ID = re.compile(r"^[A-Za-z0-9][A-Za-z0-9._@+-]{0,63}$")
_INSIDE = "inside"  # validation context: the input is our own value, not a request


def _scaled(parse: Any, show: Any, example: str) -> tuple[Any, ...]:
    """Validator, serializer and schema of a decimal string that is an integer inside."""

    def read(value: object, info: ValidationInfo) -> object:
        if isinstance(value, str):
            return parse(value)
        if info.context == _INSIDE and isinstance(value, int):
            return value
        raise PydanticCustomError(
            "decimal_type", 'a decimal string such as "{example}" is expected', {"example": example}
        )

    schema = {"type": "string", "pattern": r"^-?\d+(\.\d+)?$", "examples": [example]}
    return BeforeValidator(read), PlainSerializer(show, when_used="json"), WithJsonSchema(schema)


def _choice(**values: bool) -> tuple[Any, ...]:
    """Validator, serializer and schema of a word on the wire that is a flag inside."""
    words = {value: word for word, value in values.items()}

    def read(value: object, info: ValidationInfo) -> object:
        if info.context == _INSIDE and isinstance(value, bool):
            return value
        if not isinstance(value, str) or value not in values:
            raise PydanticCustomError("choice_type", "{words} is expected", {"words": " or ".join(values)})
        return values[value]

    schema = {"type": "string", "enum": list(values)}
    return BeforeValidator(read), PlainSerializer(words.__getitem__, when_used="json"), WithJsonSchema(schema)


def _parse_positive(text: str) -> int:
    micros = parse_amount(text)
    if micros < 0:
        raise ValueError(f"{text!r} is negative")
    return micros


def _read_time(value: object, info: ValidationInfo) -> object:
    if info.context == _INSIDE and isinstance(value, int):
        return value
    if not isinstance(value, str):
        raise PydanticCustomError("time_type", "RFC 3339 with a zone is expected")
    return parse_time(value)


def _address(text: str) -> str:
    return str(ipaddress.ip_address(text))


def _zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        raise ValueError(f"{name!r} is not a time zone such as 'Europe/Amsterdam'") from None
    return name


Amount = Annotated[int, *_scaled(_parse_positive, format_amount, "10.00")]
Shown = Annotated[str, Field(pattern=r"^-?\d+\.\d{4,6}$")]
PerMinute = Annotated[int, *_scaled(parse_rate, lambda rate: format_rate(rate, 100), "0.0800")]
Percent = Annotated[int, *_scaled(parse_percent, format_percent, "10")]
Time = Annotated[
    int,
    BeforeValidator(_read_time),
    PlainSerializer(format_time, when_used="json"),
    WithJsonSchema({"type": "string", "format": "date-time"}),
]
Billing = Annotated[bool, *_choice(normal=False, exempt=True)]
Status = Annotated[bool, *_choice(active=True, suspended=False)]
Id = Annotated[str, Field(pattern=_ID.pattern)]
Currency = Annotated[str, Field(pattern=r"^[A-Z]{3}$")]
Zone = Annotated[str, AfterValidator(_zone)]
Address = Annotated[str, AfterValidator(_address)]
E164 = Annotated[str, Field(pattern=r"^\+[1-9][0-9]{1,14}$")]
Prefix = Annotated[str, Field(pattern=r"^[0-9]{1,15}$")]
Day = Annotated[str, Field(pattern=r"^\d{4}-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])$")]
Text = Annotated[str, Field(max_length=200)]
Count = Annotated[int, Field(ge=0, le=1_000_000)]


class Body(BaseModel):
    """Whatever stands in a request: nothing unknown, nothing converted in silence."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @classmethod
    def of(cls, value: object) -> Self:
        """A value of ours, to be shown; its id stands in the path."""
        fields = {name: field for name, field in msgspec.to_builtins(value).items() if name != "id"}
        return cls.model_validate(fields, context=_INSIDE, by_name=True, by_alias=False)

    def shown(self) -> dict[str, Any]:
        """As JSON on the wire."""
        return self.model_dump(mode="json", by_alias=True)

    def becomes(self, struct: type[Struct], **more: object) -> Struct:
        """The value inside. ValueError where the value itself objects."""
        try:
            return msgspec.convert(self.model_dump(by_alias=False) | more, struct)
        except msgspec.ValidationError as exc:
            raise ValueError(str(exc)) from None


class OverflowBody(Body):
    at_most: Count
    per_call: Amount = 0
    per_minute: Amount = 0


class PackageBody(Body):
    channels: Count
    from_day: Day = Field(alias="from")
    until_day: Day = Field(alias="until")

    @model_validator(mode="after")
    def _ends_after_it_begins(self) -> Self:
        if self.until_day < self.from_day:
            raise ValueError("until is before from")
        return self


class BandwidthBody(Body):
    kbits: Count
    codec: Literal["g711", "g722", "g729", "gsm", "opus"] = "g711"


class GroupBody(Body):
    name: Id
    prefixes: tuple[Prefix, ...]
    inbound: Count | None = None
    outbound: Count | None = None


class CapsBody(Body):
    inbound: Count | None = None
    outbound: Count | None = None
    total: Count | None = None
    internal: Count | None = None
    count_internal: bool = False
    overflow: OverflowBody | None = None
    packages: tuple[PackageBody, ...] = ()
    bandwidth: BandwidthBody | None = None
    groups: tuple[GroupBody, ...] = ()


class DialRulesBody(Body):
    country: str = ""
    national_prefix: str | None = None
    international_prefix: str | None = None
    access_prefix: str = ""
    short_codes: dict[str, str] = {}
    emergency: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _can_be_dialled(self) -> Self:
        self.becomes(DialRules)
        return self


class DestinationBody(Body):
    prefix: Prefix | None = None
    type: NumberType | None = None
    destination: Text | None = None


class DestinationsBody(Body):
    allow: tuple[DestinationBody, ...] = ()
    deny: tuple[DestinationBody, ...] = ()


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


class AccountBody(Body):
    """A payer. `credit_limit` null: a postpaid account without a limit."""

    parent: Id | None = None
    kind: Kind
    currency: Currency = "EUR"
    plan: Id
    credit_limit: Amount | None = 0
    timezone: Zone = "UTC"
    dial_rules: DialRulesBody = DialRulesBody()
    source_ips: tuple[Address, ...] = ()
    numbers: tuple[E164, ...] = ()
    exempt: Billing = Field(False, alias="billing")
    caps: CapsBody | None = None
    destinations: DestinationsBody | None = None
    margin: MarginBody | None = None
    max_cost: MaxCostBody | None = None
    warnings: WarningsBody = WarningsBody()
    active: Status = Field(True, alias="status")
    expires_ms: Time | None = Field(None, alias="expires")
    attributes: dict[Text, Text] = {}

    @field_validator("credit_limit")
    @classmethod
    def _only_postpaid_is_unlimited(cls, credit_limit: int | None, info: ValidationInfo) -> int | None:
        if credit_limit is None and info.data.get("kind") in (Kind.PREPAID, Kind.CARD):
            raise ValueError("only a postpaid account can be without a limit")
        return credit_limit


class AccountAnswer(AccountBody):
    """An account and its money. `available` null: nothing limits it. `channels`: calls in progress by counter."""

    id: Id
    balance: Shown
    held: Shown
    available: Shown | None
    channels: dict[str, int]


class AccountPage(Body):
    """By id; `next` is what to give as `after` for what follows, null on the last page."""

    accounts: tuple[AccountAnswer, ...]
    next: Id | None


class TrunkBody(Body):
    """A line by which an account's calls arrive, or a carrier's by which they leave (`buy_plan`)."""

    account: Id
    source_ips: tuple[Address, ...] = ()
    switch: Id | None = None
    caps: CapsBody | None = None
    calls_per_second: Annotated[int, Field(ge=1, le=100_000)] | None = None
    buy_plan: Id | None = None


class TrunkAnswer(TrunkBody):
    """A trunk as it is."""

    id: Id


class PlanBody(Body):
    """What holds for all rows of a tariff plan."""

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
    effective_ms: Time | None = Field(None, alias="effective")
    extends: Id | None = None


class PlanAnswer(PlanBody):
    """A plan as it is."""

    id: Id


class TopUpBody(Body):
    """Money into a prepaid account, once per id."""

    id: Id
    amount: Amount
    note: Text = ""

    @field_validator("amount")
    @classmethod
    def _sane(cls, amount: int) -> int:
        if not 0 < amount <= LARGEST_TOP_UP:
            raise ValueError(f"more than 0 and at most {format_amount(LARGEST_TOP_UP)} is expected")
        return amount


def new_id(text: str) -> str:
    """The id that a PUT gives in its path. HttpError 400 when it is not one."""
    if not _ID.fullmatch(text):
        raise bad_request("an id is 1 to 64 letters, digits and . _ @ + -", "id")
    return text
