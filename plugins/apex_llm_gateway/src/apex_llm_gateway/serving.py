"""The gateway of one process: from a configuration to sockets that listen, and back."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Protocol, TypeVar

import attrs

from apex_llm_core.errors import ApexLLMError, ConfigurationError
from apex_llm_core.manager import LLMProviderManager
from apex_llm_core.models.events import ConfigurationRejected, ConfigurationReloaded
from apex_llm_gateway.announcement import tell
from apex_llm_gateway.backend import LocalBackend, WorkerFacts
from apex_llm_gateway.configured import Overrides, file_of, settings_of
from apex_llm_gateway.descriptors import room_for
from apex_llm_gateway.gateway import Gateway
from apex_llm_gateway.http_server import HttpServer
from apex_llm_gateway.keys import check_open, load_keys
from apex_llm_gateway.listening import cannot_listen, url_of
from apex_llm_gateway.settings import GatewaySettings
from apex_llm_gateway.unmatched import warn_of_unmatched

T = TypeVar("T")


class Companion(Protocol):
    """What goes with a gateway that is one of several: it meets the others."""

    async def start(self) -> None:
        """Be there for the others."""

    async def stop(self) -> None:
        """Leave them."""


class Service:
    """A manager, its gateway and its server, started and stopped together.

    Keys are read again whenever the configuration is: after `reload`, after a change of its files, and when an
    administrator asks for it. New keys that cannot be used leave the old ones in force. Everything else of ``[gateway]`` holds
    until the next start.

    Args:
        source: the configuration file; None leaves it to APEX_LLM_CONFIG.
        overrides: what the command line says.
        worker: which of several processes this is; with it the address is shared with the others.
        join: makes what meets the other processes.
        tell: takes one line for whoever runs the gateway.
    """

    def __init__(
        self,
        source: str | Path | None = None,
        *,
        overrides: Overrides | None = None,
        worker: WorkerFacts | None = None,
        join: Callable[[Gateway], Companion] | None = None,
        tell: Callable[[str], None] = tell,
    ) -> None:
        self._source = source
        self._overrides = overrides or Overrides()
        self._worker = worker
        self._join = join
        self._tell = tell
        self._stack = AsyncExitStack()
        #: Ends with why the keys cannot be used, None when they are in force.
        self._rekeying: asyncio.Task[ConfigurationError | None] | None = None
        self._order = asyncio.Lock()

        self.manager = LLMProviderManager(source)
        # Made by `start`.
        self.settings: GatewaySettings
        self.gateway: Gateway
        self.server: HttpServer
        self.port: int

    @property
    def url(self) -> str:
        """Where clients on this machine reach it."""
        return url_of(self.settings.host, self.port)

    async def start(self) -> None:
        """Read the configuration and listen.

        Raises:
            ConfigurationError: the configuration cannot be used, or its address cannot be had.
            PluginError: a plugin that cannot be done without is broken.
        """
        async with AsyncExitStack() as stack:
            manager = await stack.enter_async_context(self.manager)
            file = file_of(manager.config)
            self.settings = settings = settings_of(manager.config, self._overrides)
            ring = await load_keys(settings, manager.resolve_secret, file=file)
            check_open(ring, settings.host, file=file)
            warn_of_unmatched(manager.config, ring.keys, file=file)
            self.gateway = gateway = Gateway(manager, settings, ring, worker=self._worker, say=self._tell)
            gateway.backend = LocalBackend(gateway, reread=self._reread)
            stack.push_async_callback(gateway.stop)
            await gateway.start()
            if self._join is not None:
                companion = self._join(gateway)
                stack.push_async_callback(companion.stop)
                await companion.start()
            self.server = HttpServer(gateway.handle, self._bounded(settings))
            try:
                self.port = await self.server.listen(settings.host, settings.port, shared=self._worker is not None)
            except OSError as error:
                await self.server.stop(0)
                raise cannot_listen(error, settings.host, settings.port) from error
            manager.subscribe("gateway-keys", self._observe)
            self._stack = stack.pop_all()

    async def reload(self) -> bool:
        """Read the configuration again; tell whether all of it, the keys too, is in force now."""
        try:
            await self._reread()
        except Exception:
            return False
        return True

    async def stop(self, *, linger: float = 0.0, hurry: asyncio.Event | None = None) -> int:
        """Be no longer ready, accept no more, let requests under way finish, end.

        Args:
            linger: seconds in which new requests are still answered, so that load balancers notice.
            hurry: ends all waiting when it is set.

        Returns:
            How many requests had to be ended.
        """
        self.gateway.draining = True
        hurry = hurry or asyncio.Event()
        if linger:
            self._tell(f"not ready any more, and still answering for {linger:g} seconds")
            await _until(hurry, asyncio.sleep(linger))
        under_way = self.gateway.activity.live_count + self.server.unsent
        if under_way and not hurry.is_set():
            requests = f"{under_way} request{'s' if under_way > 1 else ''} under way"
            self._tell(f"{requests} may take {self.settings.shutdown_timeout:g} seconds more; another signal ends them")
        ended = await _until(hurry, self.server.stop(self.settings.shutdown_timeout))
        if ended is None:
            ended = await self.server.stop(0)
        if self._rekeying is not None:
            self._rekeying.cancel()
        await self._stack.aclose()
        return ended

    async def _reread(self) -> None:
        """Read the configuration again; what cannot be used is told to whoever runs the gateway, and raised."""
        try:
            await self.manager.reload()
        except Exception as error:
            self._reject(error, "the configuration cannot be used, the old one stays in force")
            raise
        # The reload was announced before it returned.
        refusal = None if self._rekeying is None else await asyncio.shield(self._rekeying)
        if refusal is not None:
            raise refusal

    def _bounded(self, settings: GatewaySettings) -> GatewaySettings:
        room = room_for(settings.max_connections)
        if room < settings.max_connections:
            self._tell(
                f"{room} connections at most, not the {settings.max_connections} of [gateway] max_connections: the process may"
                " not open more files (ulimit -n)"
            )
        return attrs.evolve(settings, max_connections=room)

    def _observe(self, event: Any) -> None:
        if type(event) is ConfigurationReloaded:
            self._rekeying = asyncio.get_running_loop().create_task(self._rekey())
        elif type(event) is ConfigurationRejected:
            self._tell(f"a changed configuration cannot be used, the old one stays in force: {event.message}")

    async def _rekey(self) -> ConfigurationError | None:
        # One after the other, so that the last configuration has the last word.
        async with self._order:
            config = self.manager.config
            try:
                settings = settings_of(config, self._overrides)
                ring = await load_keys(settings, self.manager.resolve_secret, file=file_of(config))
                # Where it listens does not change, so it is that address that must not be open.
                check_open(ring, self.settings.host, file=file_of(config))
                warn_of_unmatched(config, ring.keys, file=file_of(config))
            except Exception as error:
                return ConfigurationError(self._reject(error, "its keys cannot be used, the old ones stay in force"))
            self.gateway.rekey(ring)
            self._tell("the configuration was read again, and is in force")
            later = [name for name in _settled(settings) if getattr(settings, name) != getattr(self.settings, name)]
            if later:
                self._tell(f"from the next start on: [gateway] {', '.join(later)}")
            return None

    def _reject(self, error: Exception, consequence: str) -> str:
        """Tell everybody that *error* has this *consequence*, and return what was told."""
        # Only what the core or the gateway wrote itself is known to quote no credentials.
        reason = error.message if isinstance(error, ApexLLMError) else type(error).__name__
        told = f"{consequence}: {reason}"
        self._tell(told)
        self.gateway.activity.observe(ConfigurationRejected(message=told))
        return told


def _settled(settings: GatewaySettings) -> list[str]:
    return [field.name for field in attrs.fields(type(settings)) if field.name != "api_keys"]


async def _until(hurry: asyncio.Event, work: Coroutine[Any, Any, T]) -> T | None:
    """Return what *work* returns, or None and end it when *hurry* is set before."""
    task, called = asyncio.create_task(work), asyncio.create_task(hurry.wait())
    try:
        await asyncio.wait((task, called), return_when=asyncio.FIRST_COMPLETED)
        return task.result() if task.done() else None
    finally:
        for either in (task, called):
            either.cancel()
        await asyncio.wait((task, called))


__all__ = ["Companion", "Service"]
