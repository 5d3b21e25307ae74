"""ARCHITECTURE.md says what is: every module, every hook, the layers, and no file that does not exist."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from apex_llm_core.plugin.validation import HOOKS

ROOT = Path(__file__).parent.parent
CORE = ROOT / "apex_llm_core"
TEXT = (ROOT / "ARCHITECTURE.md").read_text("utf-8")
NAMED = set(re.findall(r"`([\w./-]+)`", TEXT))
GATEWAY = ROOT / "plugins/apex_llm_gateway/src/apex_llm_gateway"
OF_THE_GATEWAY = TEXT.partition("\n## Rooms of the gateway\n")[2].partition("\n## ")[0]
#: Modules have a row in a table of their room, packages a heading.
ROWS = re.findall(r"^\| `([\w/]+\.py)` \|", TEXT.replace(OF_THE_GATEWAY, ""), re.MULTILINE)
MODULES = {str(file.relative_to(CORE)) for file in CORE.rglob("*.py") if file.name != "__init__.py"} | {"__init__.py"}
PACKAGES = {f"{file.parent.relative_to(CORE)}/" for file in CORE.rglob("*/__init__.py")}


def test_every_module_has_exactly_one_row():
    assert sorted(ROWS) == sorted(MODULES)


def test_every_package_is_named():
    headings = set(re.findall(r"`(\w+/)`", "".join(re.findall(r"^### .*$", TEXT, re.MULTILINE))))
    # Two packages have no heading of their own: they stand on the ground floor.
    assert headings == PACKAGES - {"converters/", "models/"}


def test_every_room_and_module_of_the_gateway_has_exactly_one_row():
    rooms = {f"{file.parent.name}/" for file in GATEWAY.glob("*/__init__.py")}
    modules = {file.name for file in GATEWAY.glob("*.py")} - {"__init__.py"}
    assert sorted(re.findall(r"^\| `(\w+(?:\.py|/))` \|", OF_THE_GATEWAY, re.MULTILINE)) == sorted(rooms | modules)


def test_every_file_named_exists():
    files = [name for name in NAMED if re.search(r"\.(py|md|toml|cfg)$", name)]
    assert len(files) > len(MODULES)
    assert [name for name in files if not (CORE / name).exists() and not _somewhere(name)] == []


def _somewhere(name):
    # A file of a room may be named without the room where the sentence names it.
    # Those of other distributions are named with their distribution.
    return (ROOT / name).exists() or any(CORE.rglob(name)) or any(ROOT.glob(f"plugins/*/src/**/{name}"))


@pytest.mark.parametrize("hook", sorted(HOOKS))
def test_every_hook_stands_in_the_table_with_its_parameters_and_form(hook):
    form = HOOKS[hook]
    row = re.search(rf"^\| `{hook}\((.*?)\)` \| (.*?) \|", TEXT, re.MULTILINE)
    assert row is not None
    assert row[1] == ", ".join(form.parameters)
    assert row[2].startswith({"async": "async", "stream": "async generator", "sync": "function"}[form.form])
    assert form.form != "async" or row[2] == "async"


def test_no_hook_in_the_table_is_unknown():
    assert set(re.findall(r"^\| `(apex_\w+)\(", TEXT, re.MULTILINE)) == set(HOOKS)


def test_the_layers_are_those_that_are_enforced():
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["importlinter"]["contracts"]
    every = [contract["layers"] for contract in contracts if contract["type"] == "layers"]
    assert len(every) == 2
    assert all("```text\n" + "\n".join(layers) + "\n```" in TEXT for layers in every)


def test_every_error_of_the_table_exists():
    from apex_llm_core import errors

    table = TEXT[TEXT.index("| class | whose | found |") :].partition("\n\n")[0]
    assert [name for name in re.findall(r"`(\w+Error)`", table) if not hasattr(errors, name)] == []


def test_every_distribution_is_named():
    table = TEXT[TEXT.index("| distribution | folder |") :].partition("\n\n")[0]
    table = table.replace(", -", ", apex-llm-strategy-")
    names = [tomllib.loads(f.read_text("utf-8"))["project"]["name"] for f in ROOT.glob("plugins/*/pyproject.toml")]
    assert set(re.findall(r"\bapex-llm-[a-z-]+", table)) == {"apex-llm-core", *names}
