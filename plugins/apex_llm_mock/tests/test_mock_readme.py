from __future__ import annotations

import re
import tomllib
from pathlib import Path

import attrs
import pytest
from apex_llm_mock import Fault, Latency, MockSettings, Reply, ScriptedToolCall
from apex_llm_mock.catalogue import SERVED
from apex_llm_mock.emulation import BEDROCK_FAULTS, FAULTS
from apex_llm_mock.emulation.fault_orders import FaultOrder

from apex_llm_core.config import settings_from

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("cls", [MockSettings, Fault, Latency, Reply, ScriptedToolCall])
def test_every_setting_is_in_the_readme(cls):
    missing = [field.name for field in attrs.fields(cls) if f"`{field.name}`" not in README]
    assert not missing


def test_every_model_is_in_the_readme():
    for model in SERVED:
        row = next(line for line in README.splitlines() if line.startswith(f"| `{model.id}`"))
        offers, context = row.split("|")[2:4]
        assert {word.strip() for word in offers.split(",")} == model.capabilities
        assert f"{model.max_tokens:,}" in context


@pytest.mark.parametrize(
    "block", [b for b in re.findall(r"```toml\n(.*?)```", README, re.DOTALL) if "providers.options" in b]
)
def test_examples_are_valid(block):
    # The examples leave out the line [[providers]] above them.
    options = tomllib.loads(f"[[providers]]\n{block}")["providers"][0]["options"]
    settings = settings_from(options, MockSettings, key="options")
    assert settings != MockSettings()


@pytest.mark.parametrize(
    ("heading", "faults"),
    [("| names | what goes wrong |", FAULTS), ("| names of Bedrock's | what goes wrong |", BEDROCK_FAULTS)],
)
def test_every_fault_of_an_emulator_is_in_the_readme_once(heading, faults):
    rows = README.split(heading)[1].partition("\n\n")[0].splitlines()[2:]
    named = [name for row in rows for name in re.findall(r"`(\w+)`", row.split("|")[1])]
    assert sorted(named) == sorted(faults)


def test_every_field_of_an_order_is_in_the_readme():
    missing = [field.name for field in attrs.fields(FaultOrder) if f"`{field.name}`" not in README]
    assert not missing


@pytest.mark.parametrize("name", ["azure", "bedrock"])
def test_every_option_of_a_command_is_in_the_readme(name):
    pytest.importorskip("apex_llm_cli")
    from apex_llm_mock.emulation.command import command

    section = README.split(f"$ apex-llm emulate {name} ")[1].partition("\n## ")[0]
    shared = {"--config", "--json", "--debug"}
    options = {option for parameter in command.commands[name].params for option in parameter.opts} - shared
    assert [option for option in options if f"`{option}" not in section] == []


@pytest.mark.parametrize("block", re.findall(r"```python\n(.*?)```", README, re.DOTALL))
def test_code_runs(block):
    exec(compile(block, "README.md", "exec"), {})  # noqa: S102 - the document's own code
