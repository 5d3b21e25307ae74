"""A browser, and a gateway that only pretends, for the tests of the dashboard."""

from __future__ import annotations

import asyncio
import importlib.util
import shutil
from contextlib import AsyncExitStack
from pathlib import Path

import pytest


def _load(name):
    # With --import-mode=importlib this folder is not on sys.path.
    spec = importlib.util.spec_from_file_location(
        f"apex_llm_gateway_tests_{name}", Path(__file__).with_name(f"{name}.py")
    )
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def pretending():
    """The module `pretending`."""
    return _load("pretending")


@pytest.fixture(scope="session")
def chromium(tmp_path_factory):
    """A running Chromium."""
    program = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if program is None:
        pytest.skip("there is no Chromium")
    running = _load("chromium").Chromium(program, tmp_path_factory.mktemp("profile"))
    yield running
    running.close()


@pytest.fixture
def look(chromium, pretending):
    """Run a story `async def story(tab, gateway)` in a new tab, at the page of a gateway in the given state."""

    def look(story, state=None, *, key=None, **window):
        async def run():
            async with AsyncExitStack() as stack:
                gateway = await stack.enter_async_context(
                    pretending.Pretended(pretending.busy() if state is None else state, key=key)
                )
                tab = await stack.enter_async_context(chromium.tab(**window))
                await tab.go(gateway.url)
                await story(tab, gateway)
                assert tab.problems == []

        asyncio.run(run())

    return look
