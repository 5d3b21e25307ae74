from __future__ import annotations

import asyncio
import json

import pytest
from apex_llm_gateway.gateway import Gateway
from apex_llm_gateway.http import HttpError, Reply, StreamReply
from apex_llm_gateway.keys import Key, KeyRing
from apex_llm_gateway.routes import ROUTES, RouteTable
from apex_llm_gateway.settings import GatewaySettings
from multidict import CIMultiDict

from apex_llm_core.manager import LLMProviderManager

CONFIG = {
    "providers": [
        {"name": "near", "type": "mock", "models": [{"id": "small", "base_model": "mock-small"}]},
        {"name": "far", "type": "mock", "models": [{"id": "maker/small", "base_model": "mock-small"}, {"id": "small"}]},
    ]
}


class Asked:
    """A request as a server hands it on."""

    remote = "192.0.2.7"
    query = {}  # noqa: RUF012 - nobody changes it

    def __init__(self, method, path, body=b"", **headers):
        self.method = method
        self.path = path
        self.headers = CIMultiDict({name.replace("_", "-"): value for name, value in headers.items()})
        self._body = body

    async def body(self):
        return self._body


def ring(**roles):
    from hashlib import sha256

    return KeyRing(
        [Key(name=text, digest=sha256(text.encode()).digest(), roles=words) for text, words in roles.items()]
    )


def with_gateway(work, keys=None, *, config=CONFIG, **settings):
    async def run():
        async with LLMProviderManager(config) as manager:
            gateway = Gateway(manager, GatewaySettings(health_interval=0, **settings), keys or KeyRing())
            await gateway.start()
            try:
                return await work(gateway)
            finally:
                await gateway.stop()

    return asyncio.run(run())


def ask(method, path, keys=None, body=b"", **headers):
    """Return the answer to one request, the pieces of a stream left unasked for."""

    async def work(gateway):
        reply = await gateway.handle(Asked(method, path, body, host="localhost", **headers))
        if isinstance(reply, StreamReply):
            await reply.pieces.aclose()
            reply.ended(False)
        return reply

    return with_gateway(work, keys)


KEYS = {"a-user": ["user"], "an-admin": ["admin"], "somebody": ["reporting"]}


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: f"{route.method} {route.path}")
@pytest.mark.parametrize("key", [None, *KEYS])
def test_who_may_use_a_route(route, key):
    path = route.path.replace("{id}", "small")
    headers = {} if key is None else {"authorization": f"Bearer {key}"}
    reply = ask(route.method, path, ring(**KEYS), b"{}", **headers)
    access = "open" if route.access == "metrics" else route.access
    if access == "open":
        assert reply.status not in {401, 403}
    elif key is None:
        assert reply.status == 401
    elif key == "somebody" or (access == "admin" and key == "a-user"):
        assert reply.status == 403
        assert json.loads(reply.body)["error"]["code"] == "role_missing"
    else:
        assert reply.status not in {401, 403}


def test_what_changes_something_is_never_open():
    assert not [route.path for route in ROUTES if route.method != "GET" and route.access in {"open", "metrics"}]
    assert {route.access for route in ROUTES if route.path.startswith("/admin")} == {"admin"}


@pytest.mark.parametrize(
    "path",
    [
        "/admin",
        "/admin/",
        "//admin/state",
        "/admin/state/",
        "/ADMIN/state",
        "/admin%2fstate",
        "/health/../admin/state",
        "/v1",
    ],
)
def test_paths_are_taken_as_they_are_sent(path):
    with pytest.raises(HttpError) as caught:
        RouteTable().find("GET", path)
    assert caught.value.status == 404


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("/chat/completions", "did you mean /v1/chat/completions?"),
        ("/v1/v1/chat/completions", "did you mean /v1/chat/completions?"),
        ("/openai/deployments/small/chat/completions", "did you mean /v1/chat/completions?"),
        ("/completions", "did you mean /v1/completions?"),
        ("/models", "did you mean /v1/models?"),
        ("/v1/models/", "did you mean /v1/models?"),
        ("/v1/responses", "ask POST /v1/chat/completions"),
        ("/nowhere", "/openapi.json lists those there are"),
    ],
)
def test_who_asks_at_another_address_is_told_where_to_ask(path, words):
    with pytest.raises(HttpError) as caught:
        RouteTable().find("POST", path)
    assert caught.value.status == 404
    assert words in str(caught.value)


@pytest.mark.parametrize(("metrics", "status"), [("open", 200), ("admin", 401), ("off", 404)])
def test_metrics_are_for_whom_the_configuration_says(metrics, status):
    async def work(gateway):
        return await gateway.handle(Asked("GET", "/metrics"))

    assert with_gateway(work, ring(**KEYS), metrics=metrics).status == status


@pytest.mark.parametrize(
    ("model", "placed"),
    [
        ("small", (None, "small")),
        ("far/small", ("far", "small")),
        ("far/unlisted", ("far", "unlisted")),
        ("maker/small", (None, "maker/small")),
        ("far/maker/small", ("far", "maker/small")),
        ("nobody/small", (None, "nobody/small")),
        ("far/", (None, "far/")),
        ("/small", (None, "/small")),
    ],
)
def test_a_provider_before_the_model(model, placed):
    async def work(gateway):
        return gateway.place(model)

    assert with_gateway(work) == placed


