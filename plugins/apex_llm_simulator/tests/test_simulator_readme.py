"""The README shows scenarios and code that work, and names every key there is."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import attrs
import pytest
from apex_llm_simulator import parse_scenario, report, simulate
from apex_llm_simulator.behaviour import Behaviour
from apex_llm_simulator.distributions import Distribution
from apex_llm_simulator.expectations import Expect
from apex_llm_simulator.faults import Fault
from apex_llm_simulator.scenario import ScenarioConfig
from apex_llm_simulator.workload import Burst, Workload

TEXT = (Path(__file__).parent.parent / "README.md").read_text("utf-8")


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)


def test_the_scenario_meets_its_expectations():
    (text,) = blocks("toml")
    found = report(simulate(parse_scenario(tomllib.loads(text))))
    assert [verdict for verdict in found.expectations if verdict.met is not True] == []
    assert found.figures.requests > 10_000


def test_the_code_runs():
    (code,) = blocks("python")
    exec(compile(code, "README.md", "exec"), {})  # noqa: S102 - our own


@pytest.mark.parametrize("table", [ScenarioConfig, Workload, Burst, Behaviour, Distribution, Fault, Expect])
def test_every_key_is_named(table):
    assert [field.name for field in attrs.fields(table) if not re.search(rf"\b{field.name}\b", TEXT)] == []
