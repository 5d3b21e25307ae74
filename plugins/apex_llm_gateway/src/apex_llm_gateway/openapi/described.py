"""Every route, as the document tells of it."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal

import attrs

from apex_llm_gateway.openapi.forms import COUNT, NUMBER, TEXT, Schema

Access = Literal["open", "user", "admin", "metrics"]
PROMETHEUS = "text/plain"
HTML = "text/html"
EVENTS = "text/event-stream"
#: Providers are asked.
_ASKING = (404, 429, 502, 503, 504)


@attrs.frozen(kw_only=True)
class Described:
    """One route, as the document tells of it."""

    summary: str
    access: Access
    #: The schema of its body; None: it takes none.
    takes: str | None = None
    #: The schema of its answer, or the type of an answer that is no JSON.
    gives: str
    #: The schema of the data of its events, when it can stream.
    streams: str | None = None
    #: It may answer with the headers that tell where an answer comes from.
    origin: bool = False
    parameters: tuple[Schema, ...] = ()
    #: Statuses of errors, beyond those that go without saying.
    errors: tuple[int, ...] = ()
    #: Statuses besides 200 with an answer of the same form, and what they mean.
    also: Mapping[int, str] = attrs.field(factory=dict)


def _parameter(name: str, place: str, schema: Schema, description: str) -> Schema:
    return {
        "name": name,
        "in": place,
        "required": place == "path",
        "schema": schema,
        "description": description,
    }


_COUNT_OF_DECISIONS = _parameter(
    "count", "query", {**COUNT, "minimum": 1, "default": 30}, "How many at most, the newest first."
)
_INTERVAL = _parameter(
    "interval", "query", {**NUMBER, "minimum": 0.5, "maximum": 60, "default": 2}, "Seconds between two states."
)

#: By method and path; a test holds it against the routes there are.
OPERATIONS: Mapping[tuple[str, str], Described] = MappingProxyType(
    {
        ("POST", "/v1/chat/completions"): Described(
            summary="Answer a conversation",
            access="user",
            takes="ChatCompletionRequest",
            gives="ChatCompletion",
            streams="ChatCompletionChunk",
            origin=True,
            errors=_ASKING,
        ),
        ("POST", "/v1/completions"): Described(
            summary="Continue a text",
            access="user",
            takes="CompletionRequest",
            gives="Completion",
            streams="CompletionChunk",
            origin=True,
            errors=_ASKING,
        ),
        ("POST", "/v1/embeddings"): Described(
            summary="Turn texts into vectors",
            access="user",
            takes="EmbeddingsRequest",
            gives="Embeddings",
            origin=True,
            errors=_ASKING,
        ),
        ("POST", "/v1/images/generations"): Described(
            summary="Draw images",
            access="user",
            takes="ImageRequest",
            gives="Images",
            origin=True,
            errors=_ASKING,
        ),
        ("GET", "/v1/models"): Described(summary="List the models that the key may use", access="user", gives="Models"),
        ("GET", "/v1/models/{id}"): Described(
            summary="Tell of one model",
            access="user",
            gives="Model",
            parameters=(_parameter("id", "path", {**TEXT, "minLength": 1}, 'A model, also as "provider/model".'),),
            errors=(404,),
        ),
        ("GET", "/health"): Described(
            summary="Tell whether requests can be served",
            access="open",
            gives="Health",
            also={503: "Nobody can serve."},
        ),
        ("GET", "/health/live"): Described(summary="Tell that the process lives", access="open", gives="Alive"),
        ("GET", "/health/ready"): Described(
            summary="Tell whether requests should be sent here",
            access="open",
            gives="Readiness",
            also={503: "It is stopping."},
        ),
        ("GET", "/metrics"): Described(summary="Give metrics to Prometheus", access="metrics", gives=PROMETHEUS),
        ("GET", "/openapi.json"): Described(summary="Give this document", access="open", gives="Document"),
        ("GET", "/"): Described(summary="Show the dashboard", access="open", gives=HTML),
        ("GET", "/admin/state"): Described(
            summary="Tell everything that the dashboard shows", access="admin", gives="State"
        ),
        ("GET", "/admin/events"): Described(
            summary="Stream the state, and what happens",
            access="admin",
            gives=EVENTS,
            parameters=(_INTERVAL,),
            errors=(400,),
        ),
        ("GET", "/admin/stats"): Described(summary="Give the statistics of each worker", access="admin", gives="Stats"),
        ("GET", "/admin/breakers"): Described(summary="List the circuit breakers", access="admin", gives="Breakers"),
        ("POST", "/admin/breakers"): Described(
            summary="Move circuit breakers",
            access="admin",
            takes="BreakerMove",
            gives="Moved",
            errors=(404, 503),
        ),
        ("GET", "/admin/decisions"): Described(
            summary="Tell where the last requests went, and why",
            access="admin",
            gives="Decisions",
            parameters=(_COUNT_OF_DECISIONS,),
            errors=(400,),
        ),
        ("GET", "/admin/limits"): Described(
            summary="Tell how much of each limit is used", access="admin", gives="Limits"
        ),
        ("POST", "/admin/explain"): Described(
            summary="Tell where a chat would go, without sending it",
            access="admin",
            takes="ChatCompletionRequest",
            gives="Decision",
            errors=(404,),
        ),
        ("POST", "/admin/reload"): Described(
            summary="Read the configuration again", access="admin", gives="Reloaded", errors=(400, 503)
        ),
    }
)


__all__ = ["EVENTS", "OPERATIONS", "Access", "Described"]
