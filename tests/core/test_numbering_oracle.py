"""numbering agrees with the phonenumbers library, in all regions and for all kinds of number."""

import re
from collections.abc import Iterator
from random import Random

import phonenumbers
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from phonenumbers import PhoneNumber, PhoneNumberFormat, PhoneNumberType, is_emergency_number
from phonenumbers.phonemetadata import PhoneMetadata

from callctl.numbering import DialRules, Number, NumberType, emergency_number, normalise, plans, understood
from callctl.numbering.plans import REGIONS_BY_CODE, Kinds, kinds_of, plan_of
from callctl.numbering.settled import TOKENS, settled_by

KINDS = {
    PhoneNumberType.FIXED_LINE: NumberType.FIX,
    PhoneNumberType.MOBILE: NumberType.MOB,
    PhoneNumberType.FIXED_LINE_OR_MOBILE: NumberType.FIX_OR_MOB,
    PhoneNumberType.TOLL_FREE: NumberType.FREEPHONE,
    PhoneNumberType.PREMIUM_RATE: NumberType.PREMIUM,
    PhoneNumberType.SHARED_COST: NumberType.SHARED,
    PhoneNumberType.VOIP: NumberType.VOIP,
    PhoneNumberType.PERSONAL_NUMBER: NumberType.PERSONAL,
    PhoneNumberType.PAGER: NumberType.PAGER,
    PhoneNumberType.UAN: NumberType.UAN,
    PhoneNumberType.VOICEMAIL: NumberType.VOICEMAIL,
}
REGIONS = sorted(phonenumbers.SUPPORTED_REGIONS)
WORLD = DialRules()


def library_number(parsed: PhoneNumber) -> Number | None:
    """What the library says of a number it parsed."""
    if not phonenumbers.is_valid_number(parsed):
        return None
    e164 = phonenumbers.format_number(parsed, PhoneNumberFormat.E164)
    region = phonenumbers.region_code_for_number(parsed)
    assert region is not None
    kind = KINDS[phonenumbers.number_type(parsed)]
    return Number(e164, e164[1:], region, str(parsed.country_code), kind)


def library_reading(dialled: str, country: str | None) -> Number | None:
    try:
        return library_number(phonenumbers.parse(dialled, country))
    except phonenumbers.NumberParseException:
        return None


def examples() -> Iterator[tuple[str, PhoneNumber]]:
    for region in REGIONS:
        for kind in KINDS:
            example = phonenumbers.example_number_for_type(region, kind)
            if example is not None:
                yield region, example


EXAMPLES = list(examples())


def without_formatting(number: PhoneNumber, style: int) -> str:
    return re.sub(r"[^0-9+]", "", phonenumbers.format_number(number, style))


def test_every_region_has_examples() -> None:
    assert {region for region, _ in EXAMPLES} == set(REGIONS)
    assert len(EXAMPLES) > 1000


@pytest.mark.parametrize("region", REGIONS)
def test_examples_of_every_kind_in_their_international_and_national_form(region: str) -> None:
    rules = DialRules(country=region)
    for example in (example for of_region, example in EXAMPLES if of_region == region):
        expected = library_number(example)
        assert expected is not None
        assert normalise(expected.e164, WORLD) == expected
        assert normalise(without_formatting(example, PhoneNumberFormat.NATIONAL), rules) == expected
        assert normalise(phonenumbers.format_number(example, PhoneNumberFormat.INTERNATIONAL), rules) == expected


@pytest.mark.parametrize("calling_code", sorted(phonenumbers.COUNTRY_CODES_FOR_NON_GEO_REGIONS))
def test_codes_that_belong_to_no_country(calling_code: int) -> None:
    example = phonenumbers.example_number_for_non_geo_entity(calling_code)
    assert example is not None
    expected = library_number(example)
    assert expected is not None
    assert expected.country == "001"
    assert normalise(expected.e164, WORLD) == expected


@st.composite
def nearly_numbers(draw: st.DrawFn) -> tuple[str, str, str]:
    """A region, its calling code, and digits at a short distance from one of its numbers."""
    region, example = draw(st.sampled_from(EXAMPLES))
    digits = list(phonenumbers.national_significant_number(example))
    for _ in range(draw(st.integers(0, 3))):
        digits[draw(st.integers(0, len(digits) - 1))] = draw(st.sampled_from("0123456789"))
    tail = draw(st.text("0123456789", max_size=2))
    length = draw(st.sampled_from((len(digits), len(digits), len(digits) - 1)))
    return region, str(example.country_code), "".join(digits[:length]) + tail


