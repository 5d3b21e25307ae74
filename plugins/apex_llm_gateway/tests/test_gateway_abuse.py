"""Clients that break the rules, by raw sockets: each gets an error in the usual form or a closed connection.

After every one of them the gateway still serves, has no connection left over, and nothing went wrong inside.
"""

from __future__ import annotations

import gzip
import json
import socket
import ssl
import struct
import time
import zlib
from contextlib import ExitStack, closing

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from apex_llm_core.models.events import RequestFinished

#: Seconds that a connection may take to be closed: far more than it should, less than the limits that would close it otherwise.
PATIENCE = 8.0
SIZES = {"max_body_bytes": 2_000_000, "max_header_bytes": 8192}
#: Of the gateway whose patience is tried; all others have time enough for machines that are busy.
HASTY = {"header_timeout": 0.3, "body_timeout": 0.3, "idle_timeout": 2.0, "write_timeout": 1.0}


@pytest.fixture(scope="module")
def house(served, tmp_path_factory):
    with served.Served(tmp_path_factory.mktemp("abused"), gateway={**SIZES, "keep_alive": 0.2}) as gateway:
        yield gateway


@pytest.fixture(scope="module")
def hasty(served, tmp_path_factory):
    with served.Served(tmp_path_factory.mktemp("hasty"), gateway={**SIZES, **HASTY}) as gateway:
        yield gateway


@pytest.fixture(autouse=True)
def _unharmed(house, served):
    """Afterwards the gateway answers, and nothing went wrong inside."""
    yield
    with closing(house.connect()) as sock, served.answers(sock) as answers:
        sock.sendall(served.post(served.chat()))
        answer = answers.next()
    assert answer.status == 200
    assert json.loads(answer.body)["choices"][0]["message"]["content"] == "Hello there"
    assert not house.problems


@pytest.fixture
def send(house, served):
    """Send bytes, and return the answers to them and whether the connection was closed behind them."""

    def send(*data, expect=1, pause=0.0, end=False):
        with closing(house.connect()) as sock, served.answers(sock) as answers:
            for piece in data:
                sock.sendall(piece)
                time.sleep(pause) if pause else None
            if end:
                sock.shutdown(socket.SHUT_WR)
            found = []
            for _ in range(expect):
                answer = answers.next()
                if answer is None:
                    return found
                found.append(answer)
            return found

    return send


def is_error(answer, status, code=...):
    """Whether *answer* is an error in OpenAI's form."""
    error = answer.error
    assert answer.headers["content-type"] == "application/json"
    assert set(error) >= {"message", "type", "param", "code"}
    assert answer.status in (status if isinstance(status, set) else {status}), answer.body
    return code is ... or error["code"] == code


def closed(sock, patience=PATIENCE):
    """Return whether the other side closes *sock* in time."""
    sock.settimeout(patience)
    try:
        while sock.recv(65536):
            pass
    except TimeoutError:
        return False
    except ConnectionError:
        pass
    return True


