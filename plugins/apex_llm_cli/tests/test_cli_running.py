from __future__ import annotations

import asyncio
import importlib
import sys
import types

import pytest
from apex_llm_cli import running


async def loop_in_use():
    return asyncio.get_running_loop()


def test_uvloop_is_used_when_it_is_there(monkeypatch):
    made = []

    def new_event_loop():
        made.append(asyncio.SelectorEventLoop())
        return made[-1]

    monkeypatch.setitem(sys.modules, "uvloop", types.SimpleNamespace(new_event_loop=new_event_loop))
    assert running.run(loop_in_use()) is made[0]
    assert made[0].is_closed()


def test_it_is_not_needed(monkeypatch):
    monkeypatch.setitem(sys.modules, "uvloop", None)
    assert isinstance(running.run(loop_in_use()), asyncio.AbstractEventLoop)


@pytest.mark.parametrize(
    "module", ["answering", "failures", "group", "masking", "options", "output", "prompts", "scaffold"]
)
def test_public_names_exist(module):
    found = importlib.import_module(f"apex_llm_cli.{module}")
    assert [name for name in found.__all__ if not hasattr(found, name)] == []
    assert list(found.__all__) == sorted(
        found.__all__, key=lambda name: (not name.isupper(), not name[0].isupper(), name)
    )


def test_the_command_of_the_readme_works(monkeypatch, tmp_path):
    import re
    from pathlib import Path

    from apex_llm_cli.options import Invocation
    from click.testing import CliRunner

    readme = (Path(__file__).parent.parent / "README.md").read_text()
    (code,) = re.findall(r"```python\n(.*?)```", readme, re.DOTALL)
    names = {}
    exec(code, names)  # noqa: S102 - the example as it stands
    (tmp_path / "config.toml").write_text('[[providers]]\nname = "m"\ntype = "mock"\n')
    result = CliRunner().invoke(names["command"], obj=Invocation(config=tmp_path / "config.toml"))
    assert result.output == "Say hello.\n"
