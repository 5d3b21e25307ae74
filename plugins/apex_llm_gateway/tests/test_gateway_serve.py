from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

#: Seconds that anything may take before it counts as hanging.
PATIENCE = 30.0
SERVE = (sys.executable, "-m", "apex_llm_cli", "serve")
KEY = "apex-Yq3vN7tRz0LkWd5xHs2M"
MOCK = """
[[providers]]
name = "mock"
type = "mock"
"""


class Running:
    """A gateway as a process of its own; what it writes is read as it comes."""

    def __init__(self, arguments, environ):
        self.process = subprocess.Popen(
            [*SERVE, *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            stdin=subprocess.DEVNULL,
            env=environ,
            start_new_session=True,
        )
        self.errors = ""
        self._more = threading.Condition()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self.announced = json.loads(self.process.stdout.readline() or "null")

    @property
    def url(self):
        return self.announced["url"]

    def ask(self, path, body=None, key=None):
        """Return the status and the document."""
        headers = {"Content-Type": "application/json"}
        if key is not None:
            headers["Authorization"] = f"Bearer {key}"
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data, headers)  # noqa: S310 - http on loopback
        try:
            with urllib.request.urlopen(request, timeout=PATIENCE) as answer:  # noqa: S310
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.load(error)

    def chat(self, model="mock-small", **more):
        return self.ask(
            "/v1/chat/completions", {"model": model, "messages": [{"role": "user", "content": "Hi"}]}, **more
        )

    def until(self, text):
        """Wait until it has written *text* on standard error."""
        with self._more:
            assert self._more.wait_for(lambda: text in self.errors, PATIENCE), f"no {text!r} in {self.errors!r}"

    def send(self, number):
        self.process.send_signal(number)

    def end(self, number=signal.SIGTERM):
        """Send a signal and return the exit code."""
        self.send(number)
        return self.ended()

    def ended(self):
        code = self.process.wait(PATIENCE)
        self._reader.join(PATIENCE)
        return code

    def workers(self):
        """Return the process ids of the workers, in the order of their starts."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text()
        return [int(pid) for pid in children.split()]

    def _read(self):
        for line in self.process.stderr:
            with self._more:
                self.errors += line.decode()
                self._more.notify_all()


@pytest.fixture
def serve(tmp_path):
    """Start gateways; they are gone after the test."""
    started = []

    def serve(*arguments, config=MOCK, **variables):
        path = tmp_path / "apex-llm.toml"
        if config is not None:
            path.write_text(config)
        environ = {name: value for name, value in os.environ.items() if not name.startswith("APEX_LLM_")}
        environ |= {"TMPDIR": str(tmp_path), **variables}
        running = Running(["--config", str(path), "--json", *arguments], environ)
        started.append(running)
        return running

    yield serve
    for running in started:
        if running.process.poll() is None:
            os.killpg(running.process.pid, signal.SIGKILL)
            running.ended()
        running.process.stdout.close()
        running.process.stderr.close()


def wait_until(condition, what):
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.01)


def is_alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@contextmanager
def streaming(running):
    """Begin a stream of four chunks, and give a function that reads the rest of it."""
    host, port = running.url.removeprefix("http://").split(":")
    body = json.dumps(
        {"model": "mock-small", "stream": True, "messages": [{"role": "user", "content": "one two three"}]}
    )
    with socket.create_connection((host, int(port)), PATIENCE) as client, client.makefile("rb") as answer:
        client.sendall(
            f"POST /v1/chat/completions HTTP/1.1\r\nHost: {host}:{port}\r\nConnection: close\r\n"
            f"Content-Length: {len(body)}\r\n\r\n{body}".encode()
        )
        while b"data: " not in answer.readline():
            pass
        yield answer.read


def slow(seconds):
    """Return a configuration with so many seconds between the chunks of streams: time for signals to fall into."""
    return f"""
