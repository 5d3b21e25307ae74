"""The gateway: finds the route, knows the caller, turns failures into answers."""

from __future__ import annotations

import asyncio
import itertools
import secrets
import sys
import time
import traceback
from collections.abc import Callable
from functools import partial

import attrs

from apex_llm_core.errors import LLMError
from apex_llm_core.manager import LLMProviderManager
from apex_llm_gateway.activity import Activity
from apex_llm_gateway.addresses import guard_browser
from apex_llm_gateway.backend import Backend, LocalBackend, WorkerFacts
from apex_llm_gateway.calls import Call, chosen_id
from apex_llm_gateway.handlers.health import HealthWatch
from apex_llm_gateway.http import HttpError, Reply, Request, StreamReply
from apex_llm_gateway.keys import NOBODY, Key, KeyRing
from apex_llm_gateway.openai.rules import Rules
from apex_llm_gateway.operations import placed
from apex_llm_gateway.replies import error_reply
from apex_llm_gateway.routes import Route, RouteTable
from apex_llm_gateway.settings import GatewaySettings

#: Stands in counts and logs for the status of an answer that nobody waited for, as nginx has it.
_HUNG_UP = 499
#: What everybody may ask, and pages of other sites may not.
_TELLING = frozenset({"/metrics", "/health"})


def _say(line: str) -> None:
    sys.stderr.write(f"apex-llm gateway: {line}\n")


