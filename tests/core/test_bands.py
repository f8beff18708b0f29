"""The band columns as text and back, and which bands a deck may have."""

from datetime import date

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from callctl.rating.bands import BAND_COLUMNS, format_band, holidays_in, parse_band
from callctl.rating.builder import MAX_FLAWS, DeckBuilder, RowConflictError
from callctl.rating.decks.deck import import_deck
from callctl.rating.schedule import AHEAD_DAYS, Schedule, flaw, turns
from callctl.rating.tariff import Band, Direction, Plan, Row

DAY_S = 86_400


def band(**cells: str) -> Band:
    return parse_band(tuple(cells.get(column.replace("from", "from_"), "") for column in BAND_COLUMNS)) or Band()


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        ({"days": "1-5"}, Band(days=(1, 2, 3, 4, 5))),
        ({"days": "7, 1,6"}, Band(days=(1, 6, 7))),
        ({"days": "6-1"}, Band(days=(1, 6, 7))),
        ({"days": "1-7"}, Band()),
        ({"from_": "8:00", "to": "18:30"}, Band(from_min=480, until_min=1110)),
        ({"from_": "08:00:00"}, Band(from_min=480)),
        ({"from_": "18:00", "to": "00:00"}, Band(from_min=1080)),
        ({"from_": "00:00", "to": "24:00"}, Band()),
        ({"to": "06:00"}, Band(until_min=360)),
        ({"dates": "2026-12-24"}, Band(dates=((20261224, 20261224),))),
        ({"dates": "12-24 / 01-02; 02-29"}, Band(dates=((1224, 102), (229, 229)))),
        ({"dates": "2026-12-24/2027-01-02"}, Band(dates=((20261224, 20270102),))),
        ({"holidays": "nl"}, Band(holidays="NL")),
        ({"holidays": "DE-BY"}, Band(holidays="DE-BY")),
        ({"weight": "10"}, Band(weight=10)),
        ({"weight": "0"}, Band()),
    ],
)
def test_cells_are_read(cells: dict[str, str], expected: Band) -> None:
    assert band(**cells) == expected


def test_a_row_that_states_no_band_has_none() -> None:
    assert parse_band(("", " ", "24:00", "", "", "0")) is None
    assert format_band(None) == ("",) * 6


@pytest.mark.parametrize(
    ("cells", "error"),
    [
        ({"days": "8"}, "days: '8' is no day"),
        ({"days": "0-3"}, "days: '0-3' is no day"),
        ({"days": "mo"}, "days: 'mo' is no day"),
        ({"days": "1-2-3"}, "days: '1-2-3' is no day"),
        ({"from_": "25:00"}, "from: '25:00' is no time"),
        ({"from_": "08:60"}, "from: '08:60' is no time"),
        ({"from_": "8"}, "from: '8' is no time"),
        ({"from_": "08:00:01"}, "from: '08:00:01' is no time"),
        ({"from_": "24:00"}, "from: a band cannot begin at 24:00"),
        ({"to": "24:01"}, "to: '24:01' is no time"),
        ({"from_": "08:00", "to": "08:00"}, "to: is the same time as from"),
        ({"dates": "2026-02-29"}, "dates: '2026-02-29' is no date"),
        ({"dates": "24-12-2026"}, "dates: '24-12-2026' is no date"),
        ({"dates": "1969-12-31"}, "dates: '1969-12-31' is no date"),
        ({"dates": "2026-12-24/12-26"}, "both ends of a range have a year, or neither"),
        ({"dates": "2026-12-26/2026-12-24"}, "ends before it begins"),
        ({"holidays": "XX"}, "holidays: 'XX' is no country"),
        ({"holidays": "DE-XX"}, "holidays: 'DE-XX' is no country"),
        ({"holidays": "SUN"}, "holidays: 'SUN' is no country"),
        ({"weight": "-1"}, "weight: '-1' is not a whole number"),
        ({"weight": "1000001"}, "weight: '1000001' is not a whole number"),
    ],
)
def test_a_wrong_cell_is_named(cells: dict[str, str], error: str) -> None:
    with pytest.raises(ValueError, match=error):
        band(**cells)


minutes = st.integers(0, 1439)
days_of_year = st.dates(date(2000, 1, 1), date(2000, 12, 31)).map(lambda day: day.month * 100 + day.day)