class TestSlowness:
    def test_a_head_that_does_not_arrive_ends_the_connection(self, hasty):
        with closing(hasty.connect()) as sock:
            sock.sendall(b"GET /health/live HTTP/1.1\r\nHost: a\r\nX-Slow: ")
            began = time.monotonic()
            assert closed(sock)
            assert time.monotonic() - began >= HASTY["header_timeout"]

    def test_a_head_that_arrives_byte_by_byte_does_not_gain_time(self, hasty):
        with closing(hasty.connect()) as sock:
            sock.settimeout(0.05)
            began = time.monotonic()
            with pytest.raises(ConnectionError):  # noqa: PT012 - one long conversation
                sock.sendall(b"GET /health/live HTTP/1.1\r\n")
                while time.monotonic() - began < PATIENCE:
                    sock.sendall(b"X-A: b\r\n")
                    try:
                        if not sock.recv(1):
                            raise ConnectionResetError
                    except TimeoutError:
                        continue

    def test_a_body_that_does_not_arrive_is_told(self, hasty, served):
        with closing(hasty.connect()) as sock, served.answers(sock) as answers:
            sock.sendall(served.head("POST", "/v1/chat/completions", "Content-Length: 100") + b'{"model":')
            assert is_error(answers.next(), 408, "request_timeout")
            assert closed(sock)

    def test_a_connection_on_which_nothing_happens_is_closed(self, hasty):
        with closing(hasty.connect()) as sock:
            assert closed(sock)

    def test_a_client_that_never_reads_its_stream_is_left(self, hasty, served):
        body = served.chat("word " * 60_000, "mock-large", stream=True)
        with closing(socket.socket()) as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            sock.connect(hasty.address)
            sock.sendall(served.post(body, "x-request-id: never-reads"))
            finished = hasty.event(_finished("never-reads"))
        assert finished.outcome == "cancelled"

    def test_a_client_that_reads_slowly_is_served(self, house, served):
        text = "word " * 2_000
        with closing(socket.socket()) as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            sock.settimeout(20)
            sock.connect(house.address)
            sock.sendall(served.post(served.chat(text, "mock-large", stream=True), "Connection: close"))
            whole = b""
            while piece := sock.recv(8192):
                whole += piece
        assert whole.endswith(b"data: [DONE]\n\n\r\n0\r\n\r\n")

    def test_silence_upstream_is_bridged_by_comments(self, house, served):
        house.upstream.faults.add("stall", after_chunks=1)
        with closing(house.connect()) as sock:
            sock.sendall(served.post(served.chat("one two three", "gpt-4o", stream=True)))
            seen = b""
            while seen.count(b": keep-alive\n\n") < 2:
                piece = sock.recv(65536)
                assert piece
                seen += piece
        assert seen.index(b'"role":"assistant"') < seen.index(b": keep-alive")
        house.upstream_until(lambda counts: not counts.open_requests)

    def test_silence_before_the_first_chunk_is_bridged_as_well(self, house, served):
        house.upstream.faults.add("hang")
        with closing(house.connect()) as sock:
            sock.sendall(served.post(served.chat("one two three", "gpt-4o", stream=True)))
            seen = b""
            while b": keep-alive\n\n" not in seen:
                piece = sock.recv(65536)
                assert piece
                seen += piece
        assert seen.startswith(b"HTTP/1.1 200 OK\r\n")
        house.upstream_until(lambda counts: not counts.open_requests)