@pytest.mark.parametrize("model", ["near/large", "far/unlisted"])
def test_what_a_provider_has_beyond_its_list_is_for_nobody(model):
    body = json.dumps({"model": model, "messages": [{"role": "user", "content": "Hi"}]}).encode()
    reply = ask("POST", "/v1/chat/completions", body=body)
    assert reply.status == 404
    error = json.loads(reply.body)["error"]
    assert error["code"] == "model_not_found"
    assert repr(model.partition("/")[2]) in error["message"]


def test_a_provider_that_lists_nothing_is_asked_for_what_callers_name():
    async def work(gateway):
        body = b'{"model":"all/new","messages":[{"role":"user","content":"Hi"}]}'
        return await gateway.handle(Asked("POST", "/v1/chat/completions", body, host="localhost"))

    everything = {"name": "all", "type": "mock", "options": {"unknown_models": "serve"}}
    assert with_gateway(work, config={"providers": [everything]}).status == 200


def test_the_id_of_the_request_is_the_clients_if_it_can_be_used():
    assert ask("GET", "/health", x_request_id="trace-1.a:b").headers["x-request-id"] == "trace-1.a:b"
    for unusable in ("", "two words", "line\nend", "x" * 200, "é"):
        assert ask("GET", "/health", x_request_id=unusable).headers["x-request-id"] not in {unusable, ""}


def test_a_defect_is_told_to_the_operator_without_what_it_says(capsys, monkeypatch):
    async def broken(_house, _call):
        raise LookupError("sk-the-prompt-and-the-key")

    async def work(gateway):
        route = next(route for route in ROUTES if route.path == "/v1/models")
        monkeypatch.setattr(
            gateway._routes, "find", lambda *_: type(route)(method="GET", path="/x", access="open", answer=broken)
        )
        return await gateway.handle(Asked("GET", "/v1/models"))

    reply = with_gateway(work)
    told = capsys.readouterr().err
    assert reply.status == 500
    assert b"sk-the-prompt" not in reply.body
    assert "sk-the-prompt" not in told
    assert "LookupError" in told
    assert reply.headers["x-request-id"] in told


@pytest.mark.parametrize("path", ["/metrics", "/health"])
def test_what_an_open_gateway_tells_is_for_no_page_of_another_site(path):
    assert ask("GET", path).status == 200
    assert ask("GET", path, origin="http://evil.example").status == 403

    async def rebound(gateway):
        return await gateway.handle(Asked("GET", path, host="evil.example"))

    assert with_gateway(rebound).status == 403
    assert with_gateway(rebound, ring(**KEYS)).status == 200


@pytest.mark.parametrize("path", ["/health/live", "/health/ready"])
def test_probes_of_an_open_gateway_come_from_anywhere(path):
    async def probe(gateway):
        return await gateway.handle(Asked("GET", path, host="10.0.0.7:8080"))

    assert with_gateway(probe).status == 200


def test_an_answer_that_nobody_waits_for_is_counted_and_logged(capsys):
    class Endless(Asked):
        async def body(self):
            self.remote = ""
            await asyncio.Event().wait()

    async def work(gateway):
        task = asyncio.create_task(gateway.handle(Endless("POST", "/v1/embeddings", host="localhost")))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return gateway.activity.snapshot()["answers"]

    assert with_gateway(work, access_log=True) == [{"route": "/v1/embeddings", "status": 499, "count": 1}]
    assert capsys.readouterr().err.split()[:4] == ["192.0.2.7", "POST", "/v1/embeddings", "499"]


def test_every_request_is_a_line_of_the_access_log_without_keys(capsys):
    async def work(gateway):
        key = {"authorization": "Bearer a-user"}
        await gateway.handle(Asked("GET", "/v1/models\x1b[31m", **key))
        body = b'{"model":"small","stream":true,"messages":[{"role":"user","content":"secret prompt"}]}'
        reply = await gateway.handle(Asked("POST", "/v1/chat/completions", body, **key))
        async for _ in reply.pieces:
            pass
        reply.ended(False)
        left = await gateway.handle(Asked("POST", "/v1/chat/completions", body, **key))
        await left.pieces.aclose()
        left.ended(True)

    with_gateway(work, ring(**KEYS), access_log=True)
    lines = capsys.readouterr().err.splitlines()
    assert [line.split()[:4] for line in lines] == [
        ["192.0.2.7", "GET", "/v1/models\\x1b[31m", "404"],
        ["192.0.2.7", "POST", "/v1/chat/completions", "200"],
        ["192.0.2.7", "POST", "/v1/chat/completions", "499"],
    ]
    assert "a-user" not in "".join(lines)
    assert "secret" not in "".join(lines)


def test_whole_answers_carry_where_they_come_from():
    body = b'{"model":"far/small","messages":[{"role":"user","content":"Hi"}]}'
    reply = ask("POST", "/v1/chat/completions", body=body)
    assert isinstance(reply, Reply)
    assert {name: reply.headers[name] for name in ("x-apex-provider", "x-apex-model", "x-apex-attempts")} == {
        "x-apex-provider": "far",
        "x-apex-model": "small",
        "x-apex-attempts": "1",
    }
    assert "x-apex-cost" not in reply.headers
