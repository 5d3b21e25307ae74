"""The same manager for synchronous code and notebooks: a portal to an event loop in a thread of its own.

There is no second implementation: every method here hands the call to `LLMProviderManager` and waits.
"""

from __future__ import annotations

import asyncio
import functools
import threading
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import CancelledError, Future
from types import TracebackType
from typing import Any, Concatenate, ParamSpec, Self, TypeVar

from apex_llm_core.config.schema import Config
from apex_llm_core.errors import ApexLLMError
from apex_llm_core.manager import LLMProviderManager
from apex_llm_core.models.results import ChatGenerationChunk
from apex_llm_core.plugin.registry import ProviderHandle
from apex_llm_core.routing.streams import ChatStream

P = ParamSpec("P")
T = TypeVar("T")


class _Portal:
    """An event loop in a daemon thread, and the way to run coroutines there."""

    def __init__(self) -> None:
        # One lock for submissions and for the end: what is submitted before the end is cancelled by it, never forgotten.
        self._lock = threading.Lock()
        self._closed = False
        self._ready: Future[asyncio.AbstractEventLoop] = Future()
        self._thread = threading.Thread(target=self._run, name="apex-llm", daemon=True)
        self._thread.start()
        self._loop = self._ready.result()

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            loop = runner.get_loop()
            self._stop = asyncio.Event()
            self._ready.set_result(loop)
            runner.run(self._stop.wait())

    def call(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run *coroutine* there and wait; an interruption here cancels it there."""
        if threading.current_thread() is self._thread:
            coroutine.close()
            raise RuntimeError("a blocking call from the manager's own event loop would wait for itself")
        with self._lock:
            if self._closed:
                coroutine.close()
                raise RuntimeError("the manager is closed")
            future = asyncio.run_coroutine_threadsafe(coroutine, self._loop)
        try:
            return future.result()
        except (CancelledError, KeyboardInterrupt):
            future.cancel()
            raise

    @property
    def alive(self) -> bool:
        """Whether calls are still possible."""
        return not self._closed

    def close(self) -> None:
        """Stop the loop, which cancels what runs there, and join the thread."""
        with self._lock:
            if not self._closed:
                self._closed = True
                self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """Return uvloop's loops when it is installed (the `fast` extra)."""
    try:
        import uvloop
    except ImportError:
        return None
    factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return factory


def _blocking(
    method: Callable[Concatenate[LLMProviderManager, P], Coroutine[Any, Any, T]],
) -> Callable[Concatenate[BlockingManager, P], T]:
    @functools.wraps(method)
    def call(self: BlockingManager, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return self._portal.call(method(self.manager, *args, **kwargs))

    return call


def _direct(
    method: Callable[Concatenate[LLMProviderManager, P], T],
) -> Callable[Concatenate[BlockingManager, P], T]:
    @functools.wraps(method)
    def call(self: BlockingManager, /, *args: P.args, **kwargs: P.kwargs) -> T:
        async def run() -> T:
            return method(self.manager, *args, **kwargs)

        return self._portal.call(run())

    return call


def _streaming(
    method: Callable[Concatenate[LLMProviderManager, P], ChatStream],
) -> Callable[Concatenate[BlockingManager, P], BlockingStream]:
    open_stream = _direct(method)

    @functools.wraps(method)
    def call(self: BlockingManager, /, *args: P.args, **kwargs: P.kwargs) -> BlockingStream:
        return BlockingStream(open_stream(self, *args, **kwargs), self._portal)

    return call


@_direct
def _config_of(manager: LLMProviderManager) -> Config:
    return manager.config


@_direct
def _providers_of(manager: LLMProviderManager) -> list[ProviderHandle]:
    return manager.providers


@_direct
def _failures_of(manager: LLMProviderManager) -> list[ApexLLMError]:
    return manager.failures


class BlockingStream:
    """A stream for a plain ``for``; leave early by ``with stream:`` or `close()`."""

    def __init__(self, stream: ChatStream, portal: _Portal) -> None:
        #: The stream itself, for its `usage`, `provider`, `cost` and the like.
        self.stream = stream
        self._portal = portal

    def __iter__(self) -> Iterator[ChatGenerationChunk]:
        return self

    def __next__(self) -> ChatGenerationChunk:
        async def step() -> ChatGenerationChunk | None:
            return await anext(self.stream, None)

        chunk = self._portal.call(step())
        if chunk is None:
            raise StopIteration
        return chunk

    def close(self) -> None:
        """Close the upstream; after the end of the manager there is none."""
        if self._portal.alive:
            self._portal.call(self.stream.aclose())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


class BlockingManager:
    """`LLMProviderManager` for synchronous code: ``with BlockingManager() as manager: manager.generate_chat("hi")``.

    Takes the same arguments, has the same methods, and may be shared between threads. It works inside a running event loop
    (a notebook), too, but blocks it.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._portal = _Portal()
        self._closing = threading.Lock()
        try:
            self.manager = self._portal.call(self._make(args, kwargs))
        except BaseException:
            self._portal.close()
            raise

    @staticmethod
    async def _make(args: tuple[Any, ...], kwargs: dict[str, Any]) -> LLMProviderManager:
        manager = LLMProviderManager(*args, **kwargs)
        await manager.start()
        return manager

    generate_text = _blocking(LLMProviderManager.generate_text)
    generate_chat = _blocking(LLMProviderManager.generate_chat)
    generate_text_stream = _streaming(LLMProviderManager.generate_text_stream)
    generate_chat_stream = _streaming(LLMProviderManager.generate_chat_stream)
    generate_embedding = _blocking(LLMProviderManager.generate_embedding)
    generate_image = _blocking(LLMProviderManager.generate_image)
    count_tokens = _blocking(LLMProviderManager.count_tokens)
    get_models = _blocking(LLMProviderManager.get_models)
    explain = _direct(LLMProviderManager.explain)
    decisions = _direct(LLMProviderManager.decisions)
    get_limits = _blocking(LLMProviderManager.get_limits)
    breakers = _direct(LLMProviderManager.breakers)
    set_breaker = _direct(LLMProviderManager.set_breaker)
    get_capabilities = _direct(LLMProviderManager.get_capabilities)
    get_health = _blocking(LLMProviderManager.get_health)
    register_provider = _blocking(LLMProviderManager.register_provider)
    deregister_provider = _blocking(LLMProviderManager.deregister_provider)
    reload = _blocking(LLMProviderManager.reload)
    stats = _direct(LLMProviderManager.stats)
    subscribe = _direct(LLMProviderManager.subscribe)
    resolve_secret = _blocking(LLMProviderManager.resolve_secret)

    @property
    def config(self) -> Config:
        """The configuration in force."""
        return _config_of(self)

    @property
    def providers(self) -> list[ProviderHandle]:
        """All configured providers, disabled ones included."""
        return _providers_of(self)

    @property
    def failures(self) -> list[ApexLLMError]:
        """Plugins that could not be used."""
        return _failures_of(self)

    def close(self) -> None:
        """Close the manager and stop its thread; safe to call twice."""
        with self._closing:
            if self._portal.alive:
                self._portal.call(self.manager.close())
                self._portal.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


__all__ = ["BlockingManager", "BlockingStream"]
