"""How single fields are written on the wire and kept inside, both ways; and what every body is.

Money is a decimal string on the wire and an integer inside. A value that is not what the schema says is a 400; one
that has the right form and cannot be accepted raises ValueError in its validator, a 422.
"""

import ipaddress
import re
from datetime import date
from typing import Annotated, Any, Self, TypeVar
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
)
from pydantic_core import PydanticCustomError

from callctl.clock import format_time, parse_time
from callctl.http.errors import bad_request
from callctl.money import (
    MICROS,
    format_amount,
    format_exchange_rate,
    format_percent,
    format_rate,
    parse_amount,
    parse_exchange_rate,
    parse_percent,
    parse_rate,
)

Struct = TypeVar("Struct")
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


def _parse_kbits(text: str) -> int:
    """In tenths of a kbit/s."""
    tenths, finer = divmod(parse_amount(text), MICROS // 10)
    if tenths <= 0 or finer:
        raise ValueError(f"{text!r} is not more than 0, or has more than one decimal")
    return tenths


def _format_kbits(tenths: int) -> str:
    return f"{tenths // 10}.{tenths % 10}"


def _read_channels(value: object, info: ValidationInfo) -> object:
    """A number, or the word for no limit, which is None inside."""
    if value == "unlimited" or (info.context == _INSIDE and value is None):
        return None
    if not isinstance(value, int):
        raise PydanticCustomError("channels_type", 'a whole number or "unlimited" is expected')
    return value


def _read_time(value: object, info: ValidationInfo) -> object:
    if info.context == _INSIDE and isinstance(value, int):
        return value
    if not isinstance(value, str):
        raise PydanticCustomError("time_type", "RFC 3339 with a zone is expected")
    return parse_time(value)


def _address(text: str) -> str:
    return str(ipaddress.ip_address(text))


def _day(text: str) -> str:
    return date.fromisoformat(text).isoformat()


def _zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        raise ValueError(f"{name!r} is not a time zone such as 'Europe/Amsterdam'") from None
    return name


Amount = Annotated[int, *_scaled(_parse_positive, format_amount, "10.00")]
Shown = Annotated[str, Field(pattern=r"^-?\d+\.\d{4,6}$")]
PerMinute = Annotated[int, *_scaled(parse_rate, lambda rate: format_rate(rate, 100), "0.0800")]
ExchangeRate = Annotated[int, *_scaled(parse_exchange_rate, format_exchange_rate, "1.0850")]
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
Kbits = Annotated[int, *_scaled(_parse_kbits, _format_kbits, "87.2")]
Currency = Annotated[str, Field(pattern=r"^[A-Z]{3}$")]
Zone = Annotated[str, AfterValidator(_zone)]
Address = Annotated[str, AfterValidator(_address)]
E164 = Annotated[str, Field(pattern=r"^\+[1-9][0-9]{1,14}$")]
Prefix = Annotated[str, Field(pattern=r"^[0-9]{1,15}$")]
Day = Annotated[str, Field(pattern=r"^\d{4}-\d{2}-\d{2}$"), AfterValidator(_day)]
Text = Annotated[str, Field(max_length=200)]
Count = Annotated[int, Field(ge=0, le=1_000_000)]
Channels = Annotated[
    Count | None,
    BeforeValidator(_read_channels),
    PlainSerializer(lambda channels: "unlimited" if channels is None else channels, when_used="json"),
    WithJsonSchema({"anyOf": [{"type": "integer", "minimum": 0}, {"const": "unlimited"}]}),
]


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


def new_id(text: str) -> str:
    """The id that a PUT gives in its path. HttpError 400 when it is not one."""
    if not _ID.fullmatch(text):
        raise bad_request("an id is 1 to 64 letters, digits and . _ @ + -", "id")
    return text
