"""A whole gateway for tests: its manager, its server and an emulated upstream, on an event loop in a thread of its own.

Tests are clients, synchronous or with a loop of their own, as real ones are.
"""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from concurrent.futures import Future
from contextlib import contextmanager, suppress

import attrs
from apex_llm_gateway.serving import Service
from apex_llm_mock.emulation import AzureEmulator

from apex_llm_core.errors import LLMErrorType

#: Seconds that anything may take before it counts as hanging.
PATIENCE = 20.0
KEYS = {
    "user": "apex-Yq3vN7tRz0LkWd5xHs2M",
    "admin": "apex-Bf9uKp4cXo6GjTn1ZeAi",
    "narrow": "apex-Ev8hDw2mQy5RsJb7LxUk",
}
#: What answers of a mock that thinks are made of.
THOUGHTS = {"reasoning": "Let me see.", "text": "It is noon."}
#: Two calls at once, then what is said of their results.
TWO_CALLS = {
    "text": "I will look.",
    "tool_calls": [
        {"name": "weather", "arguments": {"city": "Bern"}},
        {"name": "time", "arguments": {"zone": "CET"}},
    ],
}
#: What would be a header of its own, were it sent as it is.
ODD_NAME = "odd\r\nSet-Cookie: a=b\r\n\r\n"
#: Deployments of the emulated upstream.
DEPLOYMENTS = {"gpt-4o": "gpt-4o", "text-embedding-3-small": "text-embedding-3-small", "dall-e-3": "dall-e-3"}


def failing(kind, **more):
    """Return the table of a provider whose only model, `fail-KIND`, fails so."""
    return {
        "name": f"fails-{kind}",
        "type": "mock",
        "retry_count": 0,
        "models": [{"id": f"fail-{kind}", "base_model": "mock-large"}],
        "options": {"faults": [{"error": kind, **more}]},
    }


def scripted(model, *replies, **options):
    """Return the table of a provider whose only model says *replies* in turn."""
    return {
        "name": f"says-{model}",
        "type": "mock",
        "models": [{"id": model, "base_model": "mock-large"}],
        "options": {"script": list(replies), **options},
    }


def providers(upstream):
    """Return the tables of all providers of `Served`; *upstream* is an `AzureEmulator`."""
    return [
        {"name": "mock", "type": "mock", "options": {"chunk_size": 4}},
        scripted("thinks", THOUGHTS),
        scripted("looks-twice", TWO_CALLS),
        {"name": "odd-names", "type": "mock", "models": [{"id": ODD_NAME, "base_model": "mock-large"}]},
        scripted("breaks-off", {"text": "I was about to say", "error": "service_unavailable_error"}),
        *(failing(kind.value) for kind in LLMErrorType),
        {**failing("rate_limit_error", retry_after=2.2), "name": "waits", "models": [{"id": "fail-waits"}]},
        {**failing("service_unavailable_error", status_code=200), "name": "broken", "models": [{"id": "fail-broken"}]},
        {
            "name": "azure",
            "type": "azure",
            "retry_count": 0,
            "auth": {"type": "api_key", "credentials": {"api_key": upstream.api_key}},
            "options": {"endpoint": upstream.url},
            "models": [{"id": name, "base_model": name} for name in DEPLOYMENTS],
        },
    ]