class TestBodies:
    @pytest.mark.parametrize(
        "body",
        [
            b"",
            b" ",
            b"{",
            b"nonsense",
            b'{"model": "mock-small", "messages": [{"role": "user", "content": "\xff\xfe"}]}',
            b'{"model": "mock-small", "messages": NaN}',
            b'{"model": "mock-small"} trailing',
            b"\xef\xbb\xbf{",
            b"\x00\x00\x00\x00",
            b"[" * 100_000,
            b'{"a":' * 100_000,
            b"1" * 5_000 + b"e",
            '{"model": "mock-small"}'.encode("utf-16"),
        ],
        ids=lambda body: repr(body[:20]),
    )
    def test_that_are_no_json_are_told(self, send, served, body):
        (answer,) = send(served.post(body))
        assert is_error(answer, 400, "invalid_json")

    @pytest.mark.parametrize("body", [b"null", b"1", b"true", b'"text"', b"[]", b"[{}]", b"1" * 4_000, b"1e400", b"-0"])
    def test_that_are_no_objects_are_told(self, send, served, body):
        (answer,) = send(served.post(body))
        assert is_error(answer, 400)

    @pytest.mark.parametrize(
        "more",
        [
            {"seed": 10**4_000},
            {"temperature": 10**400},
            {"model": "m" * 100_000},
            {"model": "\x00"},
            {"model": "\ud800"},
            {"messages": [{"role": "user", "content": "\ud800"}]},
            {"messages": [{"role": "r" * 1_000_000, "content": ""}]},
            {"metadata": json.loads('{"a":' * 200 + "1" + "}" * 200)},
            {"p" * 100_000: 1},
            {f"p{number}": 1 for number in range(20_000)},
            {"tools": [{"type": "function", "function": {"name": "f"}}] * 5_000},
        ],
        ids=lambda more: next(iter(more))[:20],
    )
    def test_with_absurd_values_are_answered_somehow(self, send, served, more):
        (answer,) = send(served.post(json.dumps({**served.chat(), **more}).encode()))
        assert answer.status == 200 or is_error(answer, {400, 404, 413})

    def test_that_are_too_large_are_refused_unread(self, house, served):
        with closing(house.connect()) as sock, served.answers(sock) as answers:
            sock.sendall(served.head("POST", "/v1/chat/completions", "Content-Length: 100000000000"))
            assert is_error(answers.next(), 413, "request_too_large")

    def test_that_grow_too_large_in_chunks_are_refused(self, house, served):
        chunk = b"10000\r\n" + b" " * 65536 + b"\r\n"
        with closing(house.connect()) as sock, served.answers(sock) as answers:
            sock.sendall(served.head("POST", "/v1/chat/completions", "Transfer-Encoding: chunked"))
            for _ in range(40):
                sock.sendall(chunk)
            assert is_error(answers.next(), 413, "request_too_large")

    @pytest.mark.parametrize("encoding", ["gzip", "deflate"])
    def test_that_swell_when_unpacked_are_refused(self, house, served, encoding):
        swelling = b" " * 100_000_000
        body = gzip.compress(swelling) if encoding == "gzip" else zlib.compress(swelling)
        with closing(house.connect()) as sock, served.answers(sock) as answers:
            sock.sendall(served.post(body, f"Content-Encoding: {encoding}"))
            answer = answers.next()
        assert is_error(answer, {400, 413, 415})

    def test_that_claim_an_encoding_and_have_none_are_refused(self, send, served):
        (answer,) = send(served.post(b"no gzip at all", "Content-Encoding: gzip"))
        assert is_error(answer, 400)

    @pytest.mark.parametrize("encoding", ["br2", "gzip, gzip", "compress", "*"])
    def test_in_an_encoding_that_is_not_read_are_refused(self, send, served, encoding):
        (answer,) = send(served.post(served.chat(), f"Content-Encoding: {encoding}"))
        assert is_error(answer, 415, "unsupported_encoding")

    @pytest.mark.parametrize("encoding", ["identity", "", " Identity "])
    def test_whose_encoding_is_none_are_read(self, send, served, encoding):
        (answer,) = send(served.post(served.chat(), f"Content-Encoding: {encoding}"))
        assert answer.status == 200

    def test_in_chunks_of_something_else_are_refused(self, send, served):
        (answer,) = send(served.head("POST", "/v1/chat/completions", "Transfer-Encoding: gzip, chunked") + b"0\r\n\r\n")
        assert is_error(answer, 501, "unsupported_encoding")

    def test_that_are_packed_are_read(self, send, served):
        packed = gzip.compress(json.dumps(served.chat()).encode())
        (answer,) = send(served.post(packed, "Content-Encoding: gzip"))
        assert answer.status == 200

    def test_that_end_early_are_not_answered_as_whole(self, send, served):
        data = served.head("POST", "/v1/chat/completions", "Content-Length: 100") + b'{"model": "mock-small"}'
        # Who sends no more in the middle has gone: there is nobody to answer.
        assert send(data, end=True) == []

    def test_of_other_content_types_are_read_all_the_same(self, send, served):
        raw = json.dumps(served.chat()).encode()
        (answer,) = send(
            served.head("POST", "/v1/chat/completions", f"Content-Length: {len(raw)}", "Content-Type: text/plain") + raw
        )
        assert answer.status == 200


CHUNKED = ("Content-Type: application/json", "Transfer-Encoding: chunked")


