from __future__ import annotations

import json
import subprocess
import sys

import click
import pytest
from apex_llm_cli.main import cli
from apex_llm_simulator.command import command
from click.testing import CliRunner


def run(*arguments):
    return CliRunner().invoke(cli, ["simulate", *map(str, arguments)], prog_name="apex-llm")


@pytest.fixture
def file(tmp_path, tables):
    def file(**keywords):
        path = tmp_path / "day.json"
        path.write_text(json.dumps(tables(minutes=1, **keywords)))
        return path

    return file


def test_a_report_is_printed_for_people(file):
    result = run(file(expect={"max_failed": 0}))
    assert result.exit_code == 0
    assert "test: 1 min, seed 1" in result.stdout
    assert "100 % answered" in result.stdout
    assert result.stdout.splitlines()[-1].split() == ["max_failed", "all", "0", "0", "met"]


def test_progress_and_pace_are_told_beside_the_output(file):
    result = run(file())
    assert "test: 1 min" in result.stderr
    assert "per second" in result.stderr
    assert "per second" not in result.stdout


def test_a_missed_expectation_is_exit_code_1(file):
    result = run(file(expect={"min_success_rate": 1, "max_p50": 0.001}))
    assert result.exit_code == 1
    assert result.stdout.splitlines()[-1].endswith("missed")


def test_json_is_one_document_that_is_the_same_every_time(file):
    results = [run(file(expect={"max_failed": 0}), "--json") for _ in range(2)]
    assert results[0].stdout == results[1].stdout
    document = json.loads(results[0].stdout)
    assert document["figures"]["success_rate"] == 1.0
    assert document["providers"][0]["name"] == "east"
    assert document["expectations"] == [{"window": "", "bound": "max_failed", "wanted": 0.0, "found": 0, "met": True}]


def test_seed_and_hours_are_taken(file):
    document = json.loads(run(file(), "--json", "--seed", 5, "--hours", 0.01).stdout)
    assert (document["seed"], document["seconds"]) == (5, 36.0)


def test_a_picture_is_written(file, tmp_path):
    target = tmp_path / "day.svg"
    assert run(file(), "--svg", target).exit_code == 0
    assert target.read_text("utf-8").startswith("<svg")


def test_a_picture_that_cannot_be_written_is_a_usage_error(file, tmp_path):
    result = run(file(), "--svg", tmp_path / "none" / "day.svg")
    assert result.exit_code == 2
    assert "cannot write" in result.stderr


def test_an_example_is_run_by_its_name():
    document = json.loads(run("one_dead", "--hours", "0.02", "--json").stdout)
    assert document["scenario"] == "one_dead"


def test_examples_are_listed():
    result = run("--list")
    assert result.exit_code == 0
    assert result.stdout.splitlines()[1].startswith("all_dead")
    listed = json.loads(run("--list", "--json").stdout)["scenarios"]
    assert {"name", "description", "seconds", "seed"} == set(listed[0])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "which scenario?"),
        (("onedead",), "did you mean 'one_dead'?"),
        (("nowhere/day.toml",), "there is no such file"),
        (("day.toml",), "there is no such file"),
        (("one_dead", "--hours", "0"), "--hours"),
    ],
)
def test_mistakes_are_exit_code_2(arguments, message):
    result = run(*arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert message in result.stderr


def test_a_mistake_in_a_scenario_names_file_and_place(file):
    path = file(east={"faults": [{"kind": "outtage"}]})
    result = run(path)
    assert result.exit_code == 2
    assert f"{path}: providers[0].faults[0].kind: unknown value 'outtage'; did you mean 'outage'?" in result.stderr


def test_the_command_is_what_the_entry_point_names():
    assert isinstance(command, click.Command)
    assert command.name == "simulate"


def test_its_help_imports_no_engine():
    code = (
        "import sys, apex_llm_simulator.command\n"
        "assert not [name for name in ('apex_llm_core.manager', 'cattrs', 'rich') if name in sys.modules]"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