def exactly(calling_code: str, significant: str) -> Number | None:
    """The library's word on these very digits, nothing stripped: its parser would take a prefix off."""
    leading_zeros = len(significant) - len(significant[:-1].lstrip("0")) - 1
    return library_number(
        PhoneNumber(
            country_code=int(calling_code),
            national_number=int(significant),
            italian_leading_zero=leading_zeros > 0,
            number_of_leading_zeros=leading_zeros or None,
        )
    )


@settings(max_examples=1000)
@given(nearly_numbers())
def test_the_international_form_is_valid_exactly_when_the_library_says_so(near: tuple[str, str, str]) -> None:
    _, calling_code, significant = near
    assume(significant)
    assert normalise(f"+{calling_code}{significant}", WORLD) == exactly(calling_code, significant)


@settings(max_examples=1000)
@given(st.text("0123456789", min_size=1, max_size=18))
def test_random_digits_behind_a_plus(digits: str) -> None:
    assert normalise("+" + digits, WORLD) in (None, library_reading("+" + digits, None))
    reading = library_reading("+" + digits, None)
    if reading is not None and reading.digits == digits:
        assert normalise("+" + digits, WORLD) == reading


@settings(max_examples=1000)
@given(nearly_numbers())
def test_every_valid_number_is_reached_in_its_national_form(near: tuple[str, str, str]) -> None:
    region, calling_code, significant = near
    assume(significant)
    number = exactly(calling_code, significant)
    assume(number is not None)
    assert number is not None
    national = without_formatting(phonenumbers.parse(number.e164), PhoneNumberFormat.NATIONAL)
    # A few are another number when dialled at home, by the library's reading too.
    assume(library_reading(national, region) == number)
    assert normalise(national, DialRules(country=region)) == number


@settings(max_examples=1000)
@given(
    nearly_numbers(),
    st.sampled_from(("", "0", "1", "8", "00", "011", "06", "15", "810", "own prefix", "own code", "00 own code")),
    st.none() | st.sampled_from(REGIONS),
)
def test_what_is_accepted_as_dialled_is_what_the_library_reads(
    near: tuple[str, str, str], prefix: str, elsewhere: str | None
) -> None:
    region, calling_code, significant = near
    own_prefix = phonenumbers.ndd_prefix_for_region(region, True) or ""
    prefixes = {"own prefix": own_prefix, "own code": calling_code, "00 own code": "00" + calling_code}
    dialled = prefixes.get(prefix, prefix) + significant
    country = elsewhere or region
    number = normalise(dialled, DialRules(country=country))
    if number is not None:
        assert number == library_reading(dialled, country)


@pytest.mark.parametrize(
    ("dialled", "country"),
    [("0612345678", "NL"), ("02079460000", "GB"), ("2125551234", "US"), ("0412345678", "AU"), ("32123456", "DK")],
)
def test_what_is_dialled_every_day_is_read_at_once(dialled: str, country: str) -> None:
    plain = DialRules(country).line.plain
    assert plain is not None
    assert plain.number(dialled) == library_reading(dialled, country)


PREFIXES = ("", "0", "1", "8", "00", "011", "06", "15", "810", "112")


@settings(max_examples=1000)
@given(
    nearly_numbers(),
    st.sampled_from(PREFIXES),
    st.none() | st.sampled_from(PREFIXES),
    st.none() | st.sampled_from(PREFIXES),
)
def test_what_is_read_at_once_is_what_all_questions_lead_to(
    near: tuple[str, str, str], dialled_first: str, national_prefix: str | None, international_prefix: str | None
) -> None:
    region, _, significant = near
    rules = DialRules(region, national_prefix, international_prefix)
    dialled = dialled_first + significant
    assert rules.line.plain is not None
    number = rules.line.plain.number(dialled)
    if number is not None:
        reading = rules.line.reading(dialled)
        assert reading is not None
        assert rules.line.number(*reading) == number
        assert emergency_number(dialled, rules) is None
        assert understood(dialled, rules) == (None, number)


@pytest.mark.parametrize(
    ("dialled", "country"),
    [
        ("0008007234560", "IN"),  # 00 is no international prefix here, and 0 no national one
        ("00041223", "UY"),
        ("0800234567", "IM"),  # less the 0 it would be a number of Great Britain, too short for Man
        ("13101234", "AS"),
        ("4777123456", "SJ"),  # too long for a national number, so 47 is the calling code
        ("441484256789", "GG"),
        ("358681231565", "AX"),
        ("79091214577", "KZ"),
    ],
)
def test_where_the_order_of_the_library_s_questions_decides(dialled: str, country: str) -> None:
    assert normalise(dialled, DialRules(country=country)) == library_reading(dialled, country)


