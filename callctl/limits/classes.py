"""The class of a call whose row states none, and the lists of numbers that a provider may change."""

import msgspec

from callctl.numbering import Number, NumberType
from callctl.rating.tariff import TrafficClass

PREMIUM = {
    "870": "Inmarsat",
    "878": "universal personal numbers",
    "881": "satellite phones",
    "882": "international networks",
    "883": "international networks",
    "979": "international premium rate",
}
"""What a plan of no country charges like a premium number; those of countries are told by their numbers' type."""

HIGH_RISK = {
    # dear to call, and little called by honest people: the oldest targets of revenue sharing
    "53": "Cuba", "213": "Algeria", "216": "Tunisia", "220": "Gambia", "222": "Mauritania", "224": "Guinea",
    "226": "Burkina Faso", "231": "Liberia", "232": "Sierra Leone", "235": "Chad", "236": "Central African Republic",
    "239": "Sao Tome and Principe", "240": "Equatorial Guinea", "241": "Gabon", "242": "Congo", "243": "DR Congo",
    "245": "Guinea-Bissau", "248": "Seychelles", "252": "Somalia", "253": "Djibouti", "257": "Burundi",
    "261": "Madagascar", "263": "Zimbabwe", "265": "Malawi", "269": "Comoros", "291": "Eritrea", "592": "Guyana",
    "597": "Suriname", "850": "North Korea", "960": "Maldives", "992": "Tajikistan", "993": "Turkmenistan",
    "994": "Azerbaijan", "996": "Kyrgyzstan",
    # whose ranges are offered most for it in Europe
    "355": "Albania", "370": "Lithuania", "371": "Latvia", "373": "Moldova", "375": "Belarus", "381": "Serbia",
    "382": "Montenegro", "387": "Bosnia and Herzegovina", "389": "North Macedonia",
    # islands and outposts: a few thousand lines, and a price for each minute that no traffic of theirs explains
    "246": "Diego Garcia", "247": "Ascension", "290": "Saint Helena", "500": "Falkland Islands", "670": "East Timor",
    "672": "Antarctica and Norfolk Island", "674": "Nauru", "675": "Papua New Guinea", "676": "Tonga",
    "677": "Solomon Islands", "678": "Vanuatu", "681": "Wallis and Futuna", "682": "Cook Islands", "683": "Niue",
    "685": "Samoa", "686": "Kiribati", "687": "New Caledonia", "688": "Tuvalu", "690": "Tokelau",
    "692": "Marshall Islands",
    # look like a number in North America, and ring back at the price of a call abroad
    "1242": "Bahamas", "1246": "Barbados", "1264": "Anguilla", "1268": "Antigua and Barbuda",
    "1284": "British Virgin Islands", "1345": "Cayman Islands", "1441": "Bermuda", "1473": "Grenada",
    "1649": "Turks and Caicos Islands", "1658": "Jamaica", "1664": "Montserrat", "1721": "Sint Maarten",
    "1758": "Saint Lucia", "1767": "Dominica", "1784": "Saint Vincent and the Grenadines",
    "1809": "Dominican Republic", "1829": "Dominican Republic", "1849": "Dominican Republic",
    "1868": "Trinidad and Tobago", "1869": "Saint Kitts and Nevis", "1876": "Jamaica",
}  # fmt: skip
"""Where the money of stolen lines goes, by prefix (`docs/limits.md` says why these)."""


class NumberLists(msgspec.Struct, frozen=True):
    """What a provider says of numbers for all its customers. Prefixes are digits of E.164.

    `emergency`: as dialled, beside those of every country and account.
    """

    high_risk: tuple[str, ...] = tuple(HIGH_RISK)
    premium: tuple[str, ...] = tuple(PREMIUM)
    emergency: tuple[str, ...] = ()


_AT_HOME = dict.fromkeys(NumberType, TrafficClass.NAT) | {
    NumberType.MOB: TrafficClass.MOB,
    NumberType.PREMIUM: TrafficClass.PREMIUM,
}
_ABROAD = dict.fromkeys(NumberType, TrafficClass.INTL) | {NumberType.PREMIUM: TrafficClass.PREMIUM}


def class_of(number: Number, home: str, lists: NumberLists) -> TrafficClass:
    """The class of a call whose row states none, seen from the country `home` (`docs/rules.md`, Class)."""
    abroad = number.country != home
    if abroad and number.digits.startswith(lists.high_risk):
        return TrafficClass.HIGHRISK
    if number.digits.startswith(lists.premium):
        return TrafficClass.PREMIUM
    return _ABROAD[number.type] if abroad else _AT_HOME[number.type]
