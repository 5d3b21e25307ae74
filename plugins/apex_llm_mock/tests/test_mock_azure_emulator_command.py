"""``apex-llm emulate azure`` as a process of its own."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import tomllib
import urllib.parse
import urllib.request
from pathlib import Path

import pytest

from apex_llm_core.config import parse_config

pytest.importorskip("apex_llm_cli")

#: Ctrl-C must work even where whoever runs the tests ignores it.
START = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); from apex_llm_cli.main import main; main()"


@contextlib.contextmanager
def emulating(*arguments):
    command = [sys.executable, "-c", START, "emulate", "azure", *arguments]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("APEX_LLM_")}
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
    tables = 2 if "ca file" in facts else 1
    while lines.count("]\n") < tables:
        lines.append(process.stdout.readline())
    return facts, "".join(lines)


def fetch(url, body=None, headers=None, context=None):
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, headers or {})  # noqa: S310
    with urllib.request.urlopen(request, context=context, timeout=20) as response:  # noqa: S310
        return json.load(response)


def ask(address, headers, model="gpt-4o"):
    body = {"model": model, "messages": [{"role": "user", "content": "hi"}]}
    return fetch(f"{address}/openai/v1/chat/completions", body, {**headers, "Content-Type": "application/json"})


def end(process, number):
    process.send_signal(number)
    rest, errors = process.communicate(timeout=20)
    # After the "^C" of the terminal a new line begins.
    assert (rest, errors) == ("", "\n" if number == signal.SIGINT else "")
    return process.returncode


def test_it_serves_until_ctrl_c():
    with emulating() as process:
        facts, configuration = read(process)
        assert facts.keys() == {"address", "api key"}
        answer = ask(facts["address"], {"api-key": facts["api key"]})
        assert answer["choices"][0]["message"]["content"] == "hi"
        provider = parse_config(tomllib.loads(configuration)).providers[0]
        assert (provider.name, provider.type) == ("azure", "azure")
        assert provider.options == {"endpoint": facts["address"]}
        assert {"gpt-4o", "text-embedding-3-small"} <= {model.id for model in provider.models}
        assert end(process, signal.SIGINT) == 130


def test_it_ends_in_good_order_when_a_service_manager_says_so():
    with emulating("--api-key", 'a "key"', "--deployment", "blue=gpt-4o-mini", "--deployment", "o1") as process:
        facts, configuration = read(process)
        assert facts["api key"] == 'a "key"'
        document = tomllib.loads(configuration)
        [provider] = document["providers"]
        assert provider["auth"]["credentials"] == {"api_key": 'a "key"'}
        assert provider["models"] == [{"id": "blue", "base_model": "gpt-4o-mini"}, {"id": "o1", "base_model": "o1"}]
        assert ask(facts["address"], {"api-key": 'a "key"'}, "blue")["model"] == "gpt-4o-mini-2024-07-18"
        assert end(process, signal.SIGTERM) == 0


def test_it_gives_tokens(tmp_path):
    pytest.importorskip("trustme")
    trusted = tmp_path / "ca.pem"
    with emulating("--token-port", "0", "--ca-file", str(trusted)) as process:
        facts, configuration = read(process)
        assert facts["ca file"] == str(trusted)
        _, provider = tomllib.loads(configuration)["providers"]
        assert provider["auth"]["type"] == "azure_ad"
        given = provider["auth"]["credentials"]
        assert provider["options"]["ca_file"] == str(trusted)
        assert facts["token authority"] == f"{provider['options']['authority']}/{given['tenant_id']}"
        form = {
            "grant_type": "client_credentials",
            "client_id": given["client_id"],
            "client_secret": given["client_secret"],
            "scope": "https://cognitiveservices.azure.com/.default",
        }
        url = f"{facts['token authority']}/oauth2/v2.0/token"
        data = urllib.parse.urlencode(form).encode()
        context = ssl.create_default_context(cafile=trusted)
        with urllib.request.urlopen(url, data, context=context, timeout=20) as response:  # noqa: S310
            token = json.load(response)["access_token"]
        answer = ask(facts["address"], {"Authorization": f"Bearer {token}"})
        assert answer["choices"][0]["message"]["content"] == "hi"
        assert end(process, signal.SIGINT) == 130


def test_a_certificate_nobody_asked_to_keep_is_gone_afterwards():
    pytest.importorskip("trustme")
    with emulating("--token-port", "0") as process:
        facts, _ = read(process)
        trusted = Path(facts["ca file"])
        assert trusted.read_text().startswith("-----BEGIN CERTIFICATE-----")
        assert end(process, signal.SIGTERM) == 0
    assert not trusted.parent.exists()


@pytest.mark.parametrize("arguments", [["--json"], ["--debug", "--json"]])
def test_everything_as_a_document(arguments):
    with emulating(*arguments) as process:
        facts = json.loads(process.stdout.readline())
        assert facts["deployments"]["gpt-4o"] == "gpt-4o"
        assert tomllib.loads(facts["configuration"])["providers"]
        assert fetch(f"{facts['address']}/emulator/state")["requests"] == 0
        assert end(process, signal.SIGINT) == 130


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--deployment", "a=gpt-4oo"], "'gpt-4oo' is no base model that the emulator knows; did you mean 'gpt-4o'"),
        (["--deployment", "=gpt-4o"], "'=gpt-4o' is not NAME=MODEL"),
        (["--deployment", "a="], "'a=' is not NAME=MODEL"),
        (["--ca-file", "x.pem"], "--ca-file needs --token-port"),
        (["--port", "65536"], "65536 is not in the range"),
        (["--host", "192.0.2.1"], "cannot listen: "),
        (["--pause", "-1"], "--pause"),
    ],
)
def test_mistakes(arguments, message):
    with emulating(*arguments) as process:
        output, errors = process.communicate(timeout=20)
    assert (process.returncode, output) == (2, "")
    assert errors.startswith("error: ")
    assert errors.count("\n") == 1
    assert message in errors


def test_a_taken_port():
    with socket.create_server(("127.0.0.1", 0)) as taken, emulating("--port", str(taken.getsockname()[1])) as process:
        _, errors = process.communicate(timeout=20)
    assert process.returncode == 2
    assert errors.startswith("error: cannot listen: ")
    assert "in use" in errors


def test_a_file_that_cannot_be_written(tmp_path):
    pytest.importorskip("trustme")
    with emulating("--token-port", "0", "--ca-file", str(tmp_path / "none" / "ca.pem")) as process:
        _, errors = process.communicate(timeout=20)
    assert process.returncode == 2
    assert "cannot write" in errors


def test_the_help_of_the_root_imports_no_server():
    code = (
        "import sys; sys.argv = ['apex-llm', '--help']\n"
        "from apex_llm_cli.main import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "sys.exit('aiohttp' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "emulate " in done.stdout
