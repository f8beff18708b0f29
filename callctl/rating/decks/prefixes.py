"""A cell of prefixes, as carriers write them, as the fewest prefixes that stand for exactly the same numbers.

`4479`, `+44 79`, `0044 79`, ranges (`4479-4484`), lists (`4479, 4480; 4481`, `44 (79, 80-84)`), and area codes beside
a country code in a cell of its own. What could mean two things is refused.
"""

import re
from collections.abc import Iterator

from callctl.numbering.plans import calling_code_of
from callctl.rating.tariff import MAX_PREFIX_DIGITS

_ITEM = re.compile(r"(?:[^,;/|\n()]|\([^()]*\))+")
_SEPARATORS = ",;/|\n"
_BRACKETS = re.compile(r"(?P<head>[^()]*)\((?P<inner>[^()]*)\)")
_DASH = re.compile(" ?[-\N{EN DASH}\N{EM DASH}] ?")
_AS_TEXT = re.compile(r'="?(?P<text>[^"]*)"?|\'(?P<marked>.*)', re.DOTALL)
_GROUPED = re.compile(r"\d{1,2}(,\d{3})+", re.ASCII)
_SHORTENED = re.compile(r"\d([.,]\d+)?E\+?\d+", re.ASCII | re.IGNORECASE)
_NORTH_AMERICA = re.compile(r"1-(\d{3,})", re.ASCII)
_LEAST_OF_LIST = 3  # digits of prefixes that a blank alone may separate


def parse_prefixes(text: str, country_code: str = "") -> tuple[str, ...]:
    """The prefixes of a cell; with a country code beside it they are area codes, and none is the whole country.

    Raises ValueError for what is no prefix, or could be two things.
    """
    if text.isascii() and text.isdigit() and not country_code and text[0] != "0":
        return (_short_enough(text),)
    code = _country(country_code) if country_code else ""
    cell = _bare(text)
    if not cell:
        return (code,)
    if _SHORTENED.fullmatch(cell):
        raise ValueError(f"{text[:40]!r} is what a spreadsheet has made of a number: its digits are lost")
    if not code and _GROUPED.fullmatch(cell):
        raise ValueError(f"{text[:40]!r} could be a list, or one number with thousands separators: separate with ;")
    items = filter(None, map(str.strip, _ITEM.findall(cell)))
    found = tuple(prefix for item in items for prefix in _item(item, code))
    if not found or _ITEM.sub("", cell).strip(_SEPARATORS):
        raise ValueError(f"{text[:40]!r} has no digits, or brackets that do not match")
    return tuple(map(_short_enough, found))


def _country(text: str) -> str:
    codes = tuple(_range(_bare(text), ""))
    if len(codes) > 1:
        raise ValueError(f"{text[:40]!r} is more than one country code")
    return codes[0]


def _bare(text: str) -> str:
    """Without what keeps a spreadsheet from taking digits for a number; with plain blanks and dashes."""
    as_text = _AS_TEXT.fullmatch(text)
    if as_text is not None:
        text = as_text["text"] if as_text["marked"] is None else as_text["marked"]
    text = "\n".join(filter(None, (" ".join(line.split()) for line in text.splitlines())))
    return _DASH.sub("-", text).replace(" +", ",+")


def _item(text: str, code: str) -> Iterator[str]:
    brackets = _BRACKETS.fullmatch(text)
    if brackets is None:
        for part in _separated(text, code):
            yield from _range(part, code)
        return
    head = code + _digits(brackets["head"].strip(), code) if brackets["head"].strip() else code
    if not head:
        raise ValueError(f"{text[:40]!r} has nothing before its brackets")
    for part in re.split(f"[{_SEPARATORS}]", brackets["inner"]):
        yield from _range(part.strip(), head)


def _separated(text: str, code: str) -> list[str]:
    """Blanks group the digits of "+44 79"; between whole prefixes of one country they separate."""
    parts = text.split(" ")
    if len(parts) == 1 or text.startswith(("+", "00")) or not text.replace(" ", "").replace("-", "").isdigit():
        return [text]
    country = calling_code_of(parts[0])
    if code or not all(len(part) >= _LEAST_OF_LIST and calling_code_of(part) == country for part in parts):
        raise ValueError(f"{text[:40]!r} could be one prefix or several: write +44 79, or separate with a comma")
    return parts


def _range(text: str, before: str) -> Iterator[str]:
    """A prefix, or the prefixes of a range; `before` stands before each."""
    first_text, dash, last_text = text.partition("-")
    if not dash:
        yield before + _digits(text, before)
    elif not before and (island := _NORTH_AMERICA.fullmatch(text)):
        yield "1" + island[1]
    else:
        first, last = _digits(first_text, before), _digits(last_text, before)
        if len(first) != len(last) or first > last:
            raise ValueError(f"{text[:40]!r} is no range: as many digits on both ends, the lower one first")
        yield from (before + prefix for prefix in _cover(first, last))


def _cover(first: str, last: str) -> Iterator[str]:
    """The fewest prefixes for every number that begins with one of `first` to `last`."""
    low, end = int("1" + first), int("1" + last) + 1  # the 1 keeps zeros in front
    while low < end:
        width = 1
        while low % (width * 10) == 0 and low + width * 10 <= end:
            width *= 10
        yield str(low // width)[1:]
        low += width


def _digits(text: str, before: str = "") -> str:
    """Digits of one prefix; nothing before them: they are international."""
    digits = text
    if not before:
        international = text.removeprefix("+").removeprefix("00")
        digits = international.replace(" ", "") if international != text else text
        if digits.startswith("0"):
            raise ValueError(f"{text[:40]!r} begins with 0: a prefix is international, such as 4420")
    if not (digits.isascii() and digits.isdigit()):
        raise ValueError(f"{text[:40]!r} is not 1 to {MAX_PREFIX_DIGITS} digits")
    return _short_enough(digits)


def _short_enough(digits: str) -> str:
    if len(digits) > MAX_PREFIX_DIGITS:
        raise ValueError(f"{digits[:40]!r} is not 1 to {MAX_PREFIX_DIGITS} digits")
    return digits
