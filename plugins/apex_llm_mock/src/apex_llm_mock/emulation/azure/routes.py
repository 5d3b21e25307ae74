"""From a path and a query to what is asked: the two surfaces and the rules of `api-version`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Literal
from urllib.parse import unquote

import attrs

from apex_llm_mock.emulation.answers import RefusedError
from apex_llm_mock.emulation.azure.errors import deployment_not_found, front_door, resource_not_found

Surface = Literal["dated", "v1"]
#: What a deployment can be asked for.
OPERATIONS = frozenset({"chat/completions", "embeddings", "images/generations", "images/edits"})
DATED_VERSIONS = frozenset(
    {
        "2023-05-15",
        "2023-12-01-preview",
        "2024-02-01",
        "2024-02-15-preview",
        "2024-03-01-preview",
        "2024-04-01-preview",
        "2024-05-01-preview",
        "2024-06-01",
        "2024-07-01-preview",
        "2024-08-01-preview",
        "2024-09-01-preview",
        "2024-10-01-preview",
        "2024-10-21",
        "2024-12-01-preview",
        "2025-01-01-preview",
        "2025-02-01-preview",
        "2025-03-01-preview",
        "2025-04-01-preview",
    }
)
V1_VERSIONS = frozenset({"", "v1", "latest", "preview"})
#: The dated versions that have these operations at all.
FIRST_VERSION = {"images/edits": "2025-04-01-preview", "images/generations": "2023-12-01-preview"}
_DEPLOYMENT = re.compile(r"/openai/deployments/([^/]+)/(.+?)/?")
_DATED = re.compile(r"\d{4}-\d{2}-\d{2}(-preview)?")


@attrs.frozen(kw_only=True)
class Route:
    """What a request is about, as far as its path tells."""

    surface: Surface
    #: "chat/completions", "embeddings", "images/generations", "images/edits" or "models".
    operation: str
    #: Of dated paths; on v1 the body names it.
    deployment: str = ""
    #: The one model that is asked about.
    model: str = ""
    version: str = ""

    @property
    def date(self) -> str:
        """The date of the version, "9999-99-99" on v1; for comparisons."""
        return self.version[:10] if self.surface == "dated" else "9999-99-99"

    def check_version(self) -> None:
        """Raise `RefusedError` for an `api-version` that does not belong to the surface."""
        version = self.version
        if self.surface == "v1":
            if version not in V1_VERSIONS:
                message = "API version not supported" if _DATED.fullmatch(version) else "Invalid API version"
                raise RefusedError(front_door(400, "BadRequest", message))
            return
        if version in V1_VERSIONS and version and self.deployment:
            raise deployment_not_found()
        if version not in DATED_VERSIONS or self.date < FIRST_VERSION.get(self.operation, "")[:10]:
            raise resource_not_found()


def parse_route(path: str, query: Mapping[str, str]) -> Route | None:
    """Return what *path* (still escaped) means, None when it means nothing."""
    version = query.get("api-version", "")
    if (found := _DEPLOYMENT.fullmatch(path)) is not None:
        if found[2] not in OPERATIONS:
            return None
        return Route(surface="dated", operation=found[2], deployment=unquote(found[1]), version=version)
    plain = path.rstrip("/")
    surface: Surface = "v1" if plain.startswith("/openai/v1/") else "dated"
    rest = plain.removeprefix("/openai/v1/" if surface == "v1" else "/openai/")
    if rest == "models":
        return Route(surface=surface, operation="models", version=version)
    if rest.startswith("models/"):
        return Route(surface=surface, operation="models", model=unquote(rest.removeprefix("models/")), version=version)
    if surface == "v1" and rest in OPERATIONS:
        return Route(surface=surface, operation=rest, version=version)
    return None


def method_of(operation: str) -> str:
    """Return the HTTP method of *operation*."""
    return "GET" if operation == "models" else "POST"


__all__ = [
    "DATED_VERSIONS",
    "FIRST_VERSION",
    "OPERATIONS",
    "V1_VERSIONS",
    "Route",
    "Surface",
    "method_of",
    "parse_route",
]
