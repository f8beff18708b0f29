"""A provider's catalogue for tests: the services of the mission's worked figures."""

import msgspec

from callctl.rating.services import Catalogue

DOCUMENT = {
    "services": {
        "sip-trunk": {"name": "SIP trunk", "category": "lines", "purchase": {"nrc": "10.00", "mrc": "5.00"}},
        "fax2mail": {"name": "Fax2Mail", "category": "fax", "purchase": {"nrc": "50.00", "mrc": "10.00"}},
        "3cx-pro4": {
            "name": "3CX PRO4",
            "parts": [
                {"name": "VPS", "sell": {"mrc": "12.50"}},
                {"name": "licence", "sell": {"mrc": "195/12"}, "licence": True},
            ],
        },
        "halves": {
            "name": "Two halves of a cent",
            "parts": [{"name": "one", "sell": {"mrc": "10.005"}}, {"name": "other", "sell": {"mrc": "10.005"}}],
        },
        "lines": {"name": "Lines", "sell": {"mrc": "12.95"}, "quota": {"free": 10, "at_most": 20}},
        "extension": {"name": "Extension", "sell": {"mrc": "1.50"}, "counted": True},
        "flat": {"name": "Flat", "sell": {"nrc": "25.00", "mrc": "31.00"}},
    },
    "price_lists": {
        "standard": {"categories": {"lines": "150", "fax": "150"}},
        "special": {
            "categories": {"lines": "150"},
            "exceptions": {"sip-trunk": {"percent": "999"}, "lines": {"sell": {"mrc": "1.00"}}},
        },
    },
    "partners": {"gold": "25"},
}
CATALOGUE = msgspec.convert(DOCUMENT, Catalogue)