@settings(max_examples=500)
@given(nearly_numbers(), st.sampled_from(REGIONS))
def test_every_valid_number_is_reached_by_the_international_prefix(near: tuple[str, str, str], country: str) -> None:
    _, calling_code, significant = near
    assume(significant)
    metadata = PhoneMetadata.metadata_for_region(country)
    assert metadata is not None
    # Some countries choose a carrier by the prefix: theirs is a pattern, not a number.
    prefix = metadata.international_prefix or ""
    assume(prefix.isdigit())
    assert normalise(prefix + calling_code + significant, DialRules(country=country)) == exactly(
        calling_code, significant
    )


@pytest.mark.parametrize("region", REGIONS)
def test_emergency_numbers_of_every_country(region: str) -> None:
    rules = DialRules(country=region)
    metadata = PhoneMetadata.short_metadata_for_region(region)
    for length in range(1, 4):
        for dialled in (f"{number:0{length}}" for number in range(10**length)):
            known = is_emergency_number(dialled, region) or dialled in ("112", "911")
            assert emergency_number(dialled, rules) == (dialled if known else None)
    example = metadata.emergency.example_number if metadata is not None and metadata.emergency is not None else None
    if example is not None:
        assert emergency_number(example, rules) == example


@settings(max_examples=500)
@given(nearly_numbers(), st.sampled_from(REGIONS), st.sampled_from(("", "0", "9")))
def test_no_number_is_an_emergency(near: tuple[str, str, str], country: str, access_prefix: str) -> None:
    _, calling_code, significant = near
    assume(exactly(calling_code, significant or "0") is not None)
    rules = DialRules(country=country, access_prefix=access_prefix)
    assert emergency_number(f"+{calling_code}{significant}", rules) is None
    assert emergency_number(f"00{calling_code}{significant}", rules) is None


PLANS = [plan_of(code, region) for code, regions in REGIONS_BY_CODE.items() for region in regions]
ALL_KINDS = [(length, kinds) for plan in PLANS for length, kinds in plan.by_length.items()]


def test_all_patterns_are_of_signs_that_are_understood() -> None:
    for _, kinds in ALL_KINDS:
        assert "".join(TOKENS.findall(kinds.pattern.pattern)) == kinds.pattern.pattern


@given(st.sampled_from(ALL_KINDS), st.randoms(use_true_random=False))
def test_numbers_that_begin_alike_are_of_one_kind(plan: tuple[int, Kinds], rng: Random) -> None:
    length, kinds = plan
    for _ in range(20):
        beginning = "".join(rng.choices("0123456789", k=min(length, kinds.settled_by)))
        alike = [beginning + "".join(rng.choices("0123456789", k=length - len(beginning))) for _ in range(5)]
        told = [kinds.pattern.fullmatch(number) for number in alike]
        assert len({match and match.lastindex for match in told}) == 1
        assert {kinds.kind(number) for number in alike} == {told[0] and kinds.by_group[told[0].lastindex]}


def test_what_is_no_digit_makes_no_number_of_a_known_beginning() -> None:
    assert normalise("0612345678", DialRules("NL")) is not None
    assert normalise("061234*678", DialRules("NL")) is None
    assert normalise("06123456#8", DialRules("NL")) is None


@pytest.mark.parametrize(
    ("pattern", "digits"),
    [
        (r"\d{9}", 0),
        (r"6[1-58]\d{7}", 2),
        (r"(?:6[1-58]|970\d)\d{7}", 3),
        (r"1(?:[035]\d|1[13-578])\d{6}|2\d{8}", 3),
        (r"(?:85|91)?\d{7}", 2),
        (r"\d{3}[2-9]\d", 4),
        (r"\d{2,4}[2-9]\d", 5),
        (r"(?:\d[1-3]){2}\d", 4),
        (r"(?=(?:\d{4}5\d)\Z)(?:1\d{5})", 5),
        (r"1|\d(?:23|\d{4}(?:5|\d))", 6),
    ],
)
def test_a_pattern_looks_at_as_many_digits(pattern: str, digits: int) -> None:
    assert settled_by(pattern) == digits


def test_no_more_kinds_are_kept_than_there_is_room_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plans, "BEGINNINGS_KEPT", 2)
    kinds = kinds_of(r"[1-9]\d{3}", {NumberType.FIX: r"[1-5]\d{3}", NumberType.MOB: r"[6-8]\d{3}"})
    told = [kinds.kind(f"{digit}000") for digit in range(10)]
    assert told == [None, *[NumberType.FIX] * 5, *[NumberType.MOB] * 3, None]
    assert len(kinds.known) <= 2
