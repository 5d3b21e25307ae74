"""``apex-llm emulate bedrock`` as a process of its own."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tomllib
import urllib.request

import pytest

from apex_llm_core.config import parse_config

pytest.importorskip("apex_llm_cli")

#: Ctrl-C must work even where whoever runs the tests ignores it.
START = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); from apex_llm_cli.main import main; main()"
NOVA = "amazon.nova-lite-v1:0"


@contextlib.contextmanager
def emulating(*arguments):
    command = [sys.executable, "-c", START, "emulate", "bedrock", *arguments]
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("APEX_LLM_", "AWS_"))}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding="utf-8", env=environment
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def read(process):
    """Return the facts that were printed, and the configuration behind them."""
    facts = {}
    while line := process.stdout.readline().rstrip("\n"):
        name, _, value = line.removeprefix("# ").partition(": ")
        facts[name] = value
    lines = []
    while lines.count("]\n") < 2:
        lines.append(process.stdout.readline())
    return facts, "".join(lines)


def ask(address, api_key, model=NOVA):
    body = json.dumps({"messages": [{"role": "user", "content": [{"text": "hi"}]}]}).encode()
    url = f"{address}/model/{model.replace(':', '%3A')}/converse"
    headers = {"Authorization": f"Bearer {api_key}", "Content-Type": "application/json"}
    request = urllib.request.Request(url, body, headers)  # noqa: S310
    with urllib.request.urlopen(request, timeout=20) as response:  # noqa: S310
        return json.load(response)


def end(process, number):
    process.send_signal(number)
    rest, errors = process.communicate(timeout=20)
    # After the "^C" of the terminal a new line begins.
    assert (rest, errors) == ("", "\n" if number == signal.SIGINT else "")
    return process.returncode


def test_it_serves_until_ctrl_c():
    with emulating() as process:
        facts, configuration = read(process)
        assert facts.keys() == {"address", "region", "access key id", "secret access key", "api key"}
        answer = ask(facts["address"], facts["api key"])
        assert answer["output"]["message"]["content"] == [{"text": "hi"}]
        first, second = parse_config(tomllib.loads(configuration)).providers
        assert (first.name, first.type, second.name) == ("bedrock", "bedrock", "bedrock-api-key")
        assert first.options == {"region": "us-east-1", "endpoint": facts["address"]}
        assert NOVA in {model.id for model in first.models}
        assert end(process, signal.SIGINT) == 130


def test_everything_chosen():
    arguments = ["--region", "eu-west-1", "--access-key-id", "AKIDMINE", "--secret-access-key", 'a "secret"']
    with emulating(*arguments, "--api-key", "mine", "--model", f"prod={NOVA}", "--model", NOVA) as process:
        facts, configuration = read(process)
        first, second = tomllib.loads(configuration)["providers"]
        assert first["auth"]["credentials"] == {"access_key_id": "AKIDMINE", "secret_access_key": 'a "secret"'}
        assert second["auth"] == {"type": "api_key", "credentials": {"api_key": "mine"}}
        assert first["options"]["region"] == "eu-west-1"
        assert first["models"] == [{"id": "prod", "base_model": NOVA}, {"id": NOVA}]
        assert ask(facts["address"], "mine", "prod")["stopReason"] == "end_turn"
        assert end(process, signal.SIGTERM) == 0


def test_models_of_the_region():
    with emulating("--region", "eu-central-1") as process:
        _, configuration = read(process)
        models = [model["id"] for model in tomllib.loads(configuration)["providers"][0]["models"]]
        assert "eu.anthropic.claude-sonnet-4-5-20250929-v1:0" in models
        assert end(process, signal.SIGTERM) == 0


def test_everything_as_a_document():
    with emulating("--json") as process:
        facts = json.loads(process.stdout.readline())
        assert facts["models"][NOVA] == NOVA
        assert len(tomllib.loads(facts["configuration"])["providers"]) == 2
        assert ask(facts["address"], facts["api_key"])["stopReason"] == "end_turn"
        assert end(process, signal.SIGINT) == 130


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["--model", "a=amazon.nova-light-v1:0"],
            f"'amazon.nova-light-v1:0' is no model that the emulator knows; did you mean '{NOVA}'",
        ),
        (["--model", "=x"], "'=x' is not NAME=BASE"),
        (["--chunk-size", "0"], "--chunk-size"),
        (["--host", "192.0.2.1"], "cannot listen: "),
    ],
)
def test_mistakes(arguments, message):
    with emulating(*arguments) as process:
        output, errors = process.communicate(timeout=20)
    assert (process.returncode, output) == (2, "")
    assert errors.startswith("error: ")
    assert errors.count("\n") == 1
    assert message in errors
