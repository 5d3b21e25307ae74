"""The promises of the routing engine, held by the scenarios that come with the simulator."""

from __future__ import annotations

import pytest
from apex_llm_simulator import example_names, load_example, report, simulate


@pytest.mark.parametrize("name", example_names())
def test_an_example_keeps_its_promises(name):
    found = report(simulate(load_example(name)))
    assert [verdict for verdict in found.expectations if verdict.met is not True] == []
