"""What the keys of every table are made of: numbers with bounds, names, text; and what any table is."""

import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field


def _whole(value: Any) -> Any:
    """Of variables plain digits too; pydantic itself would also read "+9_0", 90.0 and the digits of other scripts."""
    if type(value) is int or (isinstance(value, str) and re.fullmatch("-?[0-9]+", value)):
        return value
    raise ValueError("a whole number")


def words(value: Any) -> Any:
    return [word.strip() for word in value.split(",")] if isinstance(value, str) else value


def matching(pattern: str, expected: str) -> AfterValidator:
    def check(value: str) -> str:
        if not re.fullmatch(pattern, value):
            raise ValueError(expected)
        return value

    return AfterValidator(check)


Whole = Annotated[int, BeforeValidator(_whole)]
Port = Annotated[Whole, Field(ge=1, le=65_535)]
Seconds = Annotated[Whole, Field(ge=1, le=86_400)]
Milliseconds = Annotated[Whole, Field(ge=1, le=60_000)]
Name = Annotated[str, matching(r"[A-Za-z0-9][A-Za-z0-9._-]{0,39}", "1-40 letters, digits, . _ or -")]
Text = Annotated[str, matching(r"[^\x00-\x1f\x7f]+", "text without control characters")]
Topic = Annotated[str, matching(r"[^\x00-\x1f\x7f+#/$][^\x00-\x1f\x7f+#]*(?<!/)", "a topic without wildcards")]
Prefix = Annotated[str, matching(r"[1-9][0-9]{0,14}", "1-15 digits of E.164, without +")]
Dialled = Annotated[str, matching(r"[0-9*#]{1,32}", "what can be dialled")]
Scope = Literal["call", "read", "admin"]
EventKind = Literal["admitted", "refused", "answered", "warned", "ended", "ids_alert", "emergency_call", "low_balance"]


class Section(BaseModel):
    """A table of the file: unknown keys are errors, values never change."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)
