"""Shared by the tests of the core: the scripted provider and its stage."""

from __future__ import annotations

import configparser
import importlib
import importlib.util
import sys
import textwrap
from pathlib import Path

import pytest


def _load_scripted():
    # With --import-mode=importlib the folder of the tests is not on sys.path, so a helper is loaded by its place.
    name = "apex_llm_core_tests_scripted"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name("scripted.py"))
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        spec.loader.exec_module(module)
    return sys.modules[name]


@pytest.fixture(scope="session")
def scripted():
    """The module `scripted`."""
    return _load_scripted()


@pytest.fixture(scope="session")
def stage(scripted):
    """The class `Stage`: ``stage({"a": ["hello"]}).chat()``."""
    return scripted.Stage


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Install a distribution as pip would, for one test: files, metadata and entry points on sys.path."""
    site = tmp_path / "site"
    site.mkdir()
    monkeypatch.syspath_prepend(str(site))
    before = set(sys.modules)

    def install(name, version="1.0", *, modules, entry_points, requires=()):
        """Modules by dotted name; entry points by group, as {name: value}."""
        for module, source in modules.items():
            path = site.joinpath(*module.split(".")).with_suffix(".py")
            path.parent.mkdir(parents=True, exist_ok=True)
            for folder in path.relative_to(site).parents[:-1]:
                (site / folder / "__init__.py").touch()
            path.write_text(textwrap.dedent(source))
        info = site / f"{name.replace('-', '_')}-{version}.dist-info"
        info.mkdir()
        lines = ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}"]
        lines += [f"Requires-Dist: {requirement}" for requirement in requires]
        (info / "METADATA").write_text("\n".join(lines) + "\n")
        parser = configparser.ConfigParser()
        parser.read_dict(entry_points)
        with (info / "entry_points.txt").open("w") as file:
            parser.write(file)
        importlib.invalidate_caches()
        return site

    yield install
    for module in set(sys.modules) - before:
        if getattr(sys.modules[module], "__file__", None) and str(site) in sys.modules[module].__file__:
            del sys.modules[module]