class Gateway:
    """Answers requests, whatever server they come through. It belongs to the manager's event loop.

    Args:
        manager: does the work; started by its owner.
        settings: the table ``[gateway]``.
        ring: who may call.
        worker: which of several processes this is.
        clock: monotonic seconds.
        say: takes one line for whoever runs the gateway.
    """

    def __init__(
        self,
        manager: LLMProviderManager,
        settings: GatewaySettings,
        ring: KeyRing,
        *,
        worker: WorkerFacts | None = None,
        clock: Callable[[], float] = time.monotonic,
        say: Callable[[str], None] = _say,
    ) -> None:
        self.manager = manager
        self.settings = settings
        self.ring = ring
        self.clock = clock
        self._say = say
        self.created = int(time.time())
        self.activity = Activity(clock=clock, wall=time.time, known=self._lists)
        self.watch = HealthWatch(
            manager, settings.health_interval, failed=partial(self._tell, doing="checking health"), tell=say
        )
        self.rules = Rules(place=self.place, unknown=settings.unknown_parameters)
        #: It is stopping: no longer ready, but requests are still answered.
        self.draining = False
        self.worker = worker or WorkerFacts()
        self.backend: Backend = LocalBackend(self)
        self._routes = RouteTable()
        self._prefix = secrets.token_hex(6)
        self._count = itertools.count(1)

    async def start(self) -> None:
        """Begin to watch events and health."""
        self.manager.subscribe("gateway", self.activity.observe)
        self.watch.start()

    async def stop(self) -> None:
        """End what runs by itself; requests under way are the server's."""
        self.draining = True
        await self.watch.stop()

    def rekey(self, ring: KeyRing) -> None:
        """Take other keys; requests under way are not asked again."""
        self.ring = ring

    async def handle(self, request: Request) -> Reply | StreamReply:
        """Answer one request; every failure is an answer, too."""
        began = self.clock()
        request_id = chosen_id(request) or f"{self._prefix}-{next(self._count)}"
        # When it has gone, nobody knows any more where it was.
        remote = request.remote if self.settings.access_log else ""
        route: Route | None = None
        try:
            route = self._routes.find(request.method, request.path)
            reply = await route.answer(self, Call(request=request, id=request_id, key=self._admit(route, request)))
        except (LLMError, HttpError) as error:
            reply = error_reply(error, request_id)
        except asyncio.CancelledError:
            # Nobody gets an answer, but somebody asked, and a provider may have worked for it.
            self.activity.answered(route.path if route is not None else "", _HUNG_UP)
            self._log(request, remote, _HUNG_UP, began, request_id)
            raise
        except Exception as error:
            self._tell(error, f"request {request_id}")
            reply = error_reply(error, request_id)
        path = route.path if route is not None else ""
        if isinstance(reply, StreamReply):
            return self._accompanied(reply, path, request, remote, began, request_id)
        if "x-request-id" not in reply.headers:
            reply = attrs.evolve(reply, headers={**reply.headers, "x-request-id": request_id})
        self.activity.answered(path, reply.status)
        self._log(request, remote, reply.status, began, request_id)
        return reply

    def permit(self, key: Key, model: str, provider: str | None) -> None:
        """Raise `HttpError` when *key* may not use *model*, or choose *provider* (403), or *provider* has no such model (404).

        What a provider has beyond the models that its configuration lists is for nobody who calls from outside.
        """
        if not key.admits(model, provider):
            if not model:
                raise HttpError(
                    403,
                    "this key may not use every model, so name one; GET /v1/models lists those",
                    code="model_not_allowed",
                )
            what = f"the provider {provider!r}" if key.admits(model, None) else f"the model {model!r}"
            raise HttpError(
                403, f"this key may not use {what}; GET /v1/models lists what it may", code="model_not_allowed"
            )
        for handle in self.manager.providers if provider is not None else ():
            if handle.get_name() == provider and handle.config.models and model not in handle.candidates:
                raise HttpError(
                    404,
                    f"provider {provider!r} serves the models of its configuration, and {model!r} is none of them; "
                    "GET /v1/models lists them",
                    code="model_not_found",
                )

    def _lists(self, model: str) -> bool:
        return any(model in handle.candidates for handle in self.manager.providers)

    def place(self, model: str) -> tuple[str | None, str]:
        """Part "provider/model" into both; a model whose own name has a slash stays whole."""
        return placed(self.manager, model)

    def _admit(self, route: Route, request: Request) -> Key:
        access = route.access
        if access == "metrics":
            access = "open" if self.settings.metrics == "open" else "admin"
            if self.settings.metrics == "off":
                raise HttpError(404, "metrics are switched off ([gateway] metrics)", code="not_found")
        ring = self.ring
        if access == "open":
            if ring.open and route.path in _TELLING:
                # Who has no key to ask for still has pages of other sites to fear: these tell who is used, and how much.
                guard_browser(request)
            return NOBODY
        if ring.open:
            guard_browser(request)
        key = ring.authenticate(request.headers)
        if access == "admin":
            if "admin" not in key.roles:
                raise HttpError(403, "this needs a key with the role 'admin'", code="role_missing")
        elif "user" not in key.roles and "admin" not in key.roles:
            raise HttpError(403, "this needs a key with the role 'user'", code="role_missing")
        return key

    def _accompanied(
        self, reply: StreamReply, path: str, request: Request, remote: str, began: float, request_id: str
    ) -> StreamReply:
        """Let the end of *reply* be counted and logged, and defects be told."""
        refuse, farewell = reply.refuse or partial(error_reply, request_id=request_id), reply.farewell
        status = reply.status

        def refused(error: Exception) -> Reply:
            nonlocal status
            answer = refuse(error)
            status = answer.status
            if not isinstance(error, (LLMError, HttpError)):
                self._tell(error, f"request {request_id}")
            return answer

        def parted(part: Callable[[Exception], bytes], error: Exception) -> bytes:
            if not isinstance(error, (LLMError, HttpError)):
                self._tell(error, f"request {request_id}")
            return part(error)

        def ended(left: bool) -> None:
            told = _HUNG_UP if left else status
            self.activity.answered(path, told)
            self._log(request, remote, told, began, request_id)
            if reply.ended is not None:
                reply.ended(left)

        return attrs.evolve(
            reply, refuse=refused, farewell=None if farewell is None else partial(parted, farewell), ended=ended
        )

    def _tell(self, error: Exception, doing: str) -> None:
        # Not what it says: that may quote prompts and credentials.
        place = traceback.extract_tb(error.__traceback__)[-1:]
        where = f" at {place[0].filename}:{place[0].lineno} in {place[0].name}" if place else ""
        self._say(f"a defect: {type(error).__name__}{where} ({doing})")

    def _log(self, request: Request, remote: str, status: int, began: float, request_id: str) -> None:
        if not self.settings.access_log:
            return
        milliseconds = (self.clock() - began) * 1e3
        path = request.path.encode("unicode_escape").decode()
        sys.stderr.write(f"{remote or '-'} {request.method} {path} {status} {milliseconds:.1f} ms {request_id}\n")


__all__ = ["Gateway"]