[gateway]
shutdown_timeout = 20
[[providers]]
name = "mock"
type = "mock"
options = {{ between_chunks = {{ seconds = {seconds} }}, chunk_size = 4 }}
"""


class TestAlone:
    def test_it_says_where_it_is_and_ends_by_sigterm_with_0(self, serve):
        running = serve("--port", "0")
        assert running.announced == {"url": running.url, "pid": running.process.pid, "workers": 1}
        assert running.chat()[0] == 200
        assert running.ask("/health/ready")[0] == 200
        assert running.end() == 0
        assert running.errors == ""

    def test_people_are_told_in_a_line_and_ctrl_c_ends_it(self, tmp_path):
        config = tmp_path / "apex-llm.toml"
        config.write_text(MOCK)
        with subprocess.Popen([*SERVE, "--config", config, "--port", "0"], stdout=-1, stderr=-1, text=True) as process:
            line = process.stderr.readline()
            hint = process.stderr.readline()
            process.send_signal(signal.SIGINT)
            assert process.wait(PATIENCE) == 0
            assert process.stdout.read() == ""
        url = line.split()[3]
        assert line == f"apex-llm gateway at {url} (open: no keys) · dashboard {url}/ · 1 provider\n"
        assert "--new-key" in hint

    def test_streams_under_way_finish_while_nobody_new_is_let_in(self, serve):
        running = serve("--port", "0", config=slow(1))
        with streaming(running) as rest:
            running.send(signal.SIGTERM)
            wait_until(lambda: refuses(running), "it still accepts")
            assert rest().endswith(b"data: [DONE]\n\n\r\n0\r\n\r\n")
        assert running.ended() == 0
        assert running.errors == (
            "apex-llm gateway: 1 request under way may take 20 seconds more; another signal ends them\n"
        )

    def test_a_second_signal_does_not_wait_for_them(self, serve):
        running = serve("--port", "0", config=slow(3600))
        with streaming(running) as rest:
            running.send(signal.SIGTERM)
            wait_until(lambda: refuses(running), "it still accepts")
            assert running.end() == 0
            assert b"[DONE]" not in what_comes(rest)
        running.until("1 request under way did not finish in time")

    def test_while_it_lingers_it_is_not_ready_and_answers(self, serve):
        running = serve("--port", "0", "--linger", "60")
        running.send(signal.SIGTERM)
        wait_until(lambda: running.ask("/health/ready")[0] == 503, "it is still ready")
        running.until("not ready any more, and still answering for 60 seconds")
        assert running.ask("/health/live")[0] == 200
        assert running.chat()[0] == 200
        assert running.end() == 0

    def test_sighup_takes_another_configuration_and_other_keys(self, serve, tmp_path):
        running = serve("--port", "0", config=keyed("first.key", MOCK, tmp_path, KEY))
        assert running.chat(key=KEY)[0] == 200
        other = KEY[::-1]
        (tmp_path / "apex-llm.toml").write_text(
            keyed("second.key", MOCK + '[[providers]]\nname = "more"\ntype = "mock"\n', tmp_path, other)
        )
        running.send(signal.SIGHUP)
        running.until("is in force")
        assert running.chat(key=KEY)[0] == 401
        assert running.chat(key=other)[0] == 200
        assert running.chat(model="more/mock-small", key=other)[0] == 200

    def test_keys_that_cannot_be_used_leave_the_old_ones(self, serve, tmp_path):
        running = serve("--port", "0", config=keyed("first.key", MOCK, tmp_path, KEY))
        (tmp_path / "apex-llm.toml").write_text(keyed("short.key", MOCK, tmp_path, "short"))
        running.send(signal.SIGHUP)
        running.until("its keys cannot be used, the old ones stay in force")
        assert "gateway.api_keys[0]" in running.errors
        assert running.chat(key=KEY)[0] == 200
        assert running.chat(key="short")[0] == 401

    def test_a_configuration_that_cannot_be_used_leaves_the_old_one(self, serve, tmp_path):
        running = serve("--port", "0")
        (tmp_path / "apex-llm.toml").write_text(MOCK.replace("type", "typ"))
        running.send(signal.SIGHUP)
        running.until("the old one stays in force")
        assert "did you mean 'type'" in running.errors
        assert running.chat()[0] == 200

    def test_settings_of_the_next_start_are_named(self, serve, tmp_path):
        running = serve("--port", "0")
        (tmp_path / "apex-llm.toml").write_text("[gateway]\nmax_connections = 5\n" + MOCK)
        running.send(signal.SIGHUP)
        running.until("from the next start on: [gateway] max_connections")


def what_comes(rest):
    try:
        return rest()
    except ConnectionResetError:
        return b""


def refuses(running):
    host, port = running.url.removeprefix("http://").split(":")
    try:
        socket.create_connection((host, int(port)), 1).close()
    except OSError:
        return True
    return False


def keyed(name, config, folder, *keys):
    """Return *config* with *keys*, which lie in files."""
    references = []
    for number, key in enumerate(keys):
        path = folder / f"{number}-{name}"
        path.write_text(key)
        references.append(f"file:{path}")
    return f"[gateway]\napi_keys = {json.dumps(references)}\n{config}"


def refused(*arguments, config=MOCK, tmp_path):
    """Return the error of a gateway that does not start."""
    path = tmp_path / "apex-llm.toml"
    path.write_text(config)
    ended = subprocess.run(
        [*SERVE, "--config", path, "--json", *arguments], capture_output=True, timeout=PATIENCE, check=False
    )
    assert ended.returncode == 2, ended
    return json.loads(ended.stdout)["error"]


class TestRefusals:
    @pytest.mark.parametrize("workers", ["1", "2"])
    def test_a_taken_port(self, tmp_path, workers):
        with socket.create_server(("127.0.0.1", 0)) as other:
            port = str(other.getsockname()[1])
            error = refused("--port", port, "--workers", workers, tmp_path=tmp_path)
        assert error["type"] == "configuration_error"
        assert f"port {port} at 127.0.0.1 is taken; choose another by --port or [gateway] port" in error["message"]

    @pytest.mark.parametrize("workers", ["1", "2"])
    def test_an_open_door_to_the_network(self, tmp_path, workers):
        error = refused("--host", "0.0.0.0", "--port", "0", "--workers", workers, tmp_path=tmp_path)  # noqa: S104
        assert "gateway.host" in error["message"]

    @pytest.mark.parametrize("workers", ["1", "2"])
    def test_a_weak_key(self, tmp_path, workers):
        config = keyed("weak.key", MOCK, tmp_path, "changeme")
        error = refused("--port", "0", "--workers", workers, config=config, tmp_path=tmp_path)
        assert "gateway.api_keys[0]" in error["message"]
        assert "changeme" not in error["message"]

    def test_an_unknown_setting_has_its_file_and_its_nearest_name(self, tmp_path):
        error = refused(config=f"[gateway]\nprt = 1\n{MOCK}", tmp_path=tmp_path)
        assert "apex-llm.toml" in error["message"]
        assert "gateway.prt" in error["message"]
        assert "'port'" in error["message"]

    def test_a_foreign_address(self, tmp_path):
        config = keyed("good.key", MOCK, tmp_path, KEY)
        error = refused("--host", "203.0.113.7", "--port", "0", config=config, tmp_path=tmp_path)
        assert "gateway.host" in error["message"]
        assert "not an address of this machine" in error["message"]


def test_a_new_key_is_printed():
    first, second = (subprocess.run([*SERVE, "--new-key"], capture_output=True, check=True, text=True) for _ in "12")
    assert first.stdout.startswith("apex-")
    assert len(first.stdout) > 40
    assert first.stdout != second.stdout


class TestSeveral:
    def test_they_share_the_port_and_end_together(self, serve):
        running = serve("--port", "0", "--workers", "3", config=MOCK)
        assert running.announced["workers"] == 3
        workers = running.workers()
        assert len(workers) == 3
        assert {running.chat()[0] for _ in range(20)} == {200}
        assert running.end() == 0
        assert running.errors == ""
        assert not any(map(is_alive, workers))

    def test_one_that_dies_is_replaced(self, serve):
        running = serve("--port", "0", "--workers", "2")
        before = running.workers()
        os.kill(before[1], signal.SIGKILL)
        running.until("worker 1 was ended by SIGKILL; another one starts")
        wait_until(lambda: len(set(running.workers()) - set(before)) == 1, "no other one")
        assert running.workers()[0] == before[0]
        assert {running.chat()[0] for _ in range(10)} == {200}
        assert running.end() == 0

    def test_they_are_administered_as_one_and_a_new_one_joins_in(self, serve):
        running = serve("--port", "0", "--workers", "2")

        def states():
            document = running.ask("/admin/state")[1]
            models = document["providers"][0]["models"]
            return sorted(worker["pid"] for worker in document["gateway"]["workers"]), {
                (model["breaker"]["state"], "states" in model["breaker"]) for model in models
            }

        moved = running.ask("/admin/breakers", {"provider": "mock", "action": "isolate"})
        assert moved == (200, {"moved": 2 * len(running.ask("/admin/breakers")[1]["breakers"])})
        before = sorted(running.workers())
        assert states() == (before, {("forced_open", False)})
        assert {running.chat()[0] for _ in range(10)} == {503}
        os.kill(running.workers()[1], signal.SIGKILL)

        def replaced():
            # A connection that the kernel gave to the one that is killed breaks.
            with suppress(OSError, http.client.HTTPException):
                workers = states()[0]
                return len(workers) == 2 and workers != before
            return False

        wait_until(replaced, "no other one")
        assert states()[1] == {("forced_open", False)}
        assert {running.chat()[0] for _ in range(10)} == {503}
        assert running.ask("/admin/reload", {})[0] == 200
        running.until("worker 0: the configuration was read again")
        running.until("worker 1: the configuration was read again")

    def test_when_the_supervisor_is_killed_they_end_too_and_leave_nothing(self, serve, tmp_path, monkeypatch):
        monkeypatch.setenv("TMPDIR", str(tmp_path))
        running = serve("--port", "0", "--workers", "2")
        workers = running.workers()
        assert [*tmp_path.glob("apex-llm-*/worker-*.sock")]
        running.process.kill()
        running.process.wait(PATIENCE)
        wait_until(lambda: not any(map(is_alive, workers)), "workers without a supervisor")
        assert not [*tmp_path.glob("apex-llm-*")]

    def test_streams_of_all_of_them_finish(self, serve):
        running = serve("--port", "0", "--workers", "2", config=slow(1))
        with streaming(running) as one, streaming(running) as another, streaming(running) as third:
            running.send(signal.SIGTERM)
            wait_until(lambda: refuses(running), "it still accepts")
            assert all(rest().endswith(b"data: [DONE]\n\n\r\n0\r\n\r\n") for rest in (one, another, third))
        assert running.ended() == 0
        # The kernel says which of them has how many.
        assert all("under way may take 20 seconds more" in line for line in running.errors.splitlines())

    def test_a_reload_rolls_through_them(self, serve, tmp_path):
        running = serve("--port", "0", "--workers", "2")
        (tmp_path / "apex-llm.toml").write_text(keyed("first.key", MOCK, tmp_path, KEY))
        running.send(signal.SIGHUP)
        running.until("worker 1: the configuration was read again, and is in force")
        assert running.errors.index("worker 0: the") < running.errors.index("worker 1: the")
        assert {running.chat()[0] for _ in range(10)} == {401}
        assert {running.chat(key=KEY)[0] for _ in range(10)} == {200}

    def test_a_reload_that_fails_stops_at_the_first(self, serve, tmp_path):
        running = serve("--port", "0", "--workers", "2")
        (tmp_path / "apex-llm.toml").write_text(MOCK.replace("type", "typ"))
        running.send(signal.SIGHUP)
        running.until("worker 0 did not take the configuration; those after it were not asked")
        assert "worker 1" not in running.errors
        assert {running.chat()[0] for _ in range(10)} == {200}

    def test_workers_that_end_again_and_again_are_given_up(self, serve, tmp_path):
        running = serve("--port", "0", "--workers", "2")
        (tmp_path / "apex-llm.toml").write_text(MOCK.replace("type", "typ"))
        for pid in running.workers():
            os.kill(pid, signal.SIGKILL)
        assert running.ended() == 1
        assert "again and again; giving up" in running.errors
        assert "did you mean 'type'" in running.errors

    def test_what_each_would_count_for_itself_is_told_once(self, serve):
        limited = f'[manager]\ncache_enabled = true\n[[limits]]\nname = "r"\nrequests = 5\n{MOCK}'
        running = serve("--port", "0", "--workers", "2", config=limited)
        assert running.end() == 0
        assert running.errors.count("warning:") == 1
        assert "[limits] and [cache]" in running.errors
        assert "sqlite" in running.errors

    def test_a_literal_key_is_warned_of_once(self, serve):
        running = serve("--port", "0", "--workers", "3", config=f'[gateway]\napi_keys = ["{KEY}"]\n{MOCK}')
        assert running.end() == 0
        assert running.errors.count("warning:") == 1
        assert KEY not in running.errors
