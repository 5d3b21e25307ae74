from __future__ import annotations

import json
import sys
import tomllib
import types

import attrs
import pytest
from apex_llm_cli import extension_tables
from apex_llm_cli.extension_tables import described_tables
from apex_llm_cli.main import cli
from click.testing import CliRunner

from apex_llm_core.config import setting
from apex_llm_core.errors import ConfigurationWarning
from apex_llm_core.markers import hookimpl
from apex_llm_core.plugin.discovery import EXTENSIONS, PluginSource


@attrs.frozen(kw_only=True)
class Ladder:
    steps: int = setting(3, low=1, doc="How many.")
    token: str = setting("", doc="Opens it.")


@pytest.fixture
def extensions(monkeypatch):
    """Install extensions: by name what their `apex_register` does, or None for one that cannot be imported."""

    def installed(**registers):
        sources = {}
        for name, register in registers.items():
            module = types.ModuleType(f"fake_{name}")
            if register is not None:
                module.apex_register = hookimpl(register)
                monkeypatch.setitem(sys.modules, module.__name__, module)
            sources[name] = PluginSource(
                name=name, group=EXTENSIONS, distribution=f"acme-{name}", version="2", value=module.__name__
            )
        monkeypatch.setattr(extension_tables, "discover", lambda group: sources if group == EXTENSIONS else {})

    return installed


def describe(registrar):
    registrar.table("ladder", Ladder)


def watch(registrar):
    registrar.observer("watch", lambda config, settings, runtime: None)


def test_those_that_describe_a_table_of_their_name(extensions):
    extensions(ladder=describe, watch=watch, other=describe)
    assert described_tables() == {"ladder": Ladder}
    assert described_tables({"watch"}) == {}
    assert described_tables({"ladder"}) == {"ladder": Ladder}


def test_a_broken_one_is_told_and_hides_no_other(extensions):
    extensions(broken=None, ladder=describe)
    with pytest.warns(ConfigurationWarning, match="'broken'.*acme-broken 2.*its table is not described"):
        assert described_tables() == {"ladder": Ladder}


def test_one_that_is_not_asked_for_is_not_imported(extensions):
    extensions(broken=None, ladder=describe)
    assert described_tables({"ladder"}) == {"ladder": Ladder}


def test_schema_describes_them(extensions):
    extensions(ladder=describe)
    schema = json.loads(CliRunner().invoke(cli, ["config", "schema"]).stdout)
    assert schema["properties"]["ladder"] == {"$ref": "#/$defs/Ladder"}
    assert schema["$defs"]["Ladder"]["properties"]["steps"]["minimum"] == 1


def test_show_has_their_defaults_and_masks_their_secrets(extensions, tmp_path, monkeypatch):
    extensions(ladder=describe)
    monkeypatch.setattr("apex_llm_core.plugin.discovery.discover", extension_tables.discover)
    (tmp_path / "apex.toml").write_text('[ladder]\ntoken = "canary-4711"\n')
    result = CliRunner().invoke(cli, ["--config", str(tmp_path / "apex.toml"), "config", "show"])
    assert tomllib.loads(result.stdout)["ladder"] == {"steps": 3, "token": "***"}
    assert "canary" not in result.output


def test_show_refuses_what_does_not_fit(extensions, tmp_path, monkeypatch):
    extensions(ladder=describe)
    monkeypatch.setattr("apex_llm_core.plugin.discovery.discover", extension_tables.discover)
    (tmp_path / "apex.toml").write_text("[ladder]\nstep = 1\n")
    result = CliRunner().invoke(cli, ["--config", str(tmp_path / "apex.toml"), "config", "show"])
    assert result.exit_code == 2
    assert "apex.toml: ladder.step: unknown key; did you mean 'steps'?" in result.stderr
