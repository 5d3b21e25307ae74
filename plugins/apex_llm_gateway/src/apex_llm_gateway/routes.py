"""Every route: its handler and who may use it. What does not stand here does not exist."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Literal

import attrs

from apex_llm_gateway.calls import Call
from apex_llm_gateway.handlers import admin, answers, dashboard, health, metrics, models, openapi
from apex_llm_gateway.http import HttpError, Reply, StreamReply
from apex_llm_gateway.operations import OPERATIONS

#: "open": everybody; "user": keys with the role user or admin; "admin": keys with the role admin; "metrics": as configured.
Access = Literal["open", "user", "admin", "metrics"]
Answer = Callable[[Any, Call], Awaitable[Reply | StreamReply]]


@attrs.frozen(kw_only=True, eq=False)
class Route:
    """What is done for one method at one path."""

    method: str
    #: As documented; a part in braces, which may only stand last, takes the rest of the path.
    path: str
    access: Access
    answer: Answer


ROUTES: tuple[Route, ...] = (
    *(Route(method="POST", path=path, access="user", answer=answers.generate) for path in OPERATIONS),
    Route(method="GET", path="/v1/models", access="user", answer=models.models),
    Route(method="GET", path="/v1/models/{id}", access="user", answer=models.model),
    Route(method="GET", path="/health", access="open", answer=health.overall),
    Route(method="GET", path="/health/live", access="open", answer=health.live),
    Route(method="GET", path="/health/ready", access="open", answer=health.ready),
    Route(method="GET", path="/metrics", access="metrics", answer=metrics.metrics),
    Route(method="GET", path="/openapi.json", access="open", answer=openapi.document),
    Route(method="GET", path="/", access="open", answer=dashboard.page),
    Route(method="GET", path="/admin/state", access="admin", answer=admin.state),
    Route(method="GET", path="/admin/events", access="admin", answer=admin.events),
    Route(method="GET", path="/admin/stats", access="admin", answer=admin.stats),
    Route(method="GET", path="/admin/breakers", access="admin", answer=admin.breakers),
    Route(method="POST", path="/admin/breakers", access="admin", answer=admin.move_breaker),
    Route(method="GET", path="/admin/decisions", access="admin", answer=admin.decisions),
    Route(method="GET", path="/admin/limits", access="admin", answer=admin.limits),
    Route(method="POST", path="/admin/explain", access="admin", answer=admin.explain),
    Route(method="POST", path="/admin/reload", access="admin", answer=admin.reload),
)


class RouteTable:
    """Finds a route by method and path as sent; nothing is decoded, joined or guessed before."""

    def __init__(self, routes: tuple[Route, ...] = ROUTES) -> None:
        self._exact: dict[tuple[str, str], Route] = {}
        self._open_ended: list[tuple[str, str, Route]] = []
        for route in routes:
            start, brace, _ = route.path.partition("{")
            if brace:
                self._open_ended.append((route.method, start, route))
            else:
                self._exact[route.method, route.path] = route

    def find(self, method: str, path: str) -> Route:
        """Return the route; HEAD finds that of GET.

        Raises:
            HttpError: there is none (404), or not for this method (405).
        """
        if method == "HEAD":
            method = "GET"
        route = self._exact.get((method, path))
        if route is not None:
            return route
        allowed = {of for of, exact in self._exact if exact == path}
        for of, start, route in self._open_ended:
            if path.startswith(start) and len(path) > len(start):
                if of == method:
                    return route
                allowed.add(of)
        if allowed:
            raise HttpError(
                405,
                f"{path} takes {', '.join(sorted(allowed))}",
                code="method_not_allowed",
                headers={"Allow": ", ".join(sorted(allowed))},
            )
        raise HttpError(404, _advice(path), code="not_found")


def _advice(path: str) -> str:
    """Return what helps a client that asked for *path*, which is none of ours."""
    if path.startswith("/v1/responses"):
        return "OpenAI's Responses API is not served here; ask POST /v1/chat/completions"
    for known in (*OPERATIONS, "/v1/models"):
        if path.rstrip("/").endswith(known.removeprefix("/v1")):
            return f"there is no such address; did you mean {known}? The base URL of OpenAI's clients ends with one /v1"
    return "there is no such address; /openapi.json lists those there are"


__all__ = ["ROUTES", "Access", "Answer", "Route", "RouteTable"]