class TestChunks:
    def chunked(self, served, *, size=7, extension=b"", end=b"0\r\n\r\n"):
        raw = json.dumps(served.chat()).encode()
        pieces = [raw[at : at + size] for at in range(0, len(raw), size)]
        body = b"".join(b"%x%b\r\n%b\r\n" % (len(piece), extension, piece) for piece in pieces)
        return served.head("POST", "/v1/chat/completions", *CHUNKED) + body + end

    @pytest.mark.parametrize("size", [1, 7, 10_000])
    def test_are_put_together(self, send, served, size):
        (answer,) = send(self.chunked(served, size=size))
        assert answer.status == 200

    def test_may_come_one_by_one(self, house, served):
        data = self.chunked(served, size=5)
        with closing(house.connect()) as sock, served.answers(sock) as answers:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for at in range(0, len(data), 11):
                sock.sendall(data[at : at + 11])
            assert answers.next().status == 200

    def test_may_have_trailers(self, send, served):
        (answer,) = send(self.chunked(served, end=b"0\r\nX-Checked: yes\r\n\r\n"))
        assert answer.status == 200

    @pytest.mark.parametrize(
        "body",
        [
            b"zz\r\n{}\r\n0\r\n\r\n",
            b"-1\r\n{}\r\n",
            b"2\r\n{}xx\r\n0\r\n\r\n",
            b"\r\n\r\n",
            b"f" * 40 + b"\r\n",
            b"0x2\r\n{}\r\n",
        ],
        ids=repr,
    )
    def test_that_are_malformed_are_refused(self, send, served, body):
        (answer,) = send(served.head("POST", "/v1/chat/completions", *CHUNKED) + body)
        assert is_error(answer, 400)


#: Requests whose end is doubtful: what stands behind the first could be taken for another one by some and not by others.
SMUGGLED = b"GET /v1/models HTTP/1.1\r\nHost: gateway\r\n\r\n"
DOUBTFUL = {
    "length and chunks": ("Content-Length: 4", "Transfer-Encoding: chunked"),
    "chunks and length": ("Transfer-Encoding: chunked", "Content-Length: 4"),
    "two lengths": ("Content-Length: 4", "Content-Length: 5"),
    "a list of lengths": ("Content-Length: 4, 5",),
    "a signed length": ("Content-Length: +4",),
    "a negative length": ("Content-Length: -4",),
    "a length in hexadecimal": ("Content-Length: 0x4",),
    "a length with an underscore": ("Content-Length: 0_4",),
    "no length": ("Content-Length: ",),
    "a length of other digits": ("Content-Length: \u00b2",),
    "unknown coding": ("Transfer-Encoding: xchunked",),
    "chunks not last": ("Transfer-Encoding: chunked, identity",),
    "chunks twice": ("Transfer-Encoding: chunked, chunked",),
    "space before colon": ("Transfer-Encoding : chunked",),
    "folded": ("Transfer-Encoding:\r\n chunked",),
    "vertical tab": ("Transfer-Encoding: \x0bchunked",),
    "bare line feed": ("X-A: b\nTransfer-Encoding: chunked",),
    "bare carriage return": ("X-A: b\rTransfer-Encoding: chunked",),
    "zero byte": ("X-A: b\x00c",),
    "no colon": ("X-A",),
    "no name": (": b",),
}


class TestSmuggling:
    @pytest.mark.parametrize("lines", DOUBTFUL.values(), ids=DOUBTFUL)
    def test_requests_whose_end_is_doubtful_are_refused_and_nothing_behind_them_is_answered(self, send, served, lines):
        found = send(served.head("POST", "/v1/chat/completions", *lines) + b"0\r\n\r\n" + SMUGGLED, expect=3, end=True)
        assert len(found) <= 1, [answer.status for answer in found]
        for answer in found:
            assert is_error(answer, {400, 411, 413, 501})
            assert answer.headers["connection"] == "close"

    def test_two_hosts_are_refused_or_mean_nothing(self, send, served):
        (answer,) = send(served.head("GET", "/v1/models", "Host: elsewhere"))
        assert answer.status == 200 or is_error(answer, 400)

    def test_names_and_ids_do_not_become_headers(self, send, served):
        (answer,) = send(served.post(served.chat(model=served.ODD_NAME)))
        assert answer.status == 200
        assert "set-cookie" not in answer.headers
        (answer,) = send(served.post(served.chat(model=served.ODD_NAME, stream=True)))
        assert answer.status == 200
        assert "set-cookie" not in answer.headers

    def test_ids_of_clients_come_back_only_if_they_are_harmless(self, send, served):
        (answer,) = send(served.post(served.chat(), 'x-request-id: <script>"'))
        assert "<" not in answer.headers["x-request-id"]


