from __future__ import annotations

import asyncio
import base64
import gzip
import socket
import ssl
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import aiohttp
import pytest
import trustme
from aiohttp import web

from apex_llm_core.context import CallContext
from apex_llm_core.errors import InvalidRequestError, LLMError, LLMTimeoutError, ServiceUnavailableError
from apex_llm_core.interfaces import HttpClient, HttpResponse
from apex_llm_core.models import Candidate
from apex_llm_core.transport import AiohttpClient
from apex_llm_core.transport.request import meaning_of

#: Nothing of this may ever stand in a message.
PRIVATE = ("secret-path", "secret-query", "secret-header")
HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n"
WAY: dict[str, bool] = {}
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Raw = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def serving(handler: Handler) -> AsyncIterator[str]:
    runner = web.ServerRunner(web.Server(handler), shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


@asynccontextmanager
async def serving_raw(handler: Raw, *, after_head: bool = True) -> AsyncIterator[str]:
    """Serve what *handler* writes, then close; *after_head*: it is called when the head of a request was read."""

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            if after_head:
                await reader.readuntil(b"\r\n\r\n")
            await handler(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        await server.wait_closed()
        # What serves a connection ends a turn of the loop after its writer was closed.
        await asyncio.gather(*(t for t in asyncio.all_tasks() if t.get_coro().__name__ == "connected"))


@pytest.fixture(autouse=True, params=[True, False], ids=["short way", "session"])
def way(request, monkeypatch):
    """Everything holds for both ways a request can go."""
    monkeypatch.setitem(WAY, "short_way", request.param)


@asynccontextmanager
async def client(**settings: Any) -> AsyncIterator[AiohttpClient]:
    made = AiohttpClient(**WAY, **settings)
    try:
        yield made
    finally:
        await made.close()


class Watched(SimpleNamespace):
    """A context that counts signs of life."""

    def __init__(self) -> None:
        super().__init__(signs=0)
        self.context = CallContext(candidate=Candidate(provider="azure-eastus", model="gpt-4o"), touch=self.sign)

    def sign(self) -> None:
        self.signs += 1


async def send(http: AiohttpClient, base: str, *, method: str = "POST", **more: Any) -> HttpResponse:
    more.setdefault("context", Watched().context)
    more.setdefault("headers", {"authorization": "secret-header"})
    return await http.send(method, f"{base}/secret-path?secret-query=1", **more)


async def failure_of(awaitable: Awaitable[object]) -> LLMError:
    with pytest.raises(LLMError) as caught:
        await awaitable
    error = caught.value
    assert not any(word in str(error) for word in PRIVATE)
    assert (error.provider, error.model) == ("azure-eastus", "gpt-4o")
    assert error.original_error is error.__cause__
    return error


def port_of(base: str) -> str:
    return base.removeprefix("http://").removeprefix("https://")


def run(main: Callable[[], Awaitable[None]]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(20):
            await main()

    asyncio.run(bounded())


def test_importing_it_does_not_import_aiohttp():
    script = "import sys, apex_llm_core.transport as t; t.AiohttpClient(); sys.exit('aiohttp' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


class TestAnswers:
    def test_everything_arrives_as_sent(self):
        async def handler(request: web.Request) -> web.Response:
            told = {"path": request.raw_path, "method": request.method, "body": (await request.read()).decode()}
            return web.json_response(told, headers={"X-Request-Id": "r1", "X-Echo": request.headers["x-own"]})

        async def main() -> None:
            async with serving(handler) as base, client() as http:
                made: HttpClient = http
                response = await made.send(
                    "PUT",
                    # A signature covers these very characters: nothing may be decoded or encoded anew.
                    f"{base}/model/us.a%3A0/x%2Fy?q=%41+b",
                    context=CallContext(),
                    headers={"X-Own": "mine\tand yours"},
                    body=b"hello",
                )
                assert response.status == 200
                assert response.headers["x-request-ID"] == "r1"
                assert response.headers["x-echo"] == "mine\tand yours"
                assert await response.read() == (
                    b'{"path": "/model/us.a%3A0/x%2Fy?q=%41+b", "method": "PUT", "body": "hello"}'
                )

        run(main)

    @pytest.mark.parametrize("status", [204, 400, 404, 429, 500, 503])
    def test_every_status_is_an_answer(self, status):
        async def handler(request: web.Request) -> web.Response:
            return web.Response(status=status, body=b"" if status == 204 else b"why")

        async def main() -> None:
            async with serving(handler) as base, client() as http:
                response = await send(http, base)
                assert response.status == status
                assert await response.read() == (b"" if status == 204 else b"why")

        run(main)

    @pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
    def test_redirects_are_not_followed(self, status):
        asked: list[str] = []

        async def handler(request: web.Request) -> web.Response:
            asked.append(request.path)
            return web.Response(status=status, headers={"Location": "/elsewhere"})

        async def main() -> None:
            async with serving(handler) as base, client() as http:
                response = await send(http, base, method="GET")
                assert (response.status, response.headers["location"]) == (status, "/elsewhere")
                response.close()
            assert asked == ["/secret-path"]

        run(main)

    def test_cookies_are_not_kept(self):
        cookies: list[str | None] = []

        async def handler(request: web.Request) -> web.Response:
            cookies.append(request.headers.get("Cookie"))
            return web.Response(headers={"Set-Cookie": "session=1; Path=/"})

        async def main() -> None:
            async with serving(handler) as base, client() as http:
                # Nobody keeps cookies of addresses that are numbers anyway.
                named = base.replace("127.0.0.1", "localhost")
                for _ in range(2):
                    await (await send(http, named)).read()
            assert cookies == [None, None]

        run(main)

    def test_compressed_answers_are_decompressed(self):
        async def handler(request: web.Request) -> web.Response:
            return web.Response(body=gzip.compress(b"plain" * 1000), headers={"Content-Encoding": "gzip"})

        async def main() -> None:
            async with serving(handler) as base, client() as http:
                assert await (await send(http, base)).read() == b"plain" * 1000

        run(main)

    def test_a_large_body_goes_out_whole_and_alive(self):
        body = bytes(range(256)) * 4096 * 5

        async def handler(request: web.Request) -> web.Response:
            got = await request.read()
            return web.json_response([got == body, request.headers["Content-Length"]])

        async def main() -> None:
            async with (
                serving(lambda request: handler(request.clone(client_max_size=1 << 30))) as base,
                client() as http,
            ):
                watched = Watched()
                response = await send(http, base, body=body, context=watched.context)
                assert watched.signs > 20
                assert await response.read() == f'[true, "{len(body)}"]'.encode()

        run(main)

    def test_chunks_come_as_they_arrive(self):
        heard = asyncio.Event()

        async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
            for part in (b"one", b"two", b"three"):
                writer.write(b"%x\r\n%s\r\n" % (len(part), part))
                await writer.drain()
                # The next one is sent only when this one was heard: nothing is held back.
                await heard.wait()
                heard.clear()
            writer.write(b"0\r\n\r\n")
            await writer.drain()

        async def main() -> None:
            async with serving_raw(handler) as base, client() as http:
                watched = Watched()
                response = await send(http, base, context=watched.context)
                before = watched.signs
                assert before >= 2
                got = []
                async for chunk in response.chunks():
                    got.append((chunk, watched.signs - before))
                    heard.set()
                assert got == [(b"one", 1), (b"two", 2), (b"three", 3)]

        run(main)

    def test_the_connection_itself_is_a_sign_of_life(self):
        async def main() -> None:
            asked, answer = asyncio.Event(), asyncio.Event()

            async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
                asked.set()
                await answer.wait()
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

            async with serving_raw(handler) as base, client() as http:
                watched = Watched()
                sending = asyncio.create_task(send(http, base, context=watched.context))
                await asked.wait()
                assert watched.signs == 1
                answer.set()
                await (await sending).read()
                assert watched.signs > 1

        run(main)


class TestPool:
    @pytest.mark.parametrize(("end", "connections"), [("read", 1), ("chunks", 1), ("close", 3), ("break", 3)], ids=str)
    def test_a_connection_is_used_again_after_the_whole_body_only(self, end, connections):
        seen: set[object] = set()

        async def handler(request: web.Request) -> web.StreamResponse:
            seen.add(request.transport)
            return web.Response(body=b"x" * 1_000_000)

        async def main() -> None:
            async with serving(handler) as base, client() as http:
                for _ in range(3):
                    response = await send(http, base)
                    if end == "read":
                        assert len(await response.read()) == 1_000_000
                    elif end == "chunks":
                        assert sum([len(chunk) async for chunk in response.chunks()]) == 1_000_000
                    elif end == "break":
                        chunks = response.chunks()
                        async for _chunk in chunks:
                            break
                        await chunks.aclose()
                    else:
                        response.close()
            assert len(seen) == connections

        run(main)

    def test_requests_at_the_same_time_have_connections_of_their_own(self):
        async def main() -> None:
            seen: set[object] = set()
            full = asyncio.Event()

            async def handler(request: web.Request) -> web.Response:
                seen.add(request.transport)
                if len(seen) == 20:
                    full.set()
                await full.wait()
                return web.Response()

            async def one(http: AiohttpClient, base: str) -> None:
                await (await send(http, base)).read()

            async with serving(handler) as base, client() as http:
                await asyncio.gather(*(one(http, base) for _ in range(20)))
            assert len(seen) == 20

        run(main)

    def test_a_closed_client_sends_nothing(self):
        async def main() -> None:
            async with client() as http:
                await http.close()
                error = await failure_of(send(http, "http://127.0.0.1:1"))
                assert isinstance(error, ServiceUnavailableError)
                assert not error.retryable

        run(main)


class TestFailures:
    def check(self, error: LLMError, base: str, words: str, status: int | None = None) -> None:
        assert type(error) is ServiceUnavailableError
        assert error.retryable is True
        assert error.status_code == status
        assert port_of(base) in str(error)
        assert words in str(error)

    def test_refused(self):
        with socket.socket() as bound:
            bound.bind(("127.0.0.1", 0))
            base = f"http://127.0.0.1:{bound.getsockname()[1]}"

            async def main() -> None:
                async with client() as http:
                    self.check(await failure_of(send(http, base)), base, "refuses connections; check that the service")

            run(main)

    def test_unknown_host(self, monkeypatch):
        def nobody(*arguments: object, **keywords: object) -> None:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

        monkeypatch.setattr(socket, "getaddrinfo", nobody)

        async def main() -> None:
            async with client() as http:
                base = "http://example.invalid:8080"
                self.check(await failure_of(send(http, base)), base, "is not known; check the spelling")

        run(main)

    def test_plain_http_behind_https(self):
        async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(b"HTTP/1.1 400 This is no TLS\r\n\r\n")

        async def main() -> None:
            async with serving_raw(handler, after_head=False) as base, client() as http:
                secure = base.replace("http:", "https:")
                self.check(await failure_of(send(http, secure)), secure, "check that this port speaks https")

        run(main)

    @pytest.mark.parametrize(
        ("raised", "words"),
        [
            (
                aiohttp.ClientConnectorCertificateError(
                    SimpleNamespace(host="h", port=443, is_ssl=True), ssl.SSLCertVerificationError("boom")
                ),
                "the certificate of h:443 is not accepted",
            ),
            (
                aiohttp.ClientConnectorError(SimpleNamespace(host="h", port=443, ssl=True), OSError(113, "x")),
                "No route to host",
            ),
            (
                aiohttp.ClientConnectorError(SimpleNamespace(host="h", port=443, ssl=True), OSError("x")),
                "no connection to h:443",
            ),
            (aiohttp.ClientConnectionError("Connector is closed."), "the connection to h:443 broke"),
            (ConnectionResetError(), "the connection to h:443 broke"),
            (aiohttp.ClientError("secret-path"), "the request to h:443 failed (ClientError)"),
        ],
        ids=lambda value: type(value).__name__,
    )
    def test_what_loopback_cannot_produce(self, raised, words):
        error = meaning_of(raised, where="h:443", context=CallContext())
        assert isinstance(error, ServiceUnavailableError)
        assert words in str(error)
        assert "secret" not in str(error)

    def test_a_connect_timeout_of_the_operating_system_is_a_timeout(self):
        raised = aiohttp.ClientConnectorError(SimpleNamespace(host="h", port=443, ssl=True), TimeoutError(110, "x"))
        error = meaning_of(raised, where="h:443", context=CallContext())
        assert isinstance(error, LLMTimeoutError)
        assert error.retryable

    @pytest.mark.parametrize("raised", [KeyError("x"), RuntimeError("x"), asyncio.CancelledError()])
    def test_what_is_not_about_http_has_no_meaning(self, raised):
        assert meaning_of(raised, where="h:443", context=CallContext()) is None

    @pytest.mark.parametrize(
        ("answer", "words"),
        [
            (b"", "closed the connection without an answer"),
            (b"HTTP/1.1 200 O", "closed the connection without an answer"),
            (b"220 smtp.example.com ESMTP\r\n\r\n", "did not answer in HTTP"),
            (b"HTTP/1.1 200 OK\r\nX: " + b"y" * 100_000 + b"\r\n\r\n", "did not answer in HTTP"),
        ],
        ids=["nothing", "half-a-line", "another-protocol", "endless-header"],
    )
    def test_broken_heads(self, answer, words):
        async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(answer)

        async def main() -> None:
            async with serving_raw(handler) as base, client() as http:
                self.check(await failure_of(send(http, base)), base, words)

        run(main)

    @pytest.mark.parametrize("how", ["read", "chunks"])
    @pytest.mark.parametrize(
        ("answer", "abort"),
        [
            (HEAD + b"only this", False),
            (HEAD + b"only this", True),
            (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nonly\r\n", False),
            (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n", False),
            (b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 9\r\n\r\nno gzip!!", False),
        ],
        ids=["truncated", "reset", "truncated-chunked", "bad-chunked", "bad-gzip"],
    )
    def test_broken_bodies(self, how, answer, abort):
        async def main() -> None:
            has_head = asyncio.Event()

            async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
                writer.write(answer)
                await writer.drain()
                if abort:
                    await has_head.wait()
                    writer.transport.abort()

            async def everything(base: str, http: AiohttpClient) -> None:
                response = await send(http, base)
                has_head.set()
                if how == "read":
                    await response.read()
                else:
                    async for _ in response.chunks():
                        pass

            async with serving_raw(handler) as base, client() as http:
                error = await failure_of(everything(base, http))
                assert type(error) is ServiceUnavailableError
                assert error.retryable is True
                assert port_of(base) in str(error)

        run(main)

    @pytest.mark.parametrize("compressed", [False, True])
    def test_an_oversized_body(self, compressed):
        async def handler(request: web.Request) -> web.Response:
            if compressed:
                return web.Response(body=gzip.compress(bytes(50_000_000)), headers={"Content-Encoding": "gzip"})
            return web.Response(body=bytes(2_000_000))

        async def main() -> None:
            async with serving(handler) as base, client(max_body_bytes=1_000_000) as http:
                error = await failure_of((await send(http, base)).read())
                assert isinstance(error, ServiceUnavailableError)
                assert error.retryable is False
                assert error.status_code == 200
                assert "larger than max_body_bytes = 1000000" in str(error)

        run(main)

    def test_a_body_of_exactly_the_limit_is_read(self):
        async def handler(request: web.Request) -> web.Response:
            return web.Response(body=bytes(1000))

        async def main() -> None:
            async with serving(handler) as base, client(max_body_bytes=1000) as http:
                assert len(await (await send(http, base)).read()) == 1000

        run(main)

    def test_reading_after_close_is_refused(self):
        async def handler(request: web.Request) -> web.Response:
            return web.Response(body=bytes(1_000_000))

        async def main() -> None:
            async with serving(handler) as base, client() as http:
                response = await send(http, base)
                response.close()
                response.close()
                assert isinstance(await failure_of(response.read()), ServiceUnavailableError)

        run(main)


class TestCancellation:
    @pytest.mark.parametrize("moment", ["head", "read", "chunks"])
    def test_the_server_sees_the_connection_close(self, moment):
        async def main() -> None:
            asked, gone = asyncio.Event(), asyncio.Event()

            async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
                if moment != "head":
                    writer.write(HEAD + b"the beginning")
                    await writer.drain()
                asked.set()
                assert await reader.read() == b""
                gone.set()

            reading = asyncio.Event()

            async def everything(http: AiohttpClient, base: str) -> None:
                response = await send(http, base, context=CallContext(touch=reading.set))
                if moment == "read":
                    await response.read()
                async for _ in response.chunks():
                    pass

            async with serving_raw(handler) as base, client() as http:
                task = asyncio.create_task(everything(http, base))
                await asked.wait()
                await reading.wait()
                # Let it come to where it waits for bytes that never arrive.
                for _ in range(10):
                    await asyncio.sleep(0)
                assert not task.done()
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task
                await gone.wait()

        run(main)


class TestRequestsThatAreRefused:
    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("x-user", "alice\r\nX-Admin: yes"),
            ("x-user", "alice\nX-Admin: yes"),
            ("x-user", "alice\rX-Admin: yes"),
            ("x-user", "alice\0"),
            ("x-user", "\ud800"),
            ("x-user: a\r\nx-admin", "yes"),
            ("x user", "yes"),
            ("", "yes"),
        ],
    )
    def test_headers(self, name, value):
        async def main() -> None:
            async with client() as http:
                with pytest.raises(InvalidRequestError) as caught:
                    await send(http, "http://127.0.0.1:1", headers={name: value})
                assert repr(name) in str(caught.value)
                assert "alice" not in str(caught.value)

        run(main)

    def test_percent_signs_are_nothing_special(self, way):
        async def answer(request: web.Request) -> web.StreamResponse:
            return web.Response(text=f"{request.headers['x-100%s']} {request.headers['x-other']}")

        async def main() -> None:
            async with client() as http, serving(answer) as base:
                response = await send(http, base, headers={"x-100%s": "50 %d", "x-other": "%(host)s"})
                assert await response.read() == b"50 %d %(host)s"

        run(main)

    @pytest.mark.parametrize("tail", ["a b", "a\r\nX-Admin: yes", "a\tb", "ä"])
    def test_addresses(self, tail):
        async def main() -> None:
            async with client() as http:
                with pytest.raises(InvalidRequestError, match="percent-encode"):
                    await http.send("GET", f"http://127.0.0.1:1/{tail}", context=CallContext())

        run(main)

    def test_methods(self):
        async def main() -> None:
            async with client() as http:
                with pytest.raises(InvalidRequestError, match="no HTTP method"):
                    await send(http, "http://127.0.0.1:1", method="GET / HTTP/1.1\r\n")

        run(main)

    def test_two_authentications(self):
        async def main() -> None:
            async with client() as http:
                error = await failure_of(send(http, "http://user:secret-header@127.0.0.1:1"))
                assert isinstance(error, InvalidRequestError)

        run(main)

    @pytest.mark.parametrize("url", ["host/path", "ftp://host/", "http:///path", "http://host:port/", "http://[::1/"])
    def test_endpoints_that_are_no_address(self, url):
        async def main() -> None:
            async with client() as http:
                error = await failure_of(http.send("GET", url, context=Watched().context))
                # The operator's mistake: the request may be served by another provider, a retry here is useless.
                assert type(error) is ServiceUnavailableError
                assert error.retryable is False
                assert "https://host[:port]/path" in str(error)

        run(main)


#: To connect to it leads to this machine, but it is no loopback address.
EVERYWHERE = ".".join("0000")


class TestProxies:
    @pytest.fixture(autouse=True)
    def _environment(self, monkeypatch, tmp_path):
        for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy", "REQUEST_METHOD"):
            monkeypatch.delenv(name, raising=False)
            monkeypatch.delenv(name.upper(), raising=False)
        netrc = tmp_path / "netrc"
        netrc.write_text("machine 127.0.0.1 login nobody password nothing\n")
        monkeypatch.setenv("NETRC", str(netrc))

    @pytest.mark.parametrize(
        ("settings", "host", "no_proxy", "through"),
        [
            ({"trust_env": True}, EVERYWHERE, "", True),
            ({"trust_env": True}, EVERYWHERE, EVERYWHERE, False),
            ({"trust_env": True}, "127.0.0.1", "", False),
            ({"trust_env": True}, "localhost", "", False),
            ({}, EVERYWHERE, "", False),
        ],
        ids=["trusted", "excepted", "loopback", "localhost", "not-trusted"],
    )
    def test_are_those_of_the_environment_if_that_is_trusted(self, monkeypatch, settings, host, no_proxy, through):
        async def server(request: web.BaseRequest) -> web.Response:
            assert request.headers.get("Authorization") == "secret-header"
            return web.Response(text="direct")

        async def proxy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\nproxied")

        async def main() -> None:
            async with serving(server) as base, serving_raw(proxy) as proxy_base:
                monkeypatch.setenv("HTTP_PROXY", proxy_base)
                monkeypatch.setenv("NO_PROXY", no_proxy)
                async with client(**settings) as http:
                    response = await send(http, base.replace("127.0.0.1", host))
                    assert await response.read() == (b"proxied" if through else b"direct")

        run(main)

    def test_get_their_own_credentials(self, monkeypatch):
        heads: list[bytes] = []

        async def main() -> None:
            async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
                heads.append(await reader.readuntil(b"\r\n\r\n"))
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
                writer.close()

            async with await asyncio.start_server(connected, "127.0.0.1", 0) as server:
                monkeypatch.setenv("HTTP_PROXY", f"http://me:pw@127.0.0.1:{server.sockets[0].getsockname()[1]}")
                async with client(trust_env=True) as http:
                    await (await send(http, "http://10.0.0.1:8080")).read()
            assert heads[0].startswith(b"POST http://10.0.0.1:8080/secret-path?secret-query=1 HTTP/1.1\r\n")
            assert b"Proxy-Authorization: Basic " + base64.b64encode(b"me:pw") in heads[0]

        run(main)

    def test_may_be_named_without_a_scheme(self, monkeypatch):
        async def proxy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\nproxied")

        async def main() -> None:
            async with serving_raw(proxy) as proxy_base:
                monkeypatch.setenv("HTTP_PROXY", proxy_base.removeprefix("http://"))
                async with client(trust_env=True) as http:
                    assert await (await send(http, "http://10.0.0.1:8080")).read() == b"proxied"

        run(main)

    def test_of_another_kind_are_told(self, monkeypatch):
        monkeypatch.setenv("ALL_PROXY", "socks5://me:secret-header@127.0.0.1:1080")

        async def main() -> None:
            async with client(trust_env=True) as http:
                error = await failure_of(send(http, "http://10.0.0.1:8080"))
                assert type(error) is ServiceUnavailableError
                assert error.retryable is False
                assert "check HTTP_PROXY, HTTPS_PROXY, ALL_PROXY and NO_PROXY" in str(error)
                assert "secret-header" not in str(error)

        run(main)

    def test_that_refuse_are_named_without_their_credentials(self, monkeypatch):
        with socket.socket() as bound:
            bound.bind(("127.0.0.1", 0))
            where = f"127.0.0.1:{bound.getsockname()[1]}"
            monkeypatch.setenv("HTTP_PROXY", f"http://me:secret-header@{where}")

            async def main() -> None:
                async with client(trust_env=True) as http:
                    error = await failure_of(send(http, "http://10.0.0.1:8080"))
                    assert isinstance(error, ServiceUnavailableError)
                    assert f"no connection to the proxy {where}; check HTTP_PROXY" in str(error)

            run(main)


class TestReuse:
    """Connections are used again; what happens to them in between must not reach anybody."""

    @staticmethod
    def answering(*extras: bytes, closing: bool = False) -> Raw:
        """Answer each request by its number; after an answer, send or do what nobody asked for."""
        waiting = list(extras)
        served = 0

        async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            nonlocal served
            while True:
                await reader.readuntil(b"\r\n\r\n")
                served += 1
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n%d" % served)
                if waiting:
                    writer.write(waiting.pop())
                if closing:
                    return

        return handler

    def test_an_answer_nobody_asked_for_reaches_nobody(self, way):
        if not WAY["short_way"]:
            pytest.skip("aiohttp's own session hands it to the next request")

        async def main() -> None:
            stray = b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nX"
            async with serving_raw(self.answering(stray), after_head=False) as base, client() as http:
                answers = []
                for _ in range(3):
                    response = await send(http, base, method="GET")
                    answers.append(await response.read())
                    await asyncio.sleep(0)
            assert answers == [b"1", b"2", b"3"]

        run(main)

    def test_an_idle_connection_that_was_closed_costs_no_get(self):
        async def main() -> None:
            async with serving_raw(self.answering(closing=True), after_head=False) as base, client() as http:
                for number in (b"1", b"2", b"3"):
                    assert await (await send(http, base, method="GET")).read() == number

        run(main)

    def test_closing_the_client_wakes_who_reads(self):
        async def main() -> None:
            async def stalling(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
                writer.write(HEAD + b"x")
                await reader.read()

            async with serving_raw(stalling) as base, client() as http:
                reads = (await send(http, base)).chunks()
                assert await anext(reads) == b"x"
                waiting = asyncio.ensure_future(anext(reads))
                await asyncio.sleep(0)
                await http.close()
                await failure_of(waiting)
                await reads.aclose()

        run(main)

    @pytest.mark.parametrize("name", ["Content-Length", "transfer-encoding"])
    def test_framing_is_not_for_callers(self, name):
        async def main() -> None:
            async with client() as http:
                with pytest.raises(InvalidRequestError, match=name):
                    await send(http, "http://127.0.0.1:1", headers={name: "5"}, body=b"abc")

        run(main)


class TestAuthorities:
    """Certificates of one's own."""

    @staticmethod
    @asynccontextmanager
    async def serving_tls(folder: Any) -> AsyncIterator[tuple[str, str]]:
        authority = trustme.CA()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("127.0.0.1").configure_cert(context)
        file = folder / "authority.pem"
        authority.cert_pem.write_to_path(str(file))

        async def answer(_: web.BaseRequest) -> web.Response:
            return web.Response(text="hello")

        runner = web.ServerRunner(web.Server(answer), shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
        try:
            yield f"https://127.0.0.1:{runner.addresses[0][1]}", str(file)
        finally:
            await runner.cleanup()

    @pytest.mark.parametrize("short_way", [True, False])
    def test_are_trusted_when_they_are_named_and_only_then(self, tmp_path: Any, short_way: bool) -> None:
        async def main() -> None:
            async with self.serving_tls(tmp_path) as (url, file):
                trusting = AiohttpClient(ca_file=file, short_way=short_way)
                usual = AiohttpClient(short_way=short_way)
                try:
                    answers = [trusting.send("GET", url, context=CallContext()) for _ in range(3)]
                    for answer in await asyncio.gather(*answers):
                        assert await answer.read() == b"hello"
                    with pytest.raises(ServiceUnavailableError, match="certificate"):
                        await usual.send("GET", url, context=CallContext())
                finally:
                    await trusting.close()
                    await usual.close()

        asyncio.run(main())

    @pytest.mark.parametrize("content", [None, "no certificate"])
    def test_a_file_that_cannot_be_used_is_named(self, tmp_path: Any, content: str | None) -> None:
        file = tmp_path / "authority.pem"
        if content is not None:
            file.write_text(content)

        async def main() -> None:
            client = AiohttpClient(ca_file=str(file))
            with pytest.raises(ServiceUnavailableError, match=r"authority\.pem") as told:
                await client.send("GET", "https://127.0.0.1:1", context=CallContext())
            assert not told.value.retryable
            await client.close()

        asyncio.run(main())
