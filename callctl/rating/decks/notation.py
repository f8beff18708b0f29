"""How people write numbers and dates, as plain decimals and ISO dates; what could be two things is refused.

`1,234` is read as the other numbers of its sheet show, `01/02/2026` as its other dates show.
"""

import re
from collections.abc import Collection
from enum import StrEnum

import msgspec


class DecimalSign(StrEnum):
    """What stands before decimals; the other one may separate thousands."""

    POINT = "point"
    COMMA = "comma"


class DateOrder(StrEnum):
    """What comes first in 01/02/2026."""

    DAY_FIRST = "dmy"
    MONTH_FIRST = "mdy"


class Notation(msgspec.Struct, frozen=True):
    """How a sheet writes decimals and dates; None: what each cell shows by itself."""

    decimal: DecimalSign | None = None
    dates: DateOrder | None = None


_SIGN = {".": DecimalSign.POINT, ",": DecimalSign.COMMA}
_CHARACTERS = {DecimalSign.POINT: (".", ","), DecimalSign.COMMA: (",", ".")}
"""Before decimals, and between thousands."""

_CURRENCIES = {"€": ("EUR",), "£": ("GBP",), "$": ("USD", "CAD", "AUD", "NZD", "SGD", "HKD")}
_MARKED = re.compile(r"([€£$]|[A-Za-z]{3}\b)?\s*(?P<number>.*?)\s*([€£$]|\b[A-Za-z]{3})?", re.DOTALL)
_GROUPED = re.compile(r"[1-9]\d{0,2}(?P<mark>[ \u00a0\u202f'\u2019])\d{3}(?:(?P=mark)\d{3})*(?:[.,]\d+)?", re.ASCII)
_THOUSANDS = re.compile(r"[1-9]\d{0,2}(?P<mark>[.,])\d{3}(?:(?P=mark)\d{3})*(?:(?P<sign>[.,])\d*)?", re.ASCII)
_DECIMALS = re.compile(r"\d*(?P<sign>[.,])\d+", re.ASCII)
_EITHER = re.compile(r"[1-9]\d{0,2}[.,]\d{3}", re.ASCII)

_LONGEST = 60  # characters of a number with its currency

_YEAR_LAST = re.compile(r"(\d{1,2})([./-])(\d{1,2})\2(\d{4})(?P<time>[ T]\d\d:\d\d(?::\d\d)?)?", re.ASCII)
_YEAR_FIRST = re.compile(r"(\d{4})[./](\d{1,2})[./](\d{1,2})", re.ASCII)
_MONTH_NAMED = re.compile(r"(\d{1,2})[ -]([A-Za-z]{3})[a-z]*[ -](\d{4})", re.ASCII)
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")


def notation_of(numbers: Collection[str], dates: Collection[str], *, our_form: bool) -> Notation:
    """What the numbers and dates of a sheet show: nothing where they do not agree.

    Where no number has a comma, a point stands before decimals: that is how this system itself writes them. Under
    headings of our own, which know no thousands, a comma does where no number has a point.
    """
    signs = {_sign_shown(_unmarked(text)[0]) for text in numbers} - {None}
    if not signs and not any("," in text for text in numbers):
        signs.add(DecimalSign.POINT)
    elif not signs and our_form and not any("." in text for text in numbers):
        signs.add(DecimalSign.COMMA)
    orders = {_order_shown(text) for text in dates if "." not in text} - {None}
    return Notation(signs.pop() if len(signs) == 1 else None, orders.pop() if len(orders) == 1 else None)


def plain_number(text: str, decimal: DecimalSign | None, currency: str = "") -> str:
    """A number with a point before its decimals, without separators and the sign of its `currency`.

    What is no number at all comes back as it is. ValueError where it could be two numbers, or is other money.
    """
    number, marks = _unmarked(text)
    for mark in marks:
        if currency not in _CURRENCIES.get(mark, (mark.upper(),)):
            raise ValueError(f"{text[:40]!r}: {mark} is not the plan's currency, {currency or 'for it is no money'}")
    sign = decimal if _EITHER.fullmatch(number) else _sign_shown(number)
    if sign is None:
        if _EITHER.fullmatch(number):
            meant = f"{number[:-4]}{number[-3:]} or {number[:-4]}.{number[-3:]}"
            raise ValueError(f"{text!r} could be {meant}: say whether decimals follow a point or a comma")
        return number
    if decimal not in (None, sign):
        raise ValueError(f"{text[:40]!r} is not written with a decimal {decimal}")
    before_decimals, between_thousands = _CHARACTERS[sign]
    plain = number.replace(between_thousands, "").replace(before_decimals, ".")
    return f"0{plain}" if plain.startswith(".") else plain


def _unmarked(text: str) -> tuple[str, tuple[str, ...]]:
    """The number without blanks or apostrophes between its thousands, and the currencies around it."""
    marks: tuple[str, ...] = ()
    if len(text) <= _LONGEST and not (text[:1].isdigit() and text[-1:].isdigit()):
        found = _MARKED.fullmatch(text)
        if found is not None and any(map(str.isdigit, found["number"])):
            text, marks = found["number"], tuple(filter(None, found.groups()[::2]))
    grouped = _GROUPED.fullmatch(text)
    return (text.replace(grouped["mark"], "") if grouped else text), marks


def _sign_shown(number: str) -> DecimalSign | None:
    """The decimal sign that a number shows by itself."""
    if _EITHER.fullmatch(number):
        return None
    if found := _DECIMALS.fullmatch(number):
        return _SIGN[found["sign"]]
    if found := _THOUSANDS.fullmatch(number):
        if found["sign"] == found["mark"]:
            return None
        return DecimalSign.COMMA if found["mark"] == "." else DecimalSign.POINT
    return None


def iso_date(text: str, order: DateOrder | None) -> str:
    """A date, perhaps with a time, in ISO's order. What is no date comes back as it is.

    ValueError where day and month could be either way round.
    """
    if found := _YEAR_LAST.fullmatch(text):
        first, second = int(found[1]), int(found[3])
        order = _order_shown(text) or order
        if order is None and first != second:
            raise ValueError(f"{text!r} could be two dates: say whether day or month comes first, dmy or mdy")
        day, month = (second, first) if order is DateOrder.MONTH_FIRST else (first, second)
        return f"{found[4]}-{month:02}-{day:02}{found['time'] or ''}"
    if found := _YEAR_FIRST.fullmatch(text):
        return f"{found[1]}-{int(found[2]):02}-{int(found[3]):02}"
    if (found := _MONTH_NAMED.fullmatch(text)) and found[2].lower() in _MONTHS:
        return f"{found[3]}-{_MONTHS.index(found[2].lower()) + 1:02}-{int(found[1]):02}"
    return text


def _order_shown(text: str) -> DateOrder | None:
    """The order that a date shows by itself: with points the day is first, and no month is a 13th."""
    found = _YEAR_LAST.fullmatch(text)
    if found is None:
        return None
    if found[2] == "." or int(found[1]) > 12:
        return DateOrder.DAY_FIRST
    return DateOrder.MONTH_FIRST if int(found[3]) > 12 else None