class TestHeads:
    def test_of_enormous_fields_are_refused(self, send, served):
        found = send(served.head("GET", "/v1/models", "X-Big: " + "a" * 20_000))
        assert is_error(found[0], {400, 431})

    def test_of_enormous_addresses_are_refused(self, send, served):
        found = send(served.head("GET", "/v1/models/" + "a" * 20_000))
        assert is_error(found[0], {400, 414, 431})

    def test_of_ten_thousand_fields_are_refused(self, send, served):
        found = send(served.head("GET", "/v1/models", *(f"X-{number}: b" for number in range(10_000))))
        assert is_error(found[0], {400, 431})

    def test_that_never_end_are_cut(self, house):
        with closing(house.connect()) as sock:
            sock.sendall(b"GET / HTTP/1.1\r\n")
            try:
                for _ in range(200):
                    sock.sendall(b"X-More: " + b"a" * 4_000 + b"\r\n")
            except ConnectionError:
                return
            assert closed(sock)

    @pytest.mark.parametrize(
        "data",
        [
            b"\x00",
            b"hello\r\n\r\n",
            b"GET\r\n\r\n",
            b"GET /\r\n\r\n",
            b"GET / HTTP/9.9\r\n\r\n",
            b"GET / HTTP/1.1 extra\r\n\r\n",
            b"GET  / HTTP/1.1\r\n\r\n",
            b"GET /a\x00b HTTP/1.1\r\nHost: a\r\n\r\n",
            b"GET /a b HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET /ü HTTP/1.1\r\nHost: a\r\n\r\n".encode(),
            b"G\xc3\xa9T / HTTP/1.1\r\nHost: a\r\n\r\n",
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            b"SSH-2.0-OpenSSH_9.6\r\n",
            b"*1\r\n$4\r\nPING\r\n",
        ],
        ids=repr,
    )
    def test_that_are_no_http_are_refused(self, send, data):
        (answer,) = send(data)
        assert is_error(answer, 400)

    @pytest.mark.parametrize(
        "data", [b"GET /\r\n\r\n", b"GET /health/live\r\n\r\n", b"GET / HTTP/2.0\r\nHost: a\r\n\r\n"], ids=repr
    )
    def test_of_another_version_are_refused(self, send, data):
        assert is_error(send(data)[0], 400)

    def test_of_tls_are_refused(self, house):
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        with closing(house.connect()) as sock, pytest.raises((ssl.SSLError, ConnectionError)):
            context.wrap_socket(sock)


