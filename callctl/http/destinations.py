"""Classes of service as the front door writes them: what may be called, and when."""

from typing import Annotated, Self

from pydantic import Field, model_validator

from callctl.http.fields import E164, Body, Prefix, Text
from callctl.limits.destinations import Barring, DestinationRule
from callctl.numbering import NumberType
from callctl.rating.tariff import TrafficClass

RULES_AT_MOST = 5_000
NUMBERS_AT_MOST = 20_000

Cell = Annotated[str, Field(max_length=500)]
Numbers = Annotated[tuple[E164, ...], Field(max_length=NUMBERS_AT_MOST)]


class DestinationBody(Body):
    """What matches all that is stated; `days` and what follows as in a deck, by the account's clock."""

    prefix: Prefix | None = None
    type: NumberType | None = None
    traffic_class: TrafficClass | None = Field(None, alias="class")
    destination: Text | None = None
    days: Cell = ""
    from_time: Cell = Field("", alias="from")
    until_time: Cell = Field("", alias="to")
    dates: Cell = ""
    holidays: Cell = ""

    @model_validator(mode="after")
    def _at_some_time(self) -> Self:
        self.becomes(DestinationRule)
        return self


Rules = Annotated[tuple[DestinationBody, ...], Field(max_length=RULES_AT_MOST)]


class DestinationsBody(Body):
    """What is denied is barred; where there is a list of what is allowed, so is all else.

    `allow_numbers`: exceptions from all of it. `presets`: rules that many want, by name.
    """

    presets: tuple[Barring, ...] = ()
    allow: Rules = ()
    deny: Rules = ()
    allow_numbers: Numbers = ()
    deny_numbers: Numbers = ()

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        both = sorted(set(self.allow_numbers) & set(self.deny_numbers))
        if both:
            raise ValueError(f"{both[0]} is both allowed and denied")
        return self
