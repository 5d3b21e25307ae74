"""Shared by the tests that need a whole gateway."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest


def _load_served():
    # With --import-mode=importlib the folder of the tests is not on sys.path, so a helper is loaded by its place.
    name = "apex_llm_gateway_tests_served"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name("served.py"))
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        spec.loader.exec_module(module)
    return sys.modules[name]


@pytest.fixture(scope="session")
def served():
    """The module `served`."""
    return _load_served()


@pytest.fixture(scope="module")
def house(served, tmp_path_factory):
    """A gateway with keys, one for each module of tests."""
    with served.Served(tmp_path_factory.mktemp("gateway")) as gateway:
        yield gateway