class TestForms:
    """What HTTP allows, and hardly anybody sends."""

    def test_pipelined_requests_are_answered_in_order(self, house, served):
        texts = [f"question {number}" for number in range(40)]
        with closing(house.connect()) as sock, served.answers(sock) as answers:
            sock.sendall(b"".join(served.post(served.chat(text), f"x-request-id: p-{text[9:]}") for text in texts))
            found = [answers.next() for _ in texts]
        assert [json.loads(answer.body)["choices"][0]["message"]["content"] for answer in found] == texts
        assert [answer.headers["x-request-id"] for answer in found] == [f"p-{number}" for number in range(40)]

    def test_a_stream_and_what_is_pipelined_behind_it_do_not_mix(self, house, served):
        with closing(house.connect()) as sock, served.answers(sock) as answers:
            sock.sendall(
                served.post(served.chat("a b c d e f", stream=True))
                + served.head("GET", "/v1/models")
                + served.post(served.chat("last"))
            )
            first, second, third = (answers.next() for _ in range(3))
        assert first.body.endswith(b"data: [DONE]\n\n")
        assert json.loads(second.body)["object"] == "list"
        assert json.loads(third.body)["choices"][0]["message"]["content"] == "last"

    def test_a_failure_does_not_end_the_connection(self, house, served):
        with closing(house.connect()) as sock, served.answers(sock) as answers:
            sock.sendall(served.post(b"{") + served.head("GET", "/nowhere") + served.post(served.chat()))
            assert [answers.next().status for _ in range(3)] == [400, 404, 200]

    def test_a_body_that_nobody_wants_is_no_request(self, house, served):
        with closing(house.connect()) as sock, served.answers(sock) as answers:
            sock.sendall(served.post(SMUGGLED, path="/nowhere") + served.head("GET", "/v1/models"))
            assert [answers.next().status for _ in range(2)] == [404, 200]

    def test_a_body_of_get_is_no_request(self, house, served):
        with closing(house.connect()) as sock, served.answers(sock) as answers:
            sock.sendall(served.head("GET", "/v1/models", f"Content-Length: {len(SMUGGLED)}") + SMUGGLED)
            sock.sendall(served.post(served.chat()))
            first = answers.next()
            assert first.status == 200
            second = answers.next()
        assert second is None or json.loads(second.body)["object"] == "chat.completion"

    def test_clients_that_expect_it_are_told_to_go_on(self, house, served):
        raw = json.dumps(served.chat()).encode()
        lines = ("Expect: 100-continue", f"Content-Length: {len(raw)}")
        with closing(house.connect()) as sock, served.answers(sock) as answers:
            sock.sendall(served.head("POST", "/v1/chat/completions", *lines))
            assert answers.next().status == 100
            sock.sendall(raw)
            assert answers.next().status == 200
            sock.sendall(served.head("GET", "/v1/models"))
            assert answers.next("GET").status == 200

    def test_clients_that_are_refused_are_not_told_to_go_on(self, house, served):
        lines = ("Expect: 100-continue", "Content-Length: 5")
        with closing(house.connect()) as sock, served.answers(sock) as answers:
            sock.sendall(served.head("POST", "/v1/chat/completions", *lines, key=None))
            assert is_error(answers.next(), 401, "invalid_api_key")

    def test_too_large_bodies_are_refused_before_they_are_sent(self, house, served):
        lines = ("Expect: 100-continue", "Content-Length: 3000000")
        with closing(house.connect()) as sock, served.answers(sock) as answers:
            sock.sendall(served.head("POST", "/v1/chat/completions", *lines))
            assert is_error(answers.next(), 413, "request_too_large")

    def test_old_clients_are_answered_and_left(self, house, served):
        data = served.post(served.chat()).replace(b"HTTP/1.1", b"HTTP/1.0")
        with closing(house.connect()) as sock, served.answers(sock) as answers:
            sock.sendall(data)
            answer = answers.next()
            assert answer.status == 200
            assert answer.headers["connection"] == "close"
            assert answers.ended()

    def test_old_clients_may_stay(self, house, served):
        data = served.post(served.chat(), "Connection: keep-alive").replace(b"HTTP/1.1", b"HTTP/1.0")
        with closing(house.connect()) as sock, served.answers(sock) as answers:
            for _ in range(2):
                sock.sendall(data)
                answer = answers.next()
                assert answer.status == 200
                assert answer.headers["connection"] == "keep-alive"

    def test_old_clients_get_streams_without_chunks(self, house, served):
        data = served.post(served.chat(stream=True), "Connection: keep-alive").replace(b"HTTP/1.1", b"HTTP/1.0")
        with closing(house.connect()) as sock, served.answers(sock) as answers:
            sock.sendall(data)
            answer = answers.next()
        assert "transfer-encoding" not in answer.headers
        assert answer.body.startswith(b"data: {")
        assert answer.body.endswith(b"data: [DONE]\n\n")

    def test_head_is_get_without_a_body(self, house, served):
        with closing(house.connect()) as sock, served.answers(sock) as answers:
            sock.sendall(served.head("HEAD", "/v1/models") + served.head("GET", "/v1/models"))
            first, second = answers.next("HEAD"), answers.next("GET")
        assert (first.status, second.status) == (200, 200)
        assert first.headers["content-length"] == second.headers["content-length"] == str(len(second.body))

    def test_head_of_a_stream_is_its_head(self, house, served):
        with closing(house.connect()) as sock, served.answers(sock) as answers:
            sock.sendall(
                served.head("HEAD", "/admin/events", key=served.KEYS["admin"]) + served.head("GET", "/v1/models")
            )
            first, second = answers.next("HEAD"), answers.next("GET")
        assert (first.status, second.status) == (200, 200)
        assert first.headers["content-type"] == "text/event-stream; charset=utf-8"

    def test_a_failed_head_has_no_body_either(self, house, served):
        with closing(house.connect()) as sock, served.answers(sock) as answers:
            sock.sendall(served.head("HEAD", "/nowhere") + served.head("GET", "/v1/models"))
            assert [answers.next("HEAD").status, answers.next("GET").status] == [404, 200]

    @pytest.mark.parametrize("method", ["OPTIONS", "DELETE", "PUT", "PATCH", "TRACE", "GET", "PURGE"])
    def test_other_methods_are_told_which_there_are(self, send, served, method):
        (answer,) = send(served.head(method, "/v1/chat/completions"))
        assert is_error(answer, 405, "method_not_allowed")
        assert answer.headers["allow"] == "POST"

    @pytest.mark.parametrize("method", ["BREW", "get", "P OST", "CONNECT"])
    def test_methods_that_are_none_are_refused(self, send, served, method):
        (answer,) = send(served.head(method, "/v1/chat/completions"))
        assert is_error(answer, {400, 405})

    @pytest.mark.parametrize(
        "target",
        [
            "http://elsewhere/v1/models",
            "//elsewhere/v1/models",
            "*",
            "/v1/models/",
            "/v1//models",
            "/v1/../v1/models",
            "/v1/./models",
            "/%76%31/models",
            "/v1/models%00",
            "/v1/models;a=b",
            "/V1/models",
            "/admin/../v1/models",
            "/v1/models/../../admin/state",
            "/v1/models/%2e%2e/%2e%2e/admin/state",
        ],
    )
    def test_addresses_are_not_guessed(self, send, served, target):
        (answer,) = send(served.head("GET", target))
        assert is_error(answer, {400, 404})

    @pytest.mark.parametrize("target", ["/v1/models/%00", "/v1/models/%ff%fe", "/v1/models/%", "/v1/models/%zz"])
    def test_models_of_odd_names_are_not_found(self, send, served, target):
        (answer,) = send(served.head("GET", target))
        assert is_error(answer, {400, 404})

    def test_upgrades_are_not_made(self, send, served):
        lines = ("Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: eA==")
        (answer,) = send(served.head("GET", "/v1/models", *lines))
        assert answer.status == 200 or is_error(answer, 400)

    def test_two_keys_are_refused(self, send, served):
        (answer,) = send(served.head("GET", "/v1/models", "api-key: another-key-than-that"))
        assert is_error(answer, 401, "invalid_api_key")

    @pytest.mark.parametrize(
        "value", ["Basic dTpw", "Bearer", "bearer  ", "Bearer \xff\xfe", "Bearer " + "a" * 8_000, ""]
    )
    def test_no_key_is_refused(self, send, served, value):
        (answer,) = send(served.head("GET", "/v1/models", f"Authorization: {value}", key=None))
        assert is_error(answer, 401, "invalid_api_key")


