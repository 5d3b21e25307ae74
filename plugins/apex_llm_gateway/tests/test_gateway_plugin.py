"""The table ``[gateway]`` as every command of the command line sees it."""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib

import pytest
from apex_llm_cli.main import cli
from apex_llm_gateway.keys import new_key
from click.testing import CliRunner

PROVIDER = '[[providers]]\nname = "mock"\ntype = "mock"\n'


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Run the command line with a configuration around one mock provider."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments, gateway):
        (tmp_path / "apex.toml").write_text(f"{PROVIDER}[gateway]\n{gateway}\n")
        return CliRunner().invoke(cli, ["--config", "apex.toml", *arguments])

    return run


@pytest.mark.parametrize("command", [("config", "check"), ("config", "show"), ("models",), ("chat", "hi")])
@pytest.mark.parametrize(
    ("gateway", "error"),
    [
        ("prot = 80", "apex.toml: gateway.prot: unknown key; did you mean 'port'?"),
        ("port = 65536", "apex.toml: gateway.port: "),
        ('api_keys = [{ keys = "env:K" }]', "apex.toml: gateway.api_keys[0].keys: unknown key; did you mean 'key'?"),
        (
            'api_keys = [{ user = "alice" }]',
            "apex.toml: gateway.api_keys[0]: give exactly one of 'key' and 'key_sha256'",
        ),
        (
            "api_keys = [4711471147114711]",
            "apex.toml: gateway.api_keys[0]: expected a string or an object, not a long number",
        ),
        ('metrics = "closed"', "apex.toml: gateway.metrics: "),
    ],
)
def test_every_command_tells_what_is_wrong_with_it(run, command, gateway, error):
    result = run(*command, gateway=gateway)
    assert result.exit_code == 2
    assert result.stderr.startswith(f"error: {error}")
    assert "47114711" not in result.output


@pytest.mark.parametrize(
    ("gateway", "failure"),
    [
        ('api_keys = ["env:NOT_SET_HERE"]', "gateway.api_keys[0]: secret 'env:NOT_SET_HERE': the environment variable"),
        ('api_keys = [{ key = "env:WEAK_HERE" }]', "gateway.api_keys[0].key: the key is shorter than 16 characters"),
        ('host = "0.0.0.0"', "gateway.host: without keys everybody who reaches"),
    ],
)
def test_check_finds_what_would_keep_it_from_starting(run, monkeypatch, gateway, failure):
    monkeypatch.delenv("NOT_SET_HERE", raising=False)
    monkeypatch.setenv("WEAK_HERE", "canary")
    result = run("config", "check", gateway=gateway)
    assert (result.exit_code, result.stdout.splitlines()[0]) == (2, "not valid: apex.toml")
    assert result.stdout.splitlines()[-1].startswith(f"failed: apex.toml: {failure}")
    assert "canary" not in result.output
    assert run("models", gateway=gateway).exit_code == 0


def test_check_is_content_with_what_starts(run, monkeypatch):
    monkeypatch.setenv("GOOD_HERE", new_key())
    result = run("config", "check", gateway='host = "0.0.0.0"\napi_keys = ["env:GOOD_HERE"]')
    assert (result.exit_code, result.stdout.splitlines()[0]) == (0, "valid: apex.toml")


def test_check_warns_of_keys_for_what_does_not_exist(run, monkeypatch):
    monkeypatch.setenv("GOOD_HERE", new_key())
    result = run("config", "check", gateway='api_keys = [{ key = "env:GOOD_HERE", providers = ["mok"] }]')
    assert result.exit_code == 0
    assert (
        result.stderr
        == "warning: apex.toml: gateway.api_keys[0].providers: there is no provider 'mok'; did you mean 'mock'?\n"
    )


def test_show_has_defaults_and_no_keys(run):
    digest = "0123456789abcdef" * 4
    keys = f'api_keys = ["canary-4711-canary", {{ key = "env:K", user = "alice" }}, {{ key_sha256 = "{digest}" }}]'
    shown = run("config", "show", gateway=keys)
    assert shown.exit_code == 0
    assert "canary" not in shown.output
    assert digest not in shown.output
    table = tomllib.loads(shown.stdout)["gateway"]
    assert (table["port"], table["metrics"]) == (8080, "open")
    plain, referred, hashed = table["api_keys"]
    assert (plain, referred["key"], referred["user"], hashed["key_sha256"]) == ("***", "env:K", "alice", "***")


def test_schema_describes_it():
    schema = json.loads(CliRunner().invoke(cli, ["config", "schema"]).stdout)
    assert schema["properties"]["gateway"] == {"$ref": "#/$defs/GatewaySettings"}
    assert {"key", "key_sha256", "models"} <= set(schema["$defs"]["ApiKeySettings"]["properties"])


def test_describing_it_takes_no_server():
    script = (
        "import sys, apex_llm_gateway.plugin\n"
        "print([name for name in ('aiohttp', 'apex_llm_core.manager', 'apex_llm_gateway.gateway') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