@given(
    st.builds(
        Band,
        days=st.sets(st.integers(1, 7), max_size=6).map(lambda days: tuple(sorted(days))),
        from_min=minutes,
        until_min=minutes.map(lambda minute: minute or 1440),
        dates=st.lists(st.tuples(days_of_year, days_of_year), max_size=3).map(tuple),
        holidays=st.sampled_from((None, "NL", "US-CA")),
        weight=st.integers(0, 1_000_000),
    ).filter(lambda band: band.from_min != band.until_min)
)
def test_what_is_written_is_read_to_the_same_band(stated: Band) -> None:
    assert (parse_band(format_band(stated)) or Band()) == stated


def test_equal_cells_share_one_band() -> None:
    assert band(days="1-5") is band(days="1-5")


def test_holidays_are_those_of_the_library_with_their_substitutes() -> None:
    assert date(2026, 4, 27) in holidays_in("NL", 2026)
    assert date(2027, 7, 5) in holidays_in("US", 2027)  # the fourth is a Sunday
    assert date(2026, 1, 6) in holidays_in("DE-BY", 2026)
    assert date(2026, 1, 6) not in holidays_in("DE", 2026)


WEEK = (band(days="1-5", from_="08:00", to="18:00"), band(days="1-5", from_="18:00", to="08:00"))


@pytest.mark.parametrize(
    "bands",
    [
        (Band(),),
        (Band(), band(days="1-5", from_="08:00", to="18:00")),
        (*WEEK, band(days="6", from_="08:00"), band(days="7"), band(days="1", to="08:00")),
        (band(dates="01-01/06-30"), band(dates="07-01/12-31")),
        (Band(), band(holidays="NL"), band(dates="12-25")),
        (Band(), band(days="1-5"), band(holidays="NL"), band(holidays="DE", weight="1")),
        (band(from_="22:00", to="06:00"), band(from_="06:00", to="22:00")),
        (band(days="1-5"), band(days="6-7")),
    ],
)
def test_bands_that_say_one_price_for_every_moment(bands: tuple[Band, ...]) -> None:
    assert flaw(bands) is None


@pytest.mark.parametrize(
    ("bands", "reason", "which"),
    [
        (WEEK, "a gap: no price on Monday from 00:00 to 08:00", ()),
        ((band(days="1-4"), band(days="6-7")), "a gap: no price on Friday from 00:00 to 24:00", ()),
        ((band(from_="06:00", to="22:00"),), "a gap: no price on Monday from 00:00 to 06:00", ()),
        ((band(dates="01-01/06-30"), band(dates="07-01/12-30")), "no price on Tuesday 2024-12-31 from 00:00", ()),
        ((band(dates="01-01/02-28"), band(dates="03-01/12-31")), "no price on Thursday 2024-02-29 from 00:00", ()),
        ((band(holidays="NL"),), "a gap: no price on Tuesday 2024-01-02", ()),
        ((band(from_="06:00", to="22:00"), band(from_="21:00", to="07:00")), "Monday 06:00", (0, 1)),
        ((Band(), band(days="1-5"), band(days="5-7")), "Friday 00:00", (1, 2)),
        ((Band(), band(days="5", from_="22:00", to="02:00"), band(days="6", to="03:00")), "Saturday 00:00", (1, 2)),
        ((Band(), band(holidays="NL"), band(holidays="DE")), "Monday 2024-01-01 00:00", (1, 2)),
        ((Band(), band(dates="2026-12-25"), band(dates="12-20/01-05")), "Friday 2026-12-25 00:00", (1, 2)),
        ((Band(), band(dates="2060-05-05"), band(dates="05-05")), "Wednesday 2060-05-05 00:00", (1, 2)),
        (
            (Band(), band(days="7", weight="3"), band(holidays="NL", weight="3"), Band()),
            "Tuesday 2024-01-02 00:00",
            (0, 3),
        ),
    ],
)
def test_the_first_moment_without_one_price_is_named(
    bands: tuple[Band, ...], reason: str, which: tuple[int, ...]
) -> None:
    found = flaw(bands)
    assert found is not None
    assert reason in found.reason
    assert found.bands == which