class TestConnections:
    def test_half_closed_ones_are_ended(self, house, served):
        with closing(house.connect()) as sock:
            sock.sendall(served.post(served.chat()))
            sock.shutdown(socket.SHUT_WR)
            assert closed(sock)

    def test_reset_ones_cancel_the_call_upstream(self, house, served):
        house.upstream.faults.add("hang")
        before = house.counts.disconnects
        with closing(house.connect()) as sock:
            sock.sendall(served.post(served.chat(model="gpt-4o")))
            house.upstream_until(lambda counts: counts.open_requests == 1)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        house.upstream_until(lambda counts: counts.disconnects > before and not counts.open_requests)

    def test_reset_ones_are_written_to_no_more(self, house, served, caplog):
        body = served.chat("word " * 20_000, "mock-large", stream=True)
        for number in range(5):
            with closing(house.connect()) as sock:
                sock.sendall(served.post(body, f"x-request-id: reset-{number}"))
                sock.recv(1)
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            house.event(_finished(f"reset-{number}"))
        assert [record.message for record in caplog.records if record.name == "asyncio"] == []

    @pytest.mark.parametrize("requests", [2, 10, 30])
    def test_pipelined_ones_cancel_too(self, house, served, requests):
        house.upstream.faults.add("hang")
        before = house.counts.disconnects
        with closing(house.connect()) as sock:
            sock.sendall(served.post(served.chat(model="gpt-4o")) * requests)
            house.upstream_until(lambda counts: counts.open_requests == 1)
        house.upstream_until(lambda counts: counts.disconnects > before and not counts.open_requests)

    def test_that_break_in_the_middle_of_a_body_leave_nothing(self, house, served):
        for _ in range(50):
            with closing(house.connect()) as sock:
                sock.sendall(served.head("POST", "/v1/chat/completions", "Content-Length: 100000") + b"{" * 1_000)
        _until(lambda: house.connections() == 0)

    def test_five_hundred_idle_ones_harm_nobody_and_are_closed(self, hasty, served):
        with ExitStack() as stack:
            idle = [stack.enter_context(closing(hasty.connect())) for _ in range(500)]
            with closing(hasty.connect()) as sock, served.answers(sock) as answers:
                sock.sendall(served.post(served.chat()))
                assert answers.next().status == 200
            assert all(closed(sock) for sock in idle)
        _until(lambda: hasty.connections() == 0)

    def test_beyond_the_limit_are_closed_at_once(self, served, tmp_path):
        with (
            served.Served(tmp_path, gateway={"max_connections": 5}) as house,
            ExitStack() as stack,
        ):
            kept = [stack.enter_context(closing(house.connect())) for _ in range(5)]
            _until(lambda: house.connections() == 5)
            with closing(house.connect()) as further:
                assert closed(further)
            answers = stack.enter_context(served.answers(kept[0]))
            kept[0].sendall(served.head("GET", "/v1/models"))
            assert answers.next().status == 200


