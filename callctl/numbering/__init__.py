"""Numbers: from what was dialled to E.164, the country and the kind of number."""

from callctl.numbering.dialling import DialRules, caller, emergency_number, normalise, stated, understood
from callctl.numbering.line import warm_up
from callctl.numbering.values import Number, NumberType

__all__ = [
    "DialRules",
    "Number",
    "NumberType",
    "caller",
    "emergency_number",
    "normalise",
    "stated",
    "understood",
    "warm_up",
]
