"""From a command to the manager and back: opens it, runs the work, closes it."""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import Awaitable, Callable, Coroutine
from typing import TYPE_CHECKING, Any, TypeVar

from apex_llm_cli.options import Invocation

if TYPE_CHECKING:
    from apex_llm_core.config import Config
    from apex_llm_core.manager import LLMProviderManager

T = TypeVar("T")


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run *work* on a new event loop, uvloop's if it is installed. Ctrl-C cancels it and raises `KeyboardInterrupt`."""
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        return runner.run(work)


def with_manager(invocation: Invocation, work: Callable[[LLMProviderManager], Awaitable[T]]) -> T:
    """Open the manager on the configuration of *invocation*, await *work*, close the manager."""
    from apex_llm_core.manager import LLMProviderManager

    async def opened() -> T:
        async with LLMProviderManager(invocation.config) as manager:
            return await work(manager)

    return run(opened())


def configuration(invocation: Invocation) -> Config | None:
    """Read the configuration of *invocation* without starting anything; None when none is named.

    Raises:
        ConfigurationError: it cannot be used.
    """
    from apex_llm_core.config import load_config
    from apex_llm_core.plugin.discovery import EXTENSIONS, discover

    return load_config(invocation.config, extensions=tuple(discover(EXTENSIONS)))


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        uvloop = importlib.import_module("uvloop")
    except ImportError:
        return None
    factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return factory


__all__ = ["configuration", "run", "with_manager"]
