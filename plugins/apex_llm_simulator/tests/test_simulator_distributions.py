from __future__ import annotations

from random import Random

import pytest
from apex_llm_simulator.distributions import Distribution


def test_without_a_95th_percentile_every_value_is_the_median():
    draw = Distribution(median=3.0).sampler(Random(1))
    assert {draw() for _ in range(100)} == {3.0}


def test_median_and_95th_percentile_are_those_of_the_drawn_values():
    draw = Distribution(median=0.5, p95=2.0).sampler(Random(1))
    values = sorted(draw() for _ in range(40_000))
    assert values[20_000] == pytest.approx(0.5, rel=0.03)
    assert values[38_000] == pytest.approx(2.0, rel=0.05)


def test_no_value_is_above_the_most():
    draw = Distribution(median=1.0, p95=10.0, most=4.0).sampler(Random(1))
    assert max(draw() for _ in range(1_000)) == 4.0


@pytest.mark.parametrize("keys", [{"median": 2.0, "p95": 1.0}, {"median": 2.0, "most": 1.0}, {"median": 0.0}])
def test_what_contradicts_itself_is_refused(keys):
    with pytest.raises(ValueError, match="must be"):
        Distribution(**keys)
