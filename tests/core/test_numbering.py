"""What people dial, and what they mean by it."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from callctl.numbering import (
    DialRules,
    Number,
    NumberType,
    caller,
    emergency_number,
    normalise,
    stated,
    understood,
    warm_up,
)
from callctl.numbering.dialling import cli
from callctl.numbering.home import home_of
from callctl.numbering.line import line_of
from callctl.numbering.plans import CODE_BY_COUNTRY, LONGEST_CALLING_CODE, LONGEST_EMERGENCY, emergency_numbers

EU = "AT BE BG CY CZ DE DK EE ES FI FR GR HR HU IE IT LT LU LV MT NL PL PT RO SE SI SK"
WORLD = DialRules()
NL = DialRules(country="NL")


def reached(dialled: str, rules: DialRules) -> str | None:
    number = normalise(dialled, rules)
    return number.e164 if number else None


@pytest.mark.parametrize(
    ("country", "dialled", "e164", "found_in", "kind"),
    [
        ("NL", "0612345678", "+31612345678", "NL", "MOB"),
        ("NL", "+31612345678", "+31612345678", "NL", "MOB"),
        ("NL", "0031612345678", "+31612345678", "NL", "MOB"),
        ("NL", "31612345678", "+31612345678", "NL", "MOB"),
        ("NL", "020-123 4567", "+31201234567", "NL", "FIX"),
        ("NL", "(020) 123.45/67", "+31201234567", "NL", "FIX"),
        ("NL", "0800-1234", "+318001234", "NL", "FREEPHONE"),
        ("NL", "0900-1234", "+319001234", "NL", "PREMIUM"),
        ("NL", "14020", "+3114020", "NL", "UAN"),
        ("NL", "0851234567", "+31851234567", "NL", "VOIP"),
        ("NL", "004930123456", "+4930123456", "DE", "FIX"),
        ("NL", "+80012345678", "+80012345678", "001", "FREEPHONE"),
        ("NL", "0080012345678", "+80012345678", "001", "FREEPHONE"),
        ("NL", "+882 342 1234", "+8823421234", "001", "MOB"),
        ("IT", "0612345678", "+390612345678", "IT", "FIX"),
        ("IT", "3123456789", "+393123456789", "IT", "MOB"),
        ("VA", "0669812345", "+390669812345", "VA", "FIX"),
        ("AR", "0111523456789", "+5491123456789", "AR", "MOB"),
        ("AR", "+5491123456789", "+5491123456789", "AR", "MOB"),
        ("AR", "01123456789", "+541123456789", "AR", "FIX"),
        ("MX", "2221234567", "+522221234567", "MX", "FIX_OR_MOB"),
        ("BR", "0 15 11 96123-4567", "+5511961234567", "BR", "MOB"),
        ("RU", "89123456789", "+79123456789", "RU", "MOB"),
        ("RU", "9123456789", "+79123456789", "RU", "MOB"),
        ("RU", "81031612345678", "+31612345678", "NL", "MOB"),
        ("RU", "+77710009998", "+77710009998", "KZ", "MOB"),
        ("KZ", "87710009998", "+77710009998", "KZ", "MOB"),
        ("KZ", "+79123456789", "+79123456789", "RU", "MOB"),
        ("US", "(212) 555-1234", "+12125551234", "US", "FIX_OR_MOB"),
        ("US", "12125551234", "+12125551234", "US", "FIX_OR_MOB"),
        ("US", "+1 876 210 1234", "+18762101234", "JM", "MOB"),
        ("US", "18005551234", "+18005551234", "US", "FREEPHONE"),
        ("US", "01131612345678", "+31612345678", "NL", "MOB"),
        ("CA", "6132345678", "+16132345678", "CA", "FIX_OR_MOB"),
        ("GB", "02079460000", "+442079460000", "GB", "FIX"),
        ("GB", "07400123456", "+447400123456", "GB", "MOB"),
        ("GB", "01534456789", "+441534456789", "JE", "FIX"),
        ("GB", "07797712345", "+447797712345", "JE", "MOB"),
        ("GB", "01481256789", "+441481256789", "GG", "FIX"),
        ("GB", "07624123456", "+447624123456", "IM", "MOB"),
        ("JE", "456789", "+441534456789", "JE", "FIX"),
        ("JE", "02079460000", "+442079460000", "GB", "FIX"),
        ("ES", "912345678", "+34912345678", "ES", "FIX"),
        ("ES", "34912345678", "+34912345678", "ES", "FIX"),
        ("HU", "06201234567", "+36201234567", "HU", "MOB"),
        ("AU", "0011 31 612345678", "+31612345678", "NL", "MOB"),
    ],
)
def test_as_dialled_at_home(country: str, dialled: str, e164: str, found_in: str, kind: str) -> None:
    number = normalise(dialled, DialRules(country=country))
    assert number is not None
    assert (number.e164, number.digits, number.country, number.type) == (e164, e164[1:], found_in, kind)
    assert number.digits.startswith(number.calling_code)


@pytest.mark.parametrize(
    "dialled",
    [
        "",
        " ",
        "+",
        "++31612345678",
        "+31 (0)6 12345678",
        "00310612345678",
        "310612345678",
        "612345678",
        "201234567",
        "4930123456",
        "06123456789",
        "061234567",
        "+0612345678",
        "+99912345678",
        "00",
        "112",
        "0900-CALLNOW",
        "tel:+31612345678",
        "sip:+31612345678@example.com",
        "+31612345678;ext=1",
        "06 1234\t5678",
        "0612345678\n",
        "\n0612345678",
        "0612345678\x00",
        "06–12345678",  # noqa: RUF001
        "٠٦١٢٣٤٥٦٧٨",
        "０６１２３４５６７８",  # noqa: RUF001
        "\N{FULLWIDTH PLUS SIGN}31612345678",
        "0612345678".ljust(65),
        "6" * 100,
        "+31" + "6" * 97,
        "0612345678,1",
        "*31*0612345678",
    ],
)
def test_refused(dialled: str) -> None:
    assert normalise(dialled, NL) is None


@given(st.text())
def test_any_text_is_a_number_or_none_and_never_an_error(text: str) -> None:
    for rules in (NL, WORLD, DialRules(country="AR", international_prefix="", access_prefix="0")):
        number = normalise(text, rules)
        assert number is None or number.e164.removeprefix("+").isdigit()
        emergency_number(text, rules)
        shown = caller(text, rules)
        assert len(shown) <= 32
        assert shown.isascii()
        assert not shown or shown.isprintable()


def test_without_a_country_only_the_international_form_is_read() -> None:
    assert reached("+31612345678", WORLD) == "+31612345678"
    assert reached("0031612345678", WORLD) is None
    assert reached("31612345678", WORLD) is None
    assert reached("2125551234", WORLD) is None
    assert reached("0031612345678", DialRules(international_prefix="00")) == "+31612345678"


def test_no_international_prefix_means_bare_e164_digits_after_national_numbers() -> None:
    carrier = DialRules(international_prefix="")
    assert reached("31612345678", carrier) == "+31612345678"
    assert reached("12125551234", carrier) == "+12125551234"
    assert reached("0031612345678", carrier) is None
    dutch = DialRules(country="NL", international_prefix="")
    assert reached("4930123456", dutch) == "+4930123456"
    assert reached("0201234567", dutch) == "+31201234567"
    assert reached("0031612345678", dutch) is None
    american = DialRules(country="US", international_prefix="")
    assert reached("3125550123", american) == "+13125550123"


def test_own_prefixes_replace_those_of_the_country() -> None:
    own = DialRules(country="NL", national_prefix="5", international_prefix="55")
    assert reached("5612345678", own) == "+31612345678"
    assert reached("554930123456", own) == "+4930123456"
    assert reached("0612345678", own) is None
    assert reached("004930123456", own) is None


def test_no_national_prefix_means_bare_national_numbers() -> None:
    bare = DialRules(country="NL", national_prefix="")
    assert reached("612345678", bare) == "+31612345678"
    assert reached("0612345678", bare) is None
    assert reached("004930123456", bare) == "+4930123456"


def test_the_access_prefix_is_taken_off_when_a_number_follows() -> None:
    hotel = DialRules(country="NL", access_prefix="9")
    assert reached("9 0612345678", hotel) == "+31612345678"
    assert reached("90031612345678", hotel) == "+31612345678"
    assert reached("0612345678", hotel) == "+31612345678"
    assert reached("+31612345678", hotel) == "+31612345678"
    assert reached("9", hotel) is None
    assert reached("9+31612345678", hotel) is None
    assert reached("990612345678", hotel) is None
    # Here the outside line has the digit of the national prefix.
    german = DialRules(country="DE", access_prefix="0")
    assert reached("0030123456", german) == "+4930123456"
    assert reached("030123456", german) == "+4930123456"
    assert reached("00031612345678", german) == "+31612345678"
    # Two numbers are possible: Varese without an outside line, or a mobile phone with one.
    assert reached("0331123456", DialRules(country="IT", access_prefix="0")) == "+39331123456"
    american = DialRules(country="US", access_prefix="9")
    assert reached("9175551234", american) == "+19175551234"


def test_short_codes_come_first() -> None:
    rules = DialRules(
        country="NL",
        access_prefix="9",
        short_codes={"1233": "+31612001233", "*98": "+31201234567", "0612345678": "+31207654321"},
    )
    assert reached("1233", rules) == "+31612001233"
    assert reached("12-33", rules) == "+31612001233"
    assert reached("91233", rules) == "+31612001233"
    assert reached("*98", rules) == "+31201234567"
    assert reached("0612345678", rules) == "+31207654321"
    assert reached("12330", rules) is None
    assert reached("+1233", rules) is None


def test_a_short_code_may_stand_for_a_number_that_no_plan_has() -> None:
    number = normalise("1888", DialRules(country="NL", short_codes={"1888": "+311888"}))
    assert number == Number("+311888", "311888", "NL", "31", NumberType.UNKNOWN)
    assert normalise("+311888", NL) is None


@pytest.mark.parametrize("e164", ["+31612345678", "+442079460000", "+12025550123", "+80012345678"])
def test_a_stated_number_of_a_plan_is_what_a_line_would_have_dialled(e164: str) -> None:
    assert stated(e164) == normalise(e164, DialRules())


def test_a_stated_number_that_no_plan_has_is_taken_at_its_word() -> None:
    assert normalise("+311888", DialRules()) is None
    assert stated("+311888") == Number("+311888", "311888", "NL", "31", NumberType.UNKNOWN)


@pytest.mark.parametrize(
    "text", ["", "+", "112", "31612345678", "+031612345678", "+31 612345678", "+9999999999", "+31x"]
)
def test_what_is_no_e164_form_states_no_number(text: str) -> None:
    assert stated(text) is None


@pytest.mark.parametrize(
    "wrong",
    [
        {"country": "XX"},
        {"country": "nl"},
        {"country": "001"},
        {"national_prefix": "a"},
        {"international_prefix": "+"},
        {"access_prefix": " "},
        {"access_prefix": "9\n"},
        {"short_codes": {"": "+31612345678"}},
        {"short_codes": {"mail": "+31612345678"}},
        {"short_codes": {"1233": "0612345678"}},
        {"short_codes": {"1233": "+"}},
        {"short_codes": {"1233": "+3161234567890123"}},
        {"short_codes": {"1233": "+99912345678"}},
        {"emergency": ["1-1-2"]},
        {"emergency": [""]},
        {"contry": "NL"},
    ],
)
def test_rules_that_cannot_work_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(wrong, DialRules)


def test_rules_survive_json() -> None:
    rules = DialRules("NL", "0", "00", "9", {"1233": "+31612001233"}, ("144",))
    assert msgspec.json.decode(msgspec.json.encode(rules), type=DialRules) == rules


def test_what_rules_found_out_is_not_part_of_them() -> None:
    used, unused = DialRules("NL"), DialRules("NL")
    normalise("+31612345678", used)
    emergency_number("112", used)
    assert used == unused
    assert msgspec.json.encode(used) == msgspec.json.encode(unused)


@pytest.mark.parametrize("country", EU.split())
def test_112_everywhere_in_the_european_union(country: str) -> None:
    assert emergency_number("112", DialRules(country=country)) == "112"
    assert emergency_number("9112", DialRules(country=country, access_prefix="9")) == "112"
    assert emergency_number("1120", DialRules(country=country)) is None


@pytest.mark.parametrize("country", ["", *sorted(CODE_BY_COUNTRY)])
def test_112_and_911_are_understood_in_every_country(country: str) -> None:
    rules = DialRules(country=country)
    assert emergency_number("112", rules) == "112"
    assert emergency_number("911", rules) == "911"


@pytest.mark.parametrize(
    ("dialled", "rules", "number"),
    [
        ("112", WORLD, "112"),
        ("911", WORLD, "911"),
        ("1-1-2", NL, "112"),
        ("999", DialRules(country="GB"), "999"),
        ("911", DialRules(country="US"), "911"),
        ("911", DialRules(country="US", access_prefix="9"), "911"),
        ("9911", DialRules(country="US", access_prefix="9"), "911"),
        ("0112", DialRules(country="NL", access_prefix="0"), "112"),
        ("0 112", DialRules(country="NL", access_prefix="0"), "112"),
        ("15", DialRules(country="FR"), "15"),
        ("110", DialRules(country="JP"), "110"),
        ("144", DialRules(country="NL", emergency=("144",)), "144"),
        ("9144", DialRules(country="NL", emergency=("144",), access_prefix="9"), "144"),
        ("144", DialRules(emergency=("144",)), "144"),
        ("112", DialRules(country="NL", short_codes={"112": "+31612345678"}), "112"),
        ("+112", NL, "112"),
        ("+31112", NL, "112"),
        ("+31 112", NL, "112"),
        ("0031112", NL, "112"),
        ("90031112", DialRules(country="NL", access_prefix="9"), "112"),
        ("+31144", DialRules(country="NL", emergency=("144",)), "144"),
        ("+44999", DialRules(country="GB"), "999"),
        ("+1911", DialRules(country="CA"), "911"),
        ("+44999", WORLD, "999"),
        ("00112", DialRules(international_prefix="00"), "112"),
    ],
)
def test_emergency(dialled: str, rules: DialRules, number: str) -> None:
    assert emergency_number(dialled, rules) == number


def test_a_provider_may_have_emergency_numbers_of_its_own() -> None:
    assert emergency_number("116117", NL) is None
    for dialled in ("116117", "+116117", "+31116117"):
        assert emergency_number(dialled, NL, ("116117",)) == "116117"


@pytest.mark.parametrize(
    ("dialled", "rules"),
    [
        ("", NL),
        ("999", NL),
        ("144", NL),
        ("11", NL),
        ("1122", NL),
        ("0112", NL),
        ("112112112", NL),
        ("+44999", NL),
        ("+49110", NL),
        ("+31", NL),
        ("+", NL),
        ("+999", NL),
        ("+311120", NL),
        ("112\n", NL),
        ("112a", NL),
        ("١١٢", NL),
        ("1" * 100, NL),
        ("0112345678", NL),
        ("9", DialRules(access_prefix="9")),
        ("9112", NL),
        ("99112", DialRules(country="NL", access_prefix="9")),
        ("999", DialRules(country="FR")),
        ("+19115551234", DialRules(country="US")),
    ],
)
def test_no_emergency(dialled: str, rules: DialRules) -> None:
    assert emergency_number(dialled, rules) is None


@pytest.mark.parametrize(
    ("dialled", "rules"),
    [
        ("0612345678", DialRules(country="NL", emergency=("0612345678",))),
        ("0331123456", DialRules(country="IT", access_prefix="0", emergency=("331123456",))),
    ],
)
def test_an_emergency_number_of_the_rules_may_be_a_number_too(dialled: str, rules: DialRules) -> None:
    assert normalise(dialled, rules) is not None
    assert emergency_number(dialled, rules) is not None
    assert understood(dialled, rules) == (emergency_number(dialled, rules), None)


def test_an_emergency_number_of_the_provider_may_be_a_number_too() -> None:
    assert understood("09008844", NL, ("09008844",)) == ("09008844", None)
    assert understood("09008844", NL) == (None, normalise("09008844", NL))
    assert understood("+319008844", NL, ("9008844",)) == ("9008844", None)


def test_no_country_has_a_longer_emergency_number_than_is_looked_for() -> None:
    assert max(emergency_numbers(country).longest for country in CODE_BY_COUNTRY) == LONGEST_EMERGENCY
    assert max(map(len, CODE_BY_COUNTRY.values())) == LONGEST_CALLING_CODE
    for dialled in ("723141", "+227723141", "00227723141", "+723141"):
        assert emergency_number(dialled, DialRules(country="NE")) == "723141"
    assert emergency_number("+227723141", WORLD) == emergency_number("00227723141", WORLD) == "723141"


@pytest.mark.parametrize(
    ("a_number", "shown"),
    [
        ("0612345678", "+31612345678"),
        ("+31 6 12345678", "+31612345678"),
        ("31612345678", "+31612345678"),
        ("201", "201"),
        ("06-12", "0612"),
        ("612345678", "612345678"),
        ("anonymous", "anonymous"),
        ("", ""),
        ("\x00\r\n\N{BELL}", ""),
        ("\"=cmd|' /C calc'!A0\"", "cmdCcalcA0"),
        ("٠٦١٢", ""),
        ("7" * 1000, "7" * 32),
        ("1233", "1233"),
    ],
)
def test_caller(a_number: str, shown: str) -> None:
    assert caller(a_number, DialRules(country="NL", short_codes={"1233": "+31612001233"})) == shown


def test_a_caller_dials_no_access_prefix() -> None:
    assert caller("90612345678", DialRules(country="NL", access_prefix="9")) == "90612345678"


def test_the_caches_are_bounded() -> None:
    assert cli.cache_info().maxsize is not None
    assert line_of.cache_info().maxsize is not None


def test_warm_up_compiles_all_there_is() -> None:
    regions = list(warm_up())
    assert {"NL", "US", "GB", "001"} <= set(regions)
    assert home_of.cache_info().currsize == len(regions) - regions.count("001")
