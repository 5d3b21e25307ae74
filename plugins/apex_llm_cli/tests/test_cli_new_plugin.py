from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
import tomllib

import pytest
from apex_llm_cli.main import cli
from apex_llm_cli.scaffold import KINDS, PluginNames, core_range, name_problem
from click.testing import CliRunner


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


def test_a_name_that_is_taken_by_an_installed_plugin_is_warned_of(tmp_path, monkeypatch):
    from apex_llm_core.plugin import discovery

    taken = discovery.PluginSource(name="mine", group="g", distribution="acme", version="2", value="x")
    monkeypatch.setattr(discovery, "discover", lambda _group: {"mine": taken})
    result = new_plugin_with(monkeypatch, "provider", "mine", "--directory", tmp_path)
    assert result.exit_code == 0
    assert result.stderr.startswith("warning: acme 2 offers provider 'mine'")


def new_plugin_with(monkeypatch, *arguments):
    from apex_llm_cli.commands.new_plugin import command

    return CliRunner().invoke(
        command, list(map(str, arguments)), obj=__import__("apex_llm_cli.options").options.Invocation()
    )


def test_an_unknown_kind_is_a_usage_error(tmp_path):
    assert new_plugin("observer", "mine", "--directory", tmp_path).exit_code == 2


@pytest.mark.parametrize(("version", "expected"), [("0.1.0", ">=0.1,<0.2"), ("1.9.3", ">=1.9,<1.10")])
def test_core_range(version, expected):
    assert core_range(version) == expected
