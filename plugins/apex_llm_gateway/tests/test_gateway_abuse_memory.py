"""A gateway in a process of its own, as operators run it, abused at length: its memory stays flat, its errors stay quiet."""

from __future__ import annotations

import gzip
import json
import os
import signal
import socket
import struct
import subprocess
import sys
import time
from contextlib import closing, suppress
from pathlib import Path
from urllib.parse import urlsplit

import pytest

pytestmark = pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads the memory of a process in /proc")

MEGABYTE = 1 << 20
#: Rounds before the memory is measured the first time, and between that and the second.
WARM_UP, ROUNDS = 9, 12
#: What all those rounds may add. The largest body that is taken is 2 MB.
GROWTH = 6 * MEGABYTE
#: What they may take for a while, above what there was.
PEAK = 48 * MEGABYTE
LIMITS = {
    "header_timeout": 0.3,
    "body_timeout": 0.3,
    "write_timeout": 0.5,
    "max_body_bytes": 2_000_000,
    "health_interval": 0,
}


class Process:
    """``apex-llm serve`` with the mock."""

    def __init__(self, served, folder):
        key = folder / "key"
        key.write_text(served.KEYS["user"])
        configuration = {
            "providers": [{"name": "mock", "type": "mock"}],
            "gateway": {**LIMITS, "api_keys": [f"file:{key}"]},
        }
        path = folder / "apex-llm.json"
        path.write_text(json.dumps(configuration))
        self._log = folder / "stderr"
        with self._log.open("w") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "apex_llm_cli", "serve", "--config", str(path), "--port", "0", "--json"],
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env={**os.environ, "PYTHONUNBUFFERED": "1"},
            )

    def __enter__(self):
        line = self._process.stdout.readline()
        if '"url"' not in line:
            self.close()
            pytest.fail(f"the gateway does not start: {line} {self.said()}")
        self.port = urlsplit(json.loads(line)["url"]).port
        return self

    def __exit__(self, *_):
        self.close()

    def said(self):
        """Return what it wrote on standard error."""
        return self._log.read_text()

    def memory(self):
        """Return its resident bytes."""
        pages = Path(f"/proc/{self._process.pid}/statm").read_text().split()[1]
        return int(pages) * os.sysconf("SC_PAGE_SIZE")

    def peak(self):
        """Return the most resident bytes that it ever had."""
        status = Path(f"/proc/{self._process.pid}/status").read_text()
        (line,) = (line for line in status.splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) * 1024

    def files(self):
        """Return how many files and sockets it has open."""
        return sum(1 for _ in Path(f"/proc/{self._process.pid}/fd").iterdir())

    def connect(self):
        return socket.create_connection(("127.0.0.1", self.port), 10)

    def stop(self):
        """End it gently; return its exit code."""
        self._process.send_signal(signal.SIGTERM)
        return self._process.wait(20)

    def close(self):
        self._process.kill()
        self._process.wait()
        self._process.stdout.close()


@pytest.fixture
def process(served, tmp_path):
    with Process(served, tmp_path) as process:
        yield process


def shapes(served):
    """Return what is sent in each round, with how the client ends: after it "read" something, or "leave",
    "reset" and "half" close at once."""
    chat = served.post(served.chat())
    story = served.post(served.chat("word " * 20_000, "mock-large", stream=True))
    unfinished = served.head("POST", "/v1/chat/completions", "Content-Length: 1000000")
    chunked = served.head("POST", "/v1/chat/completions", "Transfer-Encoding: chunked")
    return [
        (chat, "read"),
        (chat, "leave"),
        (chat, "reset"),
        (chat, "half"),
        (chat * 50, "read"),
        (chat * 50, "reset"),
        (story, "leave"),
        (story, "reset"),
        (served.post(served.chat(stream=True)), "read"),
        (unfinished + b"x" * 500_000, "reset"),
        (unfinished + b"x" * 500_000, "half"),
        (chunked + b"10000\r\n" + b"x" * 65536 + b"\r\n", "reset"),
        (chunked + b"zz\r\n", "read"),
        (served.post(b"[" * 500_000), "read"),
        (served.post(b'{"model": "' + b"m" * 1_000_000 + b'"}'), "read"),
        (served.post(b"x" * 1_900_000), "read"),
        (served.post(gzip.compress(b" " * 50_000_000), "Content-Encoding: gzip"), "read"),
        (served.head("GET", "/v1/models", "X-Big: " + "a" * 100_000), "read"),
        (served.head("GET", "/v1/models", *(f"X-{number}: b" for number in range(3_000))), "read"),
        (served.head("GET", "/v1/models/" + "%F0%9F%98%80" * 500), "read"),
        (served.head("GET", "/v1/models", key="a" * 5_000), "read"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(500), "read"),
        (b"GET / HTTP/1.1\r\nX: ", "reset"),
        (b"nonsense\r\n\r\n" * 1_000, "read"),
        *((served.post(served.chat(f"{number}", f"nobody-{number}")), "read") for number in range(20)),
    ]


def send(sock, data, ending):
    sock.settimeout(5)
    with suppress(ConnectionError, TimeoutError):
        sock.sendall(data)
        if ending == "reset":
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        elif ending == "half":
            sock.shutdown(socket.SHUT_WR)
            while sock.recv(1 << 20):
                pass
        elif ending == "read":
            sock.recv(1 << 20)


def test_memory_stays_flat_and_errors_quiet(process, served):
    def rounds(times):
        for _ in range(times):
            for data, ending in shapes(served):
                with closing(process.connect()) as sock:
                    send(sock, data, ending)

    rounds(WARM_UP)
    before, files = process.memory(), process.files()
    rounds(ROUNDS)
    with closing(process.connect()) as sock, served.answers(sock) as answers:
        sock.sendall(served.post(served.chat()))
        assert answers.next().status == 200
    grown = process.memory() - before
    assert grown < GROWTH, f"{grown / MEGABYTE:.1f} MB more after {ROUNDS} rounds"
    assert process.peak() - before < PEAK
    ending = time.monotonic() + 10
    while process.files() > files + 5:
        assert time.monotonic() < ending, "connections are left over"
        time.sleep(0.05)
    assert process.stop() == 0
    said = process.said()
    for sign in (
        "Traceback",
        "defect",
        "never retrieved",
        "was never awaited",
        "Exception ignored",
        *served.KEYS.values(),
    ):
        assert sign not in said
