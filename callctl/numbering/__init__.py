"""Numbers: from what was dialled to E.164, the country and the kind of number."""

from callctl.numbering.dialling import DialRules, caller, emergency_number, normalise, stated
from callctl.numbering.home import warm_up
from callctl.numbering.values import Number, NumberType

__all__ = ["DialRules", "Number", "NumberType", "caller", "emergency_number", "normalise", "stated", "warm_up"]