class Served:
    """A gateway that serves.

    Args:
        folder: for its configuration and keys.
        gateway: keys of the table ``[gateway]`` besides the address and the keys.
        keys: it has keys.
        tables: further tables of the configuration.
    """

    def __init__(self, folder, *, gateway=(), keys=True, tables=()):
        self._folder = folder
        self._gateway = dict(gateway)
        self._tables = dict(tables)
        self._keys = keys
        self._loop = asyncio.new_event_loop()
        self._ready = Future()
        self._over = asyncio.Event()
        self._thread = threading.Thread(target=self._work, daemon=True)
        #: Lines for whoever runs it.
        self.told = []
        self.events = []
        #: What nobody should have to see: exceptions in callbacks and forgotten tasks, and defects in handlers.
        self.problems = []

    def __enter__(self):
        self._thread.start()
        self._ready.result(PATIENCE)
        return self

    def __exit__(self, *_):
        self._loop.call_soon_threadsafe(self._over.set)
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive(), "the gateway does not stop"
        assert not self.problems

    @property
    def url(self):
        return self.service.url

    @property
    def port(self):
        return self.service.port

    @property
    def address(self):
        return ("127.0.0.1", self.service.port)

    @property
    def counts(self):
        """What the emulated upstream is doing."""
        return self.upstream.traffic.counts

    def run(self, coroutine, patience=PATIENCE):
        """Return what *coroutine* returns on the gateway's loop."""

        async def bounded():
            async with asyncio.timeout(patience):
                return await coroutine

        return asyncio.run_coroutine_threadsafe(bounded(), self._loop).result()

    def begin(self, coroutine):
        """Begin *coroutine* on the gateway's loop, and return its future."""
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop)

    def upstream_until(self, condition, patience=PATIENCE):
        """Wait until *condition* holds for the counts of the upstream."""
        self.run(self.upstream.traffic.until(condition), patience)

    def event(self, fits, patience=PATIENCE):
        """Wait for an event of the manager that *fits*, also among those that happened, and return it."""

        async def wait():
            while True:
                for event in self.events:
                    if fits(event):
                        return event
                await self._happened.wait()
                self._happened.clear()

        return self.run(wait(), patience)

    def connect(self, timeout=PATIENCE):
        """Return a raw socket to it."""
        return socket.create_connection(self.address, timeout)

    def connections(self):
        """Return how many connections its server has."""

        async def count():
            return len(self.service.server._connections)

        return self.run(count())

    def _work(self):
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._serve())

    async def _serve(self):
        self._happened = asyncio.Event()
        self._loop.set_exception_handler(lambda _, context: self.problems.append(context))
        try:
            async with AzureEmulator(deployments=DEPLOYMENTS, chunk_size=4, slow_pause=0.05) as upstream:
                self.upstream = upstream
                self.service = Service(self._written(), tell=self.told.append)
                await self.service.start()
                try:
                    self.service.manager.subscribe("test", self._note)
                    self.service.gateway._tell = lambda error, doing: self.problems.append((error, doing))
                    self._ready.set_result(None)
                    await self._over.wait()
                finally:
                    await self.service.stop()
        except BaseException as error:
            with suppress(Exception):
                self._ready.set_exception(error)
            raise

    def _note(self, event):
        self.events.append(event)
        self._happened.set()

    def _written(self):
        key_table = []
        for name, text in KEYS.items():
            path = self._folder / f"{name}.key"
            path.write_text(text)
            entry = {"key": f"file:{path}", "name": name, "user": name}
            if name == "admin":
                entry["roles"] = ["user", "admin"]
            if name == "narrow":
                entry |= {"models": ["mock-small"], "providers": ["mock"]}
            key_table.append(entry)
        gateway = {"host": "127.0.0.1", "port": 0, "health_interval": 0, **self._gateway}
        if self._keys:
            gateway["api_keys"] = key_table
        upstream_key = self._folder / "upstream.key"
        upstream_key.write_text(self.upstream.api_key)
        tables = providers(self.upstream)
        tables[-1]["auth"]["credentials"]["api_key"] = f"file:{upstream_key}"
        configuration = {
            "manager": {"circuit_breaker_enabled": False, "fallback_enabled": False},
            "gateway": gateway,
            "providers": tables,
            **self._tables,
        }
        path = self._folder / "apex-llm.json"
        path.write_text(json.dumps(configuration))
        return path


@contextmanager
def answers(sock):
    """Read the answers that come at *sock*, one after the other, as `http.client` does."""
    reader = Answers(sock)
    try:
        yield reader
    finally:
        reader.close()


@attrs.frozen(kw_only=True)
class Answer:
    status: int
    headers: dict
    body: bytes

    @property
    def error(self):
        """The error in OpenAI's form."""
        return json.loads(self.body)["error"]


class Answers:
    """Parses what comes strictly: nothing but whole answers, one after the other."""

    def __init__(self, sock):
        self._file = sock.makefile("rb")

    def close(self):
        self._file.close()

    def next(self, method="POST"):
        """Return the next answer, None when the connection ended properly before it."""
        line = self._file.readline()
        if not line:
            return None
        version, status, _ = line.decode("ascii").split(" ", 2)
        assert version == "HTTP/1.1"
        headers = {}
        while (line := self._file.readline()) != b"\r\n":
            assert line.endswith(b"\r\n"), line
            name, _, value = line.decode("latin-1").partition(":")
            assert name.lower() not in headers, f"{name} comes twice"
            headers[name.lower()] = value.strip()
        if method == "HEAD" or int(status) in {100, 204, 304}:
            return Answer(status=int(status), headers=headers, body=b"")
        if headers.get("transfer-encoding") == "chunked":
            return Answer(status=int(status), headers=headers, body=b"".join(self._chunks()))
        if "content-length" in headers:
            length = int(headers["content-length"])
            body = self._file.read(length)
            assert len(body) == length, "the answer is cut"
            return Answer(status=int(status), headers=headers, body=body)
        assert headers.get("connection") == "close"
        return Answer(status=int(status), headers=headers, body=self._file.read())

    def ended(self):
        """Return whether nothing more comes."""
        with suppress(ConnectionError):
            return self._file.read(1) == b""
        return True

    def _chunks(self):
        while True:
            size = int(self._file.readline(), 16)
            chunk = self._file.read(size)
            assert len(chunk) == size
            assert self._file.read(2) == b"\r\n"
            if not size:
                return
            yield chunk


def head(method, path, *lines, key=KEYS["user"]):
    """Return the bytes of a head."""
    every = [f"{method} {path} HTTP/1.1", "Host: gateway", *lines]
    if key:
        every.append(f"Authorization: Bearer {key}")
    return "".join(f"{line}\r\n" for line in [*every, ""]).encode("latin-1")


def post(body, *lines, path="/v1/chat/completions", key=KEYS["user"]):
    """Return the bytes of a POST of *body*, which may be a document or bytes."""
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return head("POST", path, "Content-Type: application/json", f"Content-Length: {len(raw)}", *lines, key=key) + raw


def chat(text="Hello there", model="mock-small", **more):
    """Return the body of a chat."""
    return {"model": model, "messages": [{"role": "user", "content": text}], **more}
