"""What docs/migration.md shows is so."""

import json
import re
from pathlib import Path

from callctl.rating.cases import rate_cases
from callctl.rating.tariff import Preset

TEXT = (Path(__file__).parents[2] / "docs/migration.md").read_text()


def test_the_cases_that_are_shown_agree() -> None:
    [shown] = re.findall(r"```json\n(.*?)```", TEXT, re.DOTALL)
    results = list(rate_cases(json.loads(shown)))
    assert [result["agrees"] for result in results] == [True, True]
    assert json.dumps(results[0]) in TEXT


def test_every_preset_is_named() -> None:
    assert all(f"`{preset}`" in TEXT for preset in Preset)
