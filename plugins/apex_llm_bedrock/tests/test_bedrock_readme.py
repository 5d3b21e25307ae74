"""What the README says, done as it stands; only the port is another one."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import attrs
import pytest
from apex_llm_bedrock.credentials import read_credentials
from apex_llm_bedrock.settings import BedrockSettings
from apex_llm_mock.emulation import BedrockEmulator

from apex_llm_core.config import parse_config, settings_from

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
FRONT_PAGE = (Path(__file__).parents[3] / "README.md").read_text(encoding="utf-8")
CONFIGURATIONS = re.findall(r"```toml\n(.*?)```", README, re.DOTALL)


def test_every_setting_is_in_the_readme():
    assert [field.name for field in attrs.fields(BedrockSettings) if f"`{field.name}`" not in README] == []


def test_every_credential_is_in_the_readme():
    import apex_llm_bedrock.credentials as module

    assert [name for name in (*module._IAM, "api_key") if f"`{name}" not in README] == []


@pytest.mark.parametrize("text", CONFIGURATIONS, ids=range(len(CONFIGURATIONS)))
def test_every_configuration_is_valid(text):
    config = parse_config(tomllib.loads(text))
    assert config.providers
    assert config.warnings == ()
    for provider in config.providers:
        settings_from(provider.options, BedrockSettings, key="options")
        read_credentials(provider.auth)


def test_the_way_without_an_account(tmp_path):
    pytest.importorskip("apex_llm_cli")
    with BedrockEmulator().run_in_thread() as emulator:
        (tmp_path / "bedrock.toml").write_text(CONFIGURATIONS[0].replace("http://127.0.0.1:8090", emulator.url))
        shown = re.search(r"\$ export (.*)\n\$ (apex-llm .*)\n(.*)\n", README)
        variables = dict(pair.split("=") for pair in shown[1].split())
        done = subprocess.run(
            shlex.split(shown[2]),
            cwd=tmp_path,
            env={**os.environ, **variables, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert (done.stdout, done.returncode) == (f"{shown[3]}\n", 0), done.stderr


def test_the_front_page_shows_the_same_configuration():
    assert CONFIGURATIONS[0] in FRONT_PAGE


def test_importing_the_plugin_imports_no_botocore():
    script = "import sys, apex_llm_bedrock.plugin; sys.exit(any(m in sys.modules for m in ('botocore', 'aiohttp')))"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0