def row(when: Band | None, **terms: object) -> Row:
    return Row("31", per_minute=1, band=when, **terms)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("rows", "error", "at"),
    [
        ((row(WEEK[0]), row(WEEK[1])), "a gap: no price on Monday from 00:00 to 08:00", 0),
        (
            (row(None), row(band(days="1-5")), row(band(days="5-7", from_="08:00"))),
            "the same prefix and type at the same time: Friday 08:00",
            1,
        ),
        ((row(None), row(WEEK[0], tier_from_s=60)), "a stepped price without a row from second 0", 1),
        ((row(None), row(WEEK[0], type="FIX")), "a gap: no price on Monday", 1),
        ((row(None), row(WEEK[0], direction=Direction.INBOUND)), "a gap: no price on Monday", 1),
        ((row(None), row(WEEK[0], valid_from_ms=5)), "a gap: no price on Monday", 1),
        ((row(None), row(Band(holidays="XX"))), "holidays: 'XX' is no country", 0),
    ],
)
def test_bands_that_contradict_each_other_are_refused(rows: tuple[Row, ...], error: str, at: int) -> None:
    builder = DeckBuilder(Plan("p"))
    for each in rows:
        builder.add(each)
    with pytest.raises(RowConflictError, match=error) as caught:
        builder.build()
    assert caught.value.other is rows[at]


def test_one_band_has_one_row_of_a_tier() -> None:
    builder = DeckBuilder(Plan("p"))
    builder.add(row(WEEK[0]))
    with pytest.raises(RowConflictError, match="the same prefix, type, direction, validity, band and tier"):
        builder.add(row(WEEK[0], connection_fee=1))
    with pytest.raises(RowConflictError, match="connection_fee is a term of the whole call"):
        builder.add(row(WEEK[0], connection_fee=1, tier_from_s=60))


def test_every_price_with_a_flaw_is_told_by_its_lines() -> None:
    lines = (
        "prefix;per_minute;days;from;to",
        "31;1;1-5;08:00;18:00",
        "31;2;1-5;18:00;08:00",
        "32;1;;;",
        "32;1;1-5;;",
        "32;1;5-6;;",
        "33;1;1-6;;",
    )
    found = import_deck([line + "\n" for line in lines], Plan("p"))
    assert [str(error) for error in found.errors] == [
        "line 2: a gap: no price on Monday from 00:00 to 08:00",
        "line 6: the same prefix and type at the same time: Friday 00:00 (line 5)",
        "line 7: a gap: no price on Sunday from 00:00 to 24:00",
    ]
    assert not found.rows


def test_no_more_flaws_are_looked_for_than_can_be_told() -> None:
    builder = DeckBuilder(Plan("p"))
    for prefix in range(MAX_FLAWS + 1):
        builder.add(Row(str(prefix), per_minute=1, band=WEEK[0]))
    assert len(list(builder.checking())) == MAX_FLAWS + 1
    assert len(builder.flaws) == MAX_FLAWS
    with pytest.raises(RowConflictError, match="a gap"):
        builder.build()


def test_rows_are_judged_in_steps() -> None:
    builder = DeckBuilder(Plan("p"))
    for prefix in ("31", "32"):
        builder.add(Row(prefix, per_minute=1))
        builder.add(Row(prefix, per_minute=1, band=WEEK[0]))
    assert len(list(builder.checking())) == 2
    builder.build()


def test_turns_begin_with_the_day_and_last_for_the_longest_call() -> None:
    schedule = Schedule("UTC", (Band(), band(from_="08:00", to="18:00")))
    found = turns(schedule, 20_000)
    assert found[:3] == ((20_000 * DAY_S, 0), (20_000 * DAY_S + 28_800, 1), (20_000 * DAY_S + 64_800, 0))
    assert found[-1] == ((20_000 + AHEAD_DAYS - 1) * DAY_S + 64_800, 0)


def test_a_band_that_holds_always_has_one_turn() -> None:
    assert turns(Schedule("Europe/Amsterdam", (Band(), band(dates="1990-01-01"))), 20_000) == ((20_000 * DAY_S, 0),)


def test_a_row_keeps_its_band_in_the_store() -> None:
    stated = row(Band(days=(6, 7), from_min=1320, until_min=360, dates=((1224, 102),), holidays="DE-BY", weight=3))
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(stated), type=Row) == stated
