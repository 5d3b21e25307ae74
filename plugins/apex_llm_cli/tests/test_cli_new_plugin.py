from __future__ import annotations

import ast
import json
import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from apex_llm_cli import scaffold
from apex_llm_cli.main import cli
from apex_llm_cli.scaffold import KINDS, PluginNames, core_range, name_problem
from click.testing import CliRunner

from apex_llm_core.plugin.discovery import EXTENSIONS, PluginSource


def new_plugin(*arguments):
    return CliRunner().invoke(cli, ["new-plugin", *map(str, arguments)], prog_name="apex-llm")


def in_distribution(root, *arguments):
    """Run Python with the distribution importable and its metadata found, as if it were installed."""
    environment = os.environ | {"PYTHONPATH": str(root / "src")}
    metadata = [sys.executable, "-c", "import setuptools; setuptools.setup()", "-q", "egg_info"]
    subprocess.run(metadata, cwd=root, env=environment, check=True, capture_output=True)
    return subprocess.run(
        [sys.executable, *arguments], cwd=root, env=environment, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize(
    ("kind", "name"), [("provider", "mine"), ("strategy", "my_choice2"), ("middleware", "my-guard")]
)
def test_the_new_distribution_passes_its_own_conformance_tests(kind, name, tmp_path):
    created = new_plugin(kind, name, "--directory", tmp_path, "--json")
    assert created.exit_code == 0, created.output
    document = json.loads(created.stdout)
    root = tmp_path / document["distribution"]
    assert document["directory"] == str(root)
    assert sorted(document["files"]) == sorted(
        str(file.relative_to(root)) for file in root.rglob("*") if file.is_file()
    )
    done = in_distribution(root, "-m", "pytest", "-v", "-p", "no:cacheprovider", "-W", "error")
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"::Test{PluginNames(kind=kind, plugin=name).class_stem}{kind.capitalize()}::" in done.stdout


@pytest.mark.parametrize("kind", KINDS)
def test_the_metadata_is_complete(kind, tmp_path):
    new_plugin(kind, "my-echo", "--directory", tmp_path)
    (root,) = tmp_path.iterdir()
    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    names = PluginNames(kind=kind, plugin="my-echo")
    group = {"provider": "providers", "strategy": "strategies", "middleware": "extensions"}[kind]
    assert project["name"] == root.name == names.distribution
    assert project["entry-points"] == {f"apex_llm.{group}": {"my-echo": f"{names.package}.plugin"}}
    assert project["dependencies"] == ["apex-llm-core>=0.1,<0.2"]
    assert (root / "src" / names.package / "py.typed").is_file()
    assert (root / "CHANGELOG.md").read_text().startswith(f"# Changelog of {names.distribution}\n")
    for file in root.rglob("*.py"):
        assert ast.get_docstring(ast.parse(file.read_text())) or "tests" in file.parts
    assert not [file for file in root.rglob("*") if "template" in file.name or "package" in file.parts]


@pytest.mark.parametrize("kind", KINDS)
def test_the_new_code_is_typed(kind, tmp_path):
    pytest.importorskip("mypy")
    new_plugin(kind, "mine", "--directory", tmp_path)
    (root,) = tmp_path.iterdir()
    typed = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--cache-dir", str(tmp_path / "cache"), str(root / "src")],
        capture_output=True,
        text=True,
        check=False,
        cwd=root,
    )
    assert typed.returncode == 0, typed.stdout


def test_nothing_is_overwritten(tmp_path):
    assert new_plugin("provider", "mine", "--directory", tmp_path).exit_code == 0
    marker = tmp_path / "apex-llm-mine" / "README.md"
    marker.write_text("my work")
    again = new_plugin("provider", "mine", "--directory", tmp_path)
    assert again.exit_code == 2
    assert "exists; nothing was written" in again.stderr
    assert marker.read_text() == "my work"


def test_a_file_in_the_way_is_a_usage_error(tmp_path):
    (tmp_path / "file").write_text("")
    assert new_plugin("provider", "mine", "--directory", tmp_path / "file").exit_code == 2


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("MyProvider", "'my-provider'"),
        ("my provider", "'my-provider'"),
        ("apex-llm-mine", "'mine'"),
        ("9lives", "'lives'"),
        ("a--b", "'a-b'"),
        ("mine-", "'mine'"),
        ("../evil", "'evil'"),
        ("x" * 60, None),
        ("世界", None),
        ("", None),
    ],
)
def test_a_name_that_cannot_be_has_a_near_one(name, hint, tmp_path):
    result = new_plugin("strategy", "--directory", tmp_path, "--", name)
    assert result.exit_code == 2
    assert result.stderr.count("\n") == 1
    assert f"did you mean {hint or ''}" in result.stderr or hint is None
    assert not list(tmp_path.iterdir())


def test_the_near_name_is_valid_itself():
    for wrong in ("MyProvider", "apex_llm_mine", "9lives", "x" * 60):
        near = name_problem(wrong).partition("did you mean ")[2].strip("'?")
        assert name_problem(near) is None


@pytest.mark.parametrize(
    ("kind", "name", "owner"),
    [
        ("strategy", "priority", "the core has a strategy 'priority' built in"),
        ("provider", "mock", "apex-llm-mock 0.1.0 offers a provider of this name"),
        ("provider", "core", "apex-llm-core 0.1.0 is installed"),
        ("provider", "gateway", "apex-llm-gateway is a distribution of this project"),
        ("provider", "strategy-mine", "apex-llm-strategy-mine would be a strategy's distribution"),
        ("provider", "middleware_mine", "apex-llm-middleware-mine would be a middleware's distribution"),
    ],
)
def test_a_name_that_belongs_to_somebody_is_refused(kind, name, owner, tmp_path):
    result = new_plugin(kind, name, "--directory", tmp_path)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr == f"error: the name {name!r} is taken: {owner}\n"
    assert not list(tmp_path.iterdir())


def test_a_name_that_is_another_distributions_entry_point_is_refused(tmp_path, monkeypatch):
    taken = PluginSource(name="mine", group=EXTENSIONS, distribution="acme", version="2", value="x")
    monkeypatch.setattr(scaffold, "discover", lambda group: {"mine": taken} if group == EXTENSIONS else {})
    assert "acme 2 offers a middleware" in new_plugin("middleware", "mine", "--directory", tmp_path).stderr
    assert new_plugin("strategy", "mine", "--directory", tmp_path).exit_code == 0


@pytest.mark.parametrize("name", ["x", "my-guard", "a" + "-b23456789" * 4])
def test_the_new_distributions_pass_the_style_of_this_repository(name, tmp_path):
    pytest.importorskip("ruff")
    root = Path(__file__).parents[3]
    # The configuration applies below its own directory, and the core beside it is sorted as first party.
    shutil.copy(root / "pyproject.toml", tmp_path)
    (tmp_path / "apex_llm_core").symlink_to(root / "apex_llm_core")
    for kind in KINDS:
        assert new_plugin(kind, name, "--directory", tmp_path / "plugins").exit_code == 0
    for arguments in (("check",), ("format", "--check")):
        done = subprocess.run(
            [sys.executable, "-m", "ruff", *arguments, "--no-cache", "plugins"],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr


def test_an_unknown_kind_is_a_usage_error(tmp_path):
    assert new_plugin("observer", "mine", "--directory", tmp_path).exit_code == 2


@pytest.mark.parametrize(("version", "expected"), [("0.1.0", ">=0.1,<0.2"), ("1.9.3", ">=1.9,<1.10")])
def test_core_range(version, expected):
    assert core_range(version) == expected
