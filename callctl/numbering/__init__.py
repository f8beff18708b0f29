"""Numbers: from what was dialled to E.164 and the kind of number."""

from callctl.numbering.values import DialRules, Number, NumberType

__all__ = ["DialRules", "Number", "NumberType"]
