from __future__ import annotations

from typing import Any

import pytest

from edgerep.errors import OptionError
from edgerep.export.precision.settings import PrecisionSettings, names_in


def test_one_name_by_itself_is_one_name() -> None:
    assert names_in("stage0.conv") == ("stage0.conv",)
    assert names_in(["a", "b"]) == ("a", "b")
    wrong: Any = ["a", 1]
    with pytest.raises(OptionError, match="are texts"):
        names_in(wrong)


@pytest.mark.parametrize("value", ["1", -1, 101, float("nan"), True])
@pytest.mark.parametrize("name", ["max_drop", "min_sqnr"])
def test_a_budget_that_is_no_number_from_0_to_100_is_refused(name: str, value: Any) -> None:
    with pytest.raises(OptionError, match=f"{name} .*from 0 to 100"):
        PrecisionSettings(**{name: value})
