"""Shared by the tests of the simulator: a small scenario to vary."""

from __future__ import annotations

import pytest
from apex_llm_simulator import parse_scenario

PRICES = {"cost_per_input_token": 1e-6, "cost_per_output_token": 2e-6}


@pytest.fixture
def tables():
    """Tables of a scenario: ``tables(east={"faults": [...]}, workload={...}, minutes=5, cache={...})``."""

    def tables(*, workload=None, minutes=5, seed=1, expect=(), more=None, **providers):
        return {
            "scenario": {"name": "test", "duration": f"{minutes}m", "seed": seed},
            "workload": [{"model": "m", "requests_per_second": 2, **(workload or {})}],
            "providers": [
                {"name": name, "models": [{"id": "m", **PRICES}], **keys}
                for name, keys in (providers or {"east": {}}).items()
            ],
            "expect": expect,
            **(more or {}),
        }

    return tables


@pytest.fixture
def scenario(tables):
    """The scenario of such tables."""
    return lambda **keywords: parse_scenario(tables(**keywords))
