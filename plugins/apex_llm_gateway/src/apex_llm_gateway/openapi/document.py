"""The document: routes with what they take, what they answer, and whose key they want."""

from __future__ import annotations

from functools import cache
from importlib.metadata import version
from typing import Literal

from apex_llm_core.converters import encode
from apex_llm_gateway.http import JSON
from apex_llm_gateway.openapi.admin_schemas import ADMIN_SCHEMAS
from apex_llm_gateway.openapi.answer_schemas import ANSWER_SCHEMAS
from apex_llm_gateway.openapi.described import EVENTS, OPERATIONS, Access, Described
from apex_llm_gateway.openapi.failures import FAILURE_SCHEMAS, failure_responses, failures
from apex_llm_gateway.openapi.forms import COUNT, NUMBER, TEXT, Schema, either, members, one, ref, words
from apex_llm_gateway.openapi.message_schemas import MESSAGE_SCHEMAS
from apex_llm_gateway.openapi.request_schemas import REQUEST_SCHEMAS
from apex_llm_gateway.settings import UnknownParameters

#: Errors that go without saying: of every route, of those that want a key, of those that take a body.
_ALWAYS = (500,)
_KEYED = (401, 403)
_BODY = (400, 408, 413, 415, 501)
#: The bodies in which parameters that nobody knows may stand.
_WITH_PARAMETERS = ("ChatCompletionRequest", "CompletionRequest", "EmbeddingsRequest", "ImageRequest")


def build(
    *, keys: bool = True, metrics: Literal["open", "admin", "off"] = "open", unknown: UnknownParameters = "pass"
) -> Schema:
    """Return the document of a gateway.

    Args:
        keys: it has keys; without any, everybody may do everything.
        metrics: who may read its metrics.
        unknown: what becomes of parameters that nobody knows.
    """
    paths: dict[str, Schema] = {}
    for (method, path), told in OPERATIONS.items():
        access = told.access if told.access != "metrics" else "open" if metrics == "open" else "admin"
        if told.access == "metrics" and metrics == "off":
            continue
        paths.setdefault(path, {})[method.lower()] = _operation(method, path, told, access, keys=keys)
    schemas = {
        **REQUEST_SCHEMAS,
        **MESSAGE_SCHEMAS,
        **ANSWER_SCHEMAS,
        **FAILURE_SCHEMAS,
        **ADMIN_SCHEMAS,
    }
    if unknown == "reject":
        schemas |= {name: {**schemas[name], "additionalProperties": False} for name in _WITH_PARAMETERS}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "apex-llm gateway",
            "version": version("apex-llm-gateway"),
            "description": "Many LLM providers behind the protocol of OpenAI's API.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "paths": paths,
        "components": {
            "schemas": schemas,
            "responses": failure_responses(),
            "headers": _HEADERS,
            "securitySchemes": _SECURITY_SCHEMES if keys else {},
        },
    }


@cache
def encoded(*, keys: bool, metrics: Literal["open", "admin", "off"], unknown: UnknownParameters) -> bytes:
    """Return the document of `build` as JSON, made once."""
    return encode(build(keys=keys, metrics=metrics, unknown=unknown))


_HEADERS: Schema = {
    "x-request-id": {
        "description": "The id that the request brought under this name, or a new one.",
        "schema": TEXT,
    },
    "x-apex-provider": {"description": "The provider that answered.", "schema": TEXT},
    "x-apex-model": {"description": "The model that answered.", "schema": TEXT},
    "x-apex-attempts": {"description": "Calls that were made for it; 0 from the cache.", "schema": COUNT},
    "x-apex-cost": {"description": "What it cost; left out when not known, and for streams.", "schema": NUMBER},
    "x-apex-cache": {"description": "Nobody was asked.", "schema": words("hit")},
}
_END_OF_STREAM = members({"data": one("[DONE]")})
_SECURITY_SCHEMES: Schema = {
    "bearer": {"type": "http", "scheme": "bearer", "description": "A key of [gateway] api_keys."},
    "api-key": {
        "type": "apiKey",
        "in": "header",
        "name": "api-key",
        "description": "The same, as Azure's clients send it.",
    },
    "x-api-key": {"type": "apiKey", "in": "header", "name": "x-api-key", "description": "The same, as Anthropic's do."},
}


def _operation(method: str, path: str, told: Described, access: Access, *, keys: bool) -> Schema:
    statuses = {*told.errors, *_ALWAYS}
    if access != "open":
        statuses.update(_KEYED)
    if told.takes is not None:
        statuses.update(_BODY)
    operation: Schema = {
        "operationId": _id(method, path),
        "summary": told.summary,
        "tags": [path.split("/")[1] or "dashboard"],
        "security": [] if access == "open" or not keys else [{name: [access]} for name in _SECURITY_SCHEMES],
        "responses": {
            "200": _answer(told),
            **{str(status): {**_answer(told), "description": meaning} for status, meaning in told.also.items()},
            **failures(sorted(statuses - set(told.also))),
        },
    }
    if told.parameters:
        operation["parameters"] = list(told.parameters)
    if told.takes is not None:
        operation["requestBody"] = {"required": True, "content": {JSON: {"schema": ref(told.takes)}}}
    return operation


def _answer(told: Described) -> Schema:
    if told.gives == EVENTS:
        content = {EVENTS: {"schema": either(_event(ref("State"), "state"), _event(ref("Event"), "happened"))}}
    elif "/" in told.gives:
        content = {told.gives: {"schema": TEXT}}
    else:
        content = {JSON: {"schema": ref(told.gives)}}
    names = [] if told.gives == EVENTS else ["x-request-id"]
    if told.streams is not None:
        content[EVENTS] = {"schema": either(_event(either(ref(told.streams), ref("Error"))), _END_OF_STREAM)}
    if told.origin:
        names += [name for name in _HEADERS if name.startswith("x-apex-")]
    answer: Schema = {"description": "Done.", "content": content}
    if names:
        answer["headers"] = {name: {"$ref": f"#/components/headers/{name}"} for name in names}
    return answer


def _event(data: Schema, name: str | None = None) -> Schema:
    """Return the schema of one event; before OpenAPI 3.2 that is how streams are described."""
    found = {"data": {**TEXT, "contentMediaType": JSON, "contentSchema": data}}
    return members(found if name is None else {"event": one(name), **found})


def _id(method: str, path: str) -> str:
    words_of_path = path.replace("{", "by_").replace("}", "").replace(".", "_").strip("/").split("/")
    return "_".join((method.lower(), *words_of_path)) if path != "/" else "dashboard"


__all__ = ["build", "encoded"]
