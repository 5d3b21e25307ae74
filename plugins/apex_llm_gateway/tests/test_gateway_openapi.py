"""The document describes the gateway there is: its routes, what they take, what they answer, how they fail."""

from __future__ import annotations

import ast
import asyncio
import json
from contextlib import closing
from copy import deepcopy
from itertools import product
from pathlib import Path
from types import SimpleNamespace
from urllib.request import Request, urlopen

import apex_llm_gateway
import jsonschema
import openapi_spec_validator
import pytest
from apex_llm_gateway.handlers.openapi import document
from apex_llm_gateway.http import HttpError
from apex_llm_gateway.openai import chat_request, completions_request, embeddings_request, images_request
from apex_llm_gateway.openai.errors import error_answer
from apex_llm_gateway.openapi.described import OPERATIONS
from apex_llm_gateway.openapi.document import build
from apex_llm_gateway.openapi.failures import CODES
from apex_llm_gateway.routes import ROUTES
from apex_llm_gateway.settings import GatewaySettings

from apex_llm_core import errors

BOTH = (True, False)
METRICS = ("open", "admin", "off")
UNKNOWN = ("pass", "drop", "reject")
DOCUMENT = build()
PICTURE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo=", "detail": "low"}}


def closed(schema):
    """Return *schema* so that its objects have no members but those it names."""
    if isinstance(schema, list):
        return [closed(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    found = {name: closed(value) for name, value in schema.items()}
    if isinstance(schema.get("properties"), dict) and "object" in schema.get("type", ()) and schema.get("type"):
        found.setdefault("additionalProperties", False)
    return found


CLOSED = {**deepcopy(DOCUMENT), "components": closed(DOCUMENT["components"])}


def validate(value, name, *, whole=CLOSED):
    """Check *value* against the schema *name*."""
    jsonschema.Draft202012Validator({**whole, "$ref": f"#/components/schemas/{name}"}).validate(value)


def fits(value, name):
    """Return whether *value* fits the schema *name*, as the document has it."""
    validator = jsonschema.Draft202012Validator({**DOCUMENT, "$ref": f"#/components/schemas/{name}"})
    return validator.is_valid(value)


class TestDocument:
    @pytest.mark.parametrize(("keys", "metrics", "unknown"), [*product(BOTH, METRICS, UNKNOWN)])
    def test_is_valid(self, keys, metrics, unknown):
        made = build(keys=keys, metrics=metrics, unknown=unknown)
        openapi_spec_validator.validate(made, cls=openapi_spec_validator.OpenAPIV31SpecValidator)
        assert json.loads(json.dumps(made)) == made

    def test_has_every_route_and_no_other(self):
        assert {(route.method, route.path): route.access for route in ROUTES} == {
            route: told.access for route, told in OPERATIONS.items()
        }

    def test_names_every_operation_once(self):
        ids = [operation["operationId"] for path in DOCUMENT["paths"].values() for operation in path.values()]
        assert len(set(ids)) == len(ids) == len(ROUTES)

    @pytest.mark.parametrize(("keys", "metrics"), [*product(BOTH, METRICS)])
    def test_tells_who_may_ask(self, keys, metrics):
        paths = build(keys=keys, metrics=metrics)["paths"]
        for route in ROUTES:
            access = route.access
            if access == "metrics":
                access = metrics
            operation = paths.get(route.path, {}).get(route.method.lower())
            if access == "off":
                assert operation is None
            elif access == "open" or not keys:
                assert operation["security"] == []
            else:
                assert operation["security"] == [{"bearer": [access]}, {"api-key": [access]}, {"x-api-key": [access]}]

    def test_uses_every_schema_it_has(self):
        text = json.dumps(DOCUMENT)
        assert [name for name in DOCUMENT["components"]["schemas"] if f'schemas/{name}"' not in text] == []

    def test_is_served_as_it_is_configured(self):
        app = SimpleNamespace(
            ring=SimpleNamespace(open=False),
            settings=GatewaySettings(metrics="admin", unknown_parameters="reject"),
        )
        reply = asyncio.run(document(app, SimpleNamespace(id="r-1")))
        assert json.loads(reply.body) == build(metrics="admin", unknown="reject")
        assert reply.headers["x-request-id"] == "r-1"


class TestParameters:
    @pytest.mark.parametrize(
        ("name", "module"),
        [
            ("ChatCompletionRequest", chat_request),
            ("CompletionRequest", completions_request),
            ("EmbeddingsRequest", embeddings_request),
            ("ImageRequest", images_request),
        ],
    )
    def test_are_those_that_are_read(self, name, module):
        assert set(DOCUMENT["components"]["schemas"][name]["properties"]) == module.PARAMETERS.names

    def test_of_other_names_are_only_forbidden_where_they_are_rejected(self):
        body = {"model": "m", "messages": [{"role": "user", "content": ""}], "warmth": 1}
        assert fits(body, "ChatCompletionRequest")
        with pytest.raises(jsonschema.ValidationError):
            validate(body, "ChatCompletionRequest", whole=build(unknown="reject"))

    @pytest.mark.parametrize(
        ("message", "good"),
        [
            ({"role": "user", "content": [PICTURE]}, True),
            ({"role": "user", "content": []}, False),
            ({"role": "system", "content": [PICTURE]}, False),
            ({"role": "assistant"}, False),
            ({"role": "assistant", "content": None, "tool_calls": []}, False),
            ({"role": "assistant", "content": None, "refusal": "no"}, True),
            ({"role": "assistant", "reasoning_content": "hm"}, True),
            ({"role": "tool", "content": "x"}, False),
            ({"role": "nobody", "content": "x"}, False),
            ({"role": "user", "content": "x", "cache_control": {"type": "ephemeral", "ttl": "1h"}}, True),
            ({"role": "user", "content": [{"type": "input_audio", "input_audio": {}}]}, False),
            ({"role": "user", "content": [{"type": "file", "file": {"file_id": "f-1"}}]}, False),
            ({"role": "user", "content": [{"type": "file", "file": {"file_data": "JVBE", "filename": "a.pdf"}}]}, True),
            ({"role": "user", "content": [{"type": "file", "file": {"file_data": "JVBE"}}]}, False),
        ],
    )
    def test_and_messages_fit_exactly_when_they_are_read(self, message, good):
        body = {"model": "m", "messages": [message]}
        assert fits(body, "ChatCompletionRequest") is good
        try:
            chat_request.read_chat(body, chat_request.Rules())
        except errors.InvalidRequestError:
            assert not good
        else:
            assert good


class TestFailures:
    def schema_of(self, status):
        """Return the schema of the response of *status*."""
        return CLOSED["components"]["responses"][f"Error{status}"]["content"]["application/json"]["schema"]

    def check(self, answer):
        schema = self.schema_of(answer.status)
        jsonschema.Draft202012Validator({**CLOSED, **schema}).validate(answer.document)
        told = {name.lower() for name in CLOSED["components"]["responses"][f"Error{answer.status}"]["headers"]}
        assert {name.lower() for name in answer.headers} <= told

    @pytest.mark.parametrize("kind", errors.LLMErrorType)
    @pytest.mark.parametrize("status_code", [None, 200, 500])
    def test_of_providers_are_described(self, kind, status_code):
        attempt = errors.Attempt(
            number=1, provider="a", model="m", error_type=kind, message="it failed", status_code=500, duration=0.25
        )
        cls = next(cls for cls in errors.LLMError.__subclasses__() if cls("x").type is kind)
        error = cls("no", provider="a", status_code=status_code, retry_after=1.5, attempts=(attempt,))
        self.check(error_answer(error, request_id="r"))

    @pytest.mark.parametrize(("status", "code"), [(status, code) for status in CODES for code in CODES[status]])
    def test_with_every_code_are_described(self, status, code):
        self.check(error_answer(HttpError(status, "no", code=code), request_id="r"))

    def test_that_nobody_foresaw_are_described(self):
        self.check(error_answer(RuntimeError("secret"), request_id="r"))

    def test_that_the_gateway_raises_have_codes_that_are_described(self):
        found = set()
        folder = Path(apex_llm_gateway.__file__).parent
        # Workers have errors of their own among each other.
        for path in {*folder.rglob("*.py")} - {*folder.joinpath("workers").rglob("*.py")}:
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "HttpError" and node.args:
                    status = node.args[0]
                    code = next((keyword.value for keyword in node.keywords if keyword.arg == "code"), None)
                    if isinstance(status, ast.Constant):
                        value = code.value if isinstance(code, ast.Constant) else None
                        found.add((status.value, value, f"{path.name}:{node.lineno}"))
        assert len(found) > 8
        assert [where for status, code, where in found if code not in CODES.get(status, ())] == []


@pytest.fixture(scope="module")
def ask(house, served):
    """Send a request, and return its answer's document and headers."""

    def ask(path, body=None, key="admin"):
        headers = {"Authorization": f"Bearer {served.KEYS[key]}"} if key else {}
        data = None if body is None else json.dumps(body).encode()
        with urlopen(Request(house.url + path, data=data, headers=headers), timeout=20) as response:  # noqa: S310 - ours
            text = response.read().decode()
            content = DOCUMENT["paths"][path.partition("?")[0]]["get" if body is None else "post"]["responses"]["200"][
                "content"
            ]
            assert response.headers.get_content_type() in content
            return text, {name.lower() for name in response.headers}

    return ask


TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}
CHATS = {
    "plain": {},
    "alternatives": {"n": 2},
    "tool": {"tools": [TOOL], "tool_choice": "required"},
    "function": {"functions": [TOOL["function"]], "function_call": {"name": "f"}},
    "thoughts": {"reasoning_effort": "low"},
    "logprobs of the mock": {"logprobs": True},
    "logprobs": {"model": "gpt-4o", "logprobs": True, "top_logprobs": 2},
    "upstream": {"model": "gpt-4o"},
    "cut": {"max_tokens": 1},
}


class TestAnswers:
    """What really comes has no member that the document does not name."""

    def data_of(self, text):
        *events, done, end = text.split("\n\n")
        assert (done, end) == ("data: [DONE]", "")
        return [json.loads(event.removeprefix("data: ")) for event in events]

    @pytest.mark.parametrize("more", CHATS.values(), ids=CHATS)
    def test_to_chats(self, ask, served, more):
        body = served.chat(model="mock-large") | more
        text, headers = ask("/v1/chat/completions", body)
        validate(json.loads(text), "ChatCompletion")
        described = DOCUMENT["paths"]["/v1/chat/completions"]["post"]["responses"]["200"]["headers"]
        assert {name for name in headers if name.startswith("x-")} <= {name.lower() for name in described}
        assert {"x-request-id", "x-apex-provider", "x-apex-model", "x-apex-attempts"} <= headers

    @pytest.mark.parametrize("more", CHATS.values(), ids=CHATS)
    def test_to_streamed_chats(self, ask, served, more):
        body = served.chat(model="mock-large", stream=True, stream_options={"include_usage": True}) | more
        events = self.data_of(ask("/v1/chat/completions", body)[0])
        assert len(events) > 2
        for event in events:
            validate(event, "ChatCompletionChunk")

    @pytest.mark.parametrize("more", [{}, {"echo": True}, {"logprobs": 1}, {"prompt": ["a", "b"], "n": 2}], ids=str)
    def test_to_completions(self, ask, more):
        body = {"model": "mock-large", "prompt": "Hello there", **more}
        validate(json.loads(ask("/v1/completions", body)[0]), "Completion")
        for event in self.data_of(ask("/v1/completions", {**body, "stream": True})[0]):
            validate(event, "CompletionChunk")

    @pytest.mark.parametrize("encoding", ["float", "base64"])
    @pytest.mark.parametrize("model", ["mock-embed", "text-embedding-3-small"])
    def test_to_embeddings(self, ask, model, encoding):
        body = {"model": model, "input": ["a", "b"], "encoding_format": encoding}
        validate(json.loads(ask("/v1/embeddings", body)[0]), "Embeddings")

    @pytest.mark.parametrize("body", [{"model": "mock-image", "size": "64x64"}, {"model": "dall-e-3"}], ids=str)
    def test_to_images(self, ask, body):
        validate(json.loads(ask("/v1/images/generations", {"prompt": "a cat", **body})[0]), "Images")

    def test_of_models(self, ask):
        models = json.loads(ask("/v1/models")[0])
        validate(models, "Models")

    @pytest.mark.parametrize(
        ("path", "name"),
        [
            ("/health", "Health"),
            ("/health/live", "Alive"),
            ("/health/ready", "Readiness"),
            ("/admin/state", "State"),
            ("/admin/stats", "Stats"),
            ("/admin/breakers", "Breakers"),
            ("/admin/decisions", "Decisions"),
            ("/admin/limits", "Limits"),
        ],
    )
    def test_about_itself(self, ask, served, path, name):
        ask("/v1/chat/completions", served.chat())
        ask("/v1/chat/completions", served.chat(stream=True))
        validate(json.loads(ask(path)[0]), name)

    def test_to_explanations(self, ask, served):
        validate(json.loads(ask("/admin/explain", served.chat())[0]), "Decision")

    def test_to_moves_of_breakers(self, ask):
        body = {"provider": "mock", "model": "mock-large", "action": "close"}
        validate(json.loads(ask("/admin/breakers", body)[0]), "Moved")

    def test_to_reloads(self, ask):
        validate(json.loads(ask("/admin/reload", {})[0]), "Reloaded")

    def test_that_are_no_json(self, ask):
        assert ask("/metrics")[0].startswith("# ")
        assert ask("/")[0].lower().startswith("<!doctype html>")

    def test_with_the_document_itself(self, ask):
        assert json.loads(ask("/openapi.json", key=None)[0]) == build()


class TestAccess:
    """Who may ask is as the document says, route by route."""

    @pytest.mark.parametrize(("method", "path"), OPERATIONS, ids=str)
    def test_is_refused_to_others(self, house, served, method, path):
        access = OPERATIONS[method, path].access
        raised = {"open": (), "metrics": (), "user": (None,), "admin": (None, "user")}[access]
        for key in raised:
            with closing(house.connect()) as sock, served.answers(sock) as answers:
                sock.sendall(served.head(method, path, "Content-Length: 0", key=served.KEYS[key] if key else None))
                answer = answers.next(method)
            expected = (403, "role_missing") if key else (401, "invalid_api_key")
            assert (answer.status, answer.error["code"]) == expected
            assert str(answer.status) in DOCUMENT["paths"][path][method.lower()]["responses"]

    def test_of_metrics_can_be_shut(self, served, tmp_path):
        with (
            served.Served(tmp_path, gateway={"metrics": "admin"}) as house,
            closing(house.connect()) as sock,
            served.answers(sock) as answers,
        ):
            found = []
            for key in (None, served.KEYS["user"], served.KEYS["admin"]):
                sock.sendall(served.head("GET", "/metrics", key=key))
                found.append(answers.next().status)
        assert found == [401, 403, 200]
