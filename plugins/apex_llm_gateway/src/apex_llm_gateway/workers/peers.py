"""All workers as one: what one of them is asked about the gateway, it asks the others, too.

Each worker answers the others at a Unix socket in a folder that only their user enters; nothing of this is reachable by TCP. A
worker that does not answer in time is left out: it starts just now, or ends.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

import aiohttp

from apex_llm_core.converters import decode, encode
from apex_llm_core.errors import ApexLLMError, ConfigurationError, ModelNotFoundError
from apex_llm_core.manager import BreakerAction
from apex_llm_gateway.backend import Backend
from apex_llm_gateway.http import HttpError, Reply, Request
from apex_llm_gateway.http_server import HttpServer
from apex_llm_gateway.replies import error_reply, json_reply
from apex_llm_gateway.settings import GatewaySettings
from apex_llm_gateway.snapshots import Snapshot
from apex_llm_gateway.workers.sockets import worker_socket

#: Seconds for an answer about what is, for doing what was ordered, and for reading configuration and secrets.
_SOON, _ORDERED, _LATER = 1.0, 5.0, 60.0
#: What comes of a worker that hangs, ends, or does not say what was asked.
_FAILURES = (aiohttp.ClientError, OSError, TimeoutError, ValueError)
#: States of breakers that somebody wanted, and what brings them about.
_WANTED: Mapping[str, BreakerAction] = {"forced_open": "isolate", "metrics_only": "watch", "disabled": "disable"}


class GatewayView(Protocol):
    """What is used of the gateway."""

    backend: Backend

    @property
    def settings(self) -> GatewaySettings:
        """The table ``[gateway]``."""


class Peers:
    """Implements `Backend` for one of several workers; while it is started, it is the gateway's.

    Args:
        gateway: the gateway, with the backend for its own process.
        folder: where the workers' sockets are.
        index: which worker this is.
        count: how many there are.
    """

    def __init__(self, gateway: GatewayView, *, folder: Path, index: int, count: int) -> None:
        self._gateway = gateway
        self._local = gateway.backend
        self._path = worker_socket(folder, index)
        self._others = [worker_socket(folder, other) for other in range(count) if other != index]
        self._server: HttpServer | None = None
        self._answers: Mapping[tuple[str, str], Callable[[Request], Awaitable[Any]]] = {
            ("GET", "/peer/snapshot"): self._snapshot,
            ("POST", "/peer/breakers"): self._breakers,
            ("POST", "/peer/reload"): self._reload,
        }

    async def start(self) -> None:
        """Answer the others, and speak for them."""
        # The socket of one that was killed is in the way.
        await asyncio.to_thread(self._path.unlink, missing_ok=True)
        self._server = HttpServer(self._answer, self._gateway.settings)
        await self._server.listen_unix(str(self._path))
        self._gateway.backend = self
        await self._take_over()

    async def stop(self) -> None:
        """Leave the others."""
        self._gateway.backend = self._local
        if self._server is not None:
            await self._server.stop(0)
        await asyncio.to_thread(self._path.unlink, missing_ok=True)

    # -- for this worker -----------------------------------------------------------------------------------------------

    async def snapshots(self) -> list[Snapshot]:
        """Return what each worker that answers tells of itself, this one first."""
        own, *others = await asyncio.gather(
            self._local.snapshots(), *(self._ask(path, "/peer/snapshot") for path in self._others)
        )
        return [*own, *(snapshot for answer in others if answer is not None for snapshot in answer["snapshots"])]

    async def move_breaker(self, provider: str, model: str | None, action: BreakerAction) -> int:
        """Move breakers in all workers; return how many were moved.

        Raises:
            InvalidRequestError: there is no such action.
            ModelNotFoundError: there is no such breaker.
            HttpError: another worker may not have moved its own (503).
        """
        moved = await self._local.move_breaker(provider, model, action)
        order = {"provider": provider, "model": model, "action": action}
        # All are asked, even where one fails.
        answers: list[Any] = await asyncio.gather(
            *(self._order(path, "/peer/breakers", _ORDERED, order) for path in self._others), return_exceptions=True
        )
        for answer in answers:
            if isinstance(answer, BaseException):
                raise answer
        return moved + sum(int(answer["moved"]) for answer in answers if answer is not None)

    async def reload(self) -> None:
        """Let all workers read the configuration again, one after the other.

        Raises:
            ConfigurationError: one cannot use it; those after it were not asked.
            PluginError: as before.
            HttpError: one may not have read it (503); those after it were not asked.
        """
        await self._local.reload()
        for path in self._others:
            answer = await self._order(path, "/peer/reload", _LATER)
            if answer is not None and answer["refused"] is not None:
                raise ConfigurationError(answer["refused"])

    async def _order(self, path: Path, target: str, seconds: float, body: Any = None) -> Any:
        """Let the worker at *path* do something, and return its answer; None: it is not there, or has nothing to do it with.

        Raises:
            HttpError: whether it was done is unknown.
        """
        try:
            status, answer = await self._talk(path, "POST", target, seconds, body)
        except aiohttp.ClientConnectorError:
            # One that starts later reads the configuration then, and takes over the breakers of the others.
            return None
        except _FAILURES:
            status, answer = 0, None
        if status not in {200, 404}:
            raise HttpError(
                503,
                f"{path.stem} did not answer as it should, and may go on as before; this one has done it. Ask again",
                code="worker_failed",
                headers={"Retry-After": "1"},
            )
        return answer if status == 200 else None

    async def _ask(self, path: Path, target: str) -> Any:
        """Return the answer of the worker at *path*, None when there is none in time."""
        try:
            status, answer = await self._talk(path, "GET", target, _SOON)
        except _FAILURES:
            return None
        return answer if status == 200 else None

    async def _talk(self, path: Path, method: str, target: str, seconds: float, body: Any = None) -> tuple[int, Any]:
        # A connection of its own: one that is kept may lead to a worker that was replaced.
        connector = aiohttp.UnixConnector(str(path), force_close=True)
        timeout = aiohttp.ClientTimeout(total=seconds)
        async with (
            aiohttp.ClientSession(connector=connector, timeout=timeout) as session,
            session.request(method, f"http://worker{target}", data=None if body is None else encode(body)) as answer,
        ):
            return answer.status, decode(await answer.read())

    async def _take_over(self) -> None:
        """Move breakers as they were moved by hand before this worker took another's place."""
        for path in self._others:
            answer = await self._ask(path, "/peer/snapshot")
            if answer is not None:
                for breaker in answer["snapshots"][0]["breakers"]:
                    action = _WANTED.get(breaker["state"]) if breaker["reason"] == "by hand" else None
                    if action is not None:
                        # Its configuration may be newer, and know them no longer.
                        with suppress(ModelNotFoundError):
                            await self._local.move_breaker(breaker["provider"], breaker["model"], action)
                return

    # -- for the others ------------------------------------------------------------------------------------------------

    async def _answer(self, request: Request) -> Reply:
        try:
            answer = self._answers.get((request.method, request.path))
            if answer is None:
                raise HttpError(404, "workers know no such address")
            return json_reply(await answer(request))
        except Exception as error:
            return error_reply(error)

    async def _snapshot(self, _request: Request) -> Any:
        return {"snapshots": await self._local.snapshots()}

    async def _breakers(self, request: Request) -> Any:
        order = decode(await request.body())
        return {"moved": await self._local.move_breaker(order["provider"], order["model"], order["action"])}

    async def _reload(self, _request: Request) -> Any:
        try:
            await self._local.reload()
        except ApexLLMError as error:
            return {"refused": error.message}
        return {"refused": None}


__all__ = ["Peers"]
