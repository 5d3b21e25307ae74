"""From a method and a path to what is asked. Model ids stand in one segment, escaped once."""

from __future__ import annotations

from typing import Final
from urllib.parse import unquote

import attrs

#: What a model can be asked for.
MODEL_OPERATIONS: Final = frozenset(
    {"converse", "converse-stream", "invoke", "invoke-with-response-stream", "count-tokens"}
)
#: Those of them that are answered by a stream.
STREAMS: Final = frozenset({"converse-stream", "invoke-with-response-stream"})
#: The collections of the control plane, with the operation that asks for one item; None: there is none such.
COLLECTIONS: Final = {
    "foundation-models": "foundation-model",
    "foundation-model-availability": "foundation-model-availability",
    "inference-profiles": "inference-profile",
    "provisioned-model-throughputs": None,
    "provisioned-model-throughput": "provisioned-model-throughput",
    "imported-models": None,
}
#: Those without a list of their own.
_ITEMS_ONLY: Final = frozenset({"foundation-model-availability", "provisioned-model-throughput"})


@attrs.frozen(kw_only=True)
class Route:
    """What a request is about."""

    #: "converse", "invoke", …, "foundation-models", "inference-profile", …
    operation: str
    #: The id or ARN in the path, decoded once; "" for lists.
    name: str = ""

    @property
    def of_model(self) -> bool:
        """Whether a model is to answer, not the control plane."""
        return self.operation in MODEL_OPERATIONS


def split_target(target: str) -> tuple[str, str]:
    """Return path and query of a request's *target*, escaped as they came."""
    if not target.startswith("/") and "://" in target:
        # As clients send it to proxies.
        target = "/" + target.partition("://")[2].partition("/")[2]
    path, _, query = target.partition("?")
    return path, query


def parse_route(method: str, path: str) -> Route | None:
    """Return what *path* (still escaped) means, None when it means nothing."""
    segments = path.strip("/").split("/")
    if method == "POST" and len(segments) == 3 and segments[0] == "model" and segments[2] in MODEL_OPERATIONS:
        return Route(operation=segments[2], name=unquote(segments[1]))
    collection = segments[0]
    if method != "GET" or collection not in COLLECTIONS:
        return None
    if len(segments) == 1 and collection not in _ITEMS_ONLY:
        return Route(operation=collection)
    operation = COLLECTIONS[collection]
    if len(segments) == 2 and segments[1] and operation is not None:
        return Route(operation=operation, name=unquote(segments[1]))
    return None


__all__ = ["COLLECTIONS", "MODEL_OPERATIONS", "STREAMS", "Route", "parse_route", "split_target"]
