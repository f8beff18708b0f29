"""What other systems do where systems differ: the keys of a plan that reproduce their charges.

Of each system only what its documentation or published code says; what it leaves to its operator is not here.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from callctl.money import Rounding
from callctl.rating.tariff import IncrementBasis, Preset

_AFTER_INITIAL = {"increment_basis": IncrementBasis.AFTER_INITIAL}
_BEYOND_INITIAL = {"increment_basis": IncrementBasis.TOTAL_BEYOND_INITIAL}
_WHOLE_SECONDS = {"duration_rounding": Rounding.DOWN}  # Asterisk's billsec and ANSWEREDTIME drop the fraction

CONVENTIONS: Mapping[Preset, Mapping[str, Any]] = MappingProxyType(
    {
        # Class.RateEngine.php rounds a call beyond `initblock` as a whole, and its cost to 6 decimals (a2b_round).
        Preset.A2BILLING: _BEYOND_INITIAL | _WHOLE_SECONDS | {"round_decimals": 6, "rounding": Rounding.HALF_UP},
        # cdr.conf, `initiatedseconds=no`.
        Preset.ASTERISK: _WHOLE_SECONDS,
        # calc_cost in astpp.cdr.php; the decimals are a setting of the system.
        Preset.ASTPP: _AFTER_INITIAL | {"rounding": Rounding.HALF_UP},
        # Rate slots; `rounding_decimals` of the default configuration, rounded *middle.
        Preset.CGRATES: _AFTER_INITIAL | {"round_decimals": 5, "rounding": Rounding.HALF_UP},
        # calculate_call in kapps_call_util.erl counts units of 0.0001 and truncates; NoChargeTime beats the minimum.
        Preset.KAZOO: _AFTER_INITIAL | {"round_decimals": 4, "rounding": Rounding.DOWN, "grace_beats_minimum": True},
        # Its wiki: "What is increment", "Grace time".
        Preset.KOLMISOFT: {"increment_basis": IncrementBasis.TOTAL, "grace_beats_minimum": False},
        # roudRatePrice; sessiontime is Asterisk's.
        Preset.MAGNUSBILLING: _BEYOND_INITIAL | _WHOLE_SECONDS,
        # 46 Labs, "How are customer costs calculated".
        Preset.PEEREDGE: _AFTER_INITIAL | {"round_decimals": 4, "rounding": Rounding.UP},
    }
)


def with_preset(stated: Mapping[str, Any]) -> dict[str, Any]:
    """The keys of a plan, with those that it leaves to its `preset`. One that there is not adds nothing."""
    preset = stated.get("preset")
    return {**CONVENTIONS[Preset(preset)], **stated} if preset in tuple(Preset) else dict(stated)