class TestAnything:
    @settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(
        st.lists(
            st.sampled_from(
                [
                    *(b"GET ", b"POST ", b"/v1/models", b"/v1/chat/completions", b" HTTP/1.1", b" HTTP/1.0", b"\r\n"),
                    *(b"\n", b"\r", b": ", b"Host: a", b"Content-Length: ", b"Transfer-Encoding: chunked", b"5", b"0"),
                    *(
                        b"Connection: ",
                        b"close",
                        b"keep-alive",
                        b"upgrade",
                        b"\x00",
                        b"\xff",
                        b"hello",
                        b" ",
                        b"\r\n\r\n",
                    ),
                    *(b"Expect: 100-continue", b"Content-Encoding: gzip", b"{}", b"OPTIONS ", b"CONNECT ", b"a:1"),
                ]
            )
            | st.binary(max_size=8),
            max_size=30,
        ).map(b"".join)
    )
    @example(b"POST /v1/models HTTP/1.1\r\nTransfer-Encoding: chunked\r\nUpgrade: a\r\nConnection: upgrade\r\n\r\n")
    @example(b"CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\nhello")
    def test_is_answered_properly_or_not_at_all(self, house, served, data):
        with closing(house.connect(5)) as sock, served.answers(sock) as answers:
            sock.sendall(data)
            sock.shutdown(socket.SHUT_WR)
            method = "HEAD" if data.lstrip().startswith(b"HEAD") else "POST"
            while (answer := answers.next(method)) is not None:
                assert answer.status == 100 or is_error(answer, {400, 401, 404, 405, 408, 411, 413, 417, 431, 501, 505})
        assert not house.problems


def _finished(request_id):
    return lambda event: type(event) is RequestFinished and event.request_id == request_id


def _until(condition, patience=10.0):
    ending = time.monotonic() + patience
    while not condition():
        assert time.monotonic() < ending
        time.sleep(0.02)
