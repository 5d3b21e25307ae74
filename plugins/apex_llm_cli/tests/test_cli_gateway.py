from __future__ import annotations

import json
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from apex_llm_cli import gateway_client
from apex_llm_cli.main import cli
from click.testing import CliRunner

KEY = "apex-Bf9uKp4cXo6GjTn1ZeAi"


def breaker(model, state="closed", **more):
    facts = {"reason": "", "failure_rate": None, "retry_after": 0.0, "calls": 0, "times_opened": 0}
    return {"provider": "east", "model": model, "state": state, **facts, **more}


BREAKERS = {
    "breakers": [
        breaker("large", "open", reason="failures in a row", failure_rate=0.375, retry_after=17.6),
        breaker("small", "half_open", reason="its time was over", states={"half_open": 1, "closed": 2}),
        breaker("tiny", "forced_open", reason="by hand", retry_after=None),
        breaker("free"),
    ]
}
USED = {"requests": 3, "errors": 1, "prompt_tokens": 30, "completion_tokens": 12}
STATE = {
    "gateway": {"version": "0.1.0", "uptime": 3725.0, "draining": False, "workers": [{"index": 0}, {"index": 1}]},
    "live_count": 4,
    "totals": {
        **USED, "cancelled": 2, "cost": 0.0125, "cost_unknown": 7, "retries": 5, "fallbacks": 6, "hedges": 8, "cached": 9,
        "limit_rejections": 10, "amplification": 1.234,
    },
    "usage": {
        "by_model": [
            {"provider": "east", "model": "large", **USED, "cost": 0.0125, "cost_unknown": 0},
            {"provider": "east", "model": "unpriced", **USED, "cost": 0.0, "cost_unknown": 3},
            {"provider": None, "model": "partly", **USED, "cost": 0.5, "cost_unknown": 4},
        ],
        "by_user": [{"user": None, **USED, "cost": 0.0, "cost_unknown": 0}],
    },
    "providers": [
        {"name": "east", "enabled": True, "health": "degraded", "models": [
            {"model": "large", "breaker": breaker("large", "forced_open"), "success_rate": 0.625, "latency": 1.23456,
             "time_to_first_chunk": None, "in_flight": 2, "attempts": 8},
        ]},
        {"name": "spare", "enabled": False, "health": "unknown", "models": [{"model": "large"}]},
    ],
    "limits": [
        {"limit": "money", "scope": "user", "subject": "alice", "per": 86400.0, "shadow": False, "requests": None,
         "tokens": None, "cost": {"limit": 5.0, "used": 1.25, "remaining": 3.75}, "concurrent": None, "resets_in": 9.0},
    ],
}  # fmt: skip


class Gateway(ThreadingHTTPServer):
    """Answers like a gateway that has one key; `answers` changes what it says at a path."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.asked = []
        self.answers = {
            "/admin/breakers": (200, BREAKERS),
            "/admin/state": (200, STATE),
            "POST /admin/breakers": (200, {"moved": 2}),
        }


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.answer(self.path)

    def do_POST(self):
        self.answer(f"POST {self.path}")

    def answer(self, what):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.server.asked.append((what, json.loads(body) if body else None))
        status, document = self.server.answers.get(what, (404, {"error": {"message": "there is no such address"}}))
        if self.headers.get("Authorization") != f"Bearer {KEY}":
            status, document = 401, {"error": {"message": "this needs a key", "code": "invalid_api_key"}}
        content = document if isinstance(document, bytes) else json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_):
        pass


@pytest.fixture
def gateway():
    with Gateway() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def run(gateway, monkeypatch):
    monkeypatch.setenv("APEX_LLM_URL", gateway.url)
    monkeypatch.setenv("APEX_LLM_KEY", KEY)

    def run(*arguments):
        result = CliRunner().invoke(cli, list(arguments), prog_name="apex-llm")
        assert KEY not in result.output
        return result

    return run


class TestBreakers:
    def test_all_are_listed_with_their_states_in_words(self, run):
        result = run("breakers")
        assert result.exit_code == 0
        assert result.stdout.startswith("provider  model")
        rows = [[cell.strip() for cell in line.split("  ") if cell.strip()] for line in result.stdout.splitlines()[1:]]
        assert rows == [
            ["east", "large", "open", "38%", "18 s", "failures in a row"],
            ["east", "small", "half open", "its time was over, half open in 1, closed in 2"],
            ["east", "tiny", "isolated", "by hand"],
            ["east", "free", "closed"],
        ]

    def test_json_is_the_document_of_the_gateway(self, run):
        assert json.loads(run("breakers", "--json").stdout) == BREAKERS

    @pytest.mark.parametrize("action", ["isolate", "open", "close", "watch", "disable"])
    def test_those_of_a_model_are_moved(self, run, gateway, action):
        result = run("breakers", action, "east", "large")
        assert (result.exit_code, result.stdout) == (0, "2 breakers moved\n")
        assert gateway.asked == [("POST /admin/breakers", {"provider": "east", "model": "large", "action": action})]

    def test_without_a_model_those_of_the_provider_are_moved(self, run, gateway):
        gateway.answers["POST /admin/breakers"] = (200, {"moved": 1})
        assert run("breakers", "close", "east").stdout == "1 breaker moved\n"
        assert gateway.asked[0][1] == {"provider": "east", "action": "close"}
        assert json.loads(run("--json", "breakers", "close", "east").stdout) == {"moved": 1}

    def test_an_action_needs_a_provider(self, run, gateway):
        result = run("breakers", "open")
        assert result.exit_code == 2
        assert result.stderr == "error: which provider? breakers open PROVIDER [MODEL]\n"
        assert gateway.asked == []

    def test_an_unknown_action_is_a_usage_error(self, run):
        result = run("breakers", "explode", "east")
        assert result.exit_code == 2
        assert "'explode' is not one of 'isolate'" in result.stderr

    def test_a_breaker_there_is_none_of_is_the_callers_mistake(self, run, gateway):
        message = "there is no circuit breaker for 'west'; did you mean 'east'?"
        gateway.answers["POST /admin/breakers"] = (404, {"error": {"message": message, "code": "model_not_found"}})
        result = run("breakers", "open", "west")
        assert (result.exit_code, result.stderr) == (2, f"error: {message}\n")


class TestStats:
    def test_everything_is_told(self, run):
        result = run("stats")
        assert result.exit_code == 0
        lines = [" ".join(line.split()) for line in result.stdout.splitlines()]
        for expected in (
            "gateway 0.1.0, 2 workers, up 1 h 2 min",
            "requests 3, 1 failed, 2 cancelled, 4 under way",
            "tokens 30 in, 12 out",
            "cost 0.0125 + 7 unknown",
            "routing 5 retries, 6 fallbacks, 8 hedges, 9 answers from the cache",
            "refused 10 over limits",
            "upstream 1.23 calls per request",
            "east large 3 1 30 12 0.0125",
            "nobody named 3 1 30 12 0",
            "east large degraded isolated 62.5% 1.23 2 8",
            "money user alice cost 1.25 5 86400",
        ):
            assert expected in lines, expected
        assert not any("spare" in line for line in lines)

    def test_an_unknown_cost_is_no_zero(self, run):
        lines = [" ".join(line.split()) for line in run("stats").stdout.splitlines()]
        assert "east unpriced 3 1 30 12 unknown" in lines
        assert "partly 3 1 30 12 0.5 + 4 unknown" in lines

    @pytest.mark.parametrize(
        ("number", "text"),
        [(4.2e-06, "0.0000042"), (0.00021000000000000185, "0.00021"), (25.0, "25"), (1_000_000, "1000000"), (0, "0")],
    )
    def test_numbers_have_no_exponents(self, run, gateway, number, text):
        limit = {**STATE["limits"][0], "cost": {"limit": number, "used": number, "remaining": 0}}
        gateway.answers["/admin/state"] = (200, {**STATE, "limits": [limit]})
        assert run("stats").stdout.splitlines()[-1].split() == ["money", "user", "alice", "cost", text, text, "86400"]

    def test_json_is_the_state(self, run):
        assert json.loads(run("stats", "--json").stdout) == STATE

    def test_nothing_done_is_no_empty_tables(self, run, gateway):
        state = {**STATE, "usage": {"by_model": [], "by_user": []}, "providers": [], "limits": []}
        state["totals"] = {**STATE["totals"], "amplification": None}
        gateway.answers["/admin/state"] = (200, state)
        output = run("stats").stdout
        assert "no calls" in output
        assert "by model" not in output


@pytest.mark.parametrize("command", ["breakers", "stats"])
class TestRefusals:
    def test_a_gateway_that_is_not_there(self, run, command):
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            url = f"http://127.0.0.1:{taken.getsockname()[1]}"
            result = run(command, "--url", url)
        assert result.exit_code == 1
        assert result.stderr.startswith(f"error: no gateway answers at {url} (")
        assert "'apex-llm serve'" in result.stderr
        assert "APEX_LLM_URL" in result.stderr

    def test_json_errors_have_their_document(self, run, command):
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            result = run(command, "--json", "--url", f"http://127.0.0.1:{taken.getsockname()[1]}")
        assert json.loads(result.stdout)["error"]["type"] == "service_unavailable_error"

    @pytest.mark.parametrize("key", ["apex-not-the-right-one", "env:OTHER_KEY"])
    def test_a_key_that_is_refused(self, run, monkeypatch, command, key):
        monkeypatch.setenv("OTHER_KEY", "apex-not-the-right-one")
        result = run(command, "--key", key)
        assert result.exit_code == 2
        assert "refuses: this needs a key" in result.stderr
        assert "APEX_LLM_KEY" in result.stderr
        assert "apex-not-the-right-one" not in result.output

    def test_keys_come_from_the_environment_and_from_files(self, run, monkeypatch, tmp_path, command):
        (tmp_path / "key").write_text(f"{KEY}\n")
        monkeypatch.setenv("MINE", KEY)
        monkeypatch.setenv("APEX_LLM_KEY", "apex-not-the-right-one")
        assert run(command).exit_code == 2
        assert run(command, "--key", "env:MINE").exit_code == 0
        assert run(command, "--key", f"file:{tmp_path / 'key'}").exit_code == 0
        missing = run(command, "--key", "env:NOT_SET")
        assert missing.exit_code == 2
        assert "NOT_SET is not set" in missing.stderr

    def test_a_key_no_header_takes_is_not_repeated(self, run, gateway, command):
        result = run(command, "--key", "apex-broken\nkey")
        assert result.exit_code == 2
        assert "broken" not in result.output
        assert gateway.asked == []

    @pytest.mark.parametrize(
        "answer", [(200, b"<html>"), (200, b"[]"), (404, b"nothing"), (302, b""), (500, {"no": 1})]
    )
    def test_what_is_no_gateway(self, run, gateway, command, answer):
        gateway.answers["/admin/breakers"] = gateway.answers["/admin/state"] = answer
        result = run(command)
        assert result.exit_code == 1
        assert f"is no gateway of apex-llm (status {answer[0]})" in result.stderr

    @pytest.mark.parametrize("status", [404, 405])
    def test_another_server_that_speaks_of_errors_alike(self, run, gateway, command, status):
        answer = (status, {"error": {"code": "404", "message": "Resource not found"}})
        gateway.answers["/admin/breakers"] = gateway.answers["/admin/state"] = answer
        result = run(command, "--url", gateway.url)
        assert result.exit_code == 2
        assert result.stderr == (
            f"error: there seems to be no gateway of apex-llm at {gateway.url} (status {status}: Resource not found); "
            "see --url or APEX_LLM_URL\n"
        )

    def test_a_gateway_in_trouble(self, run, gateway, command):
        answer = (503, {"error": {"message": "it is starting"}})
        gateway.answers["/admin/breakers"] = gateway.answers["/admin/state"] = answer
        result = run(command)
        assert (result.exit_code, "it is starting" in result.stderr) == (1, True)

    def test_a_gateway_that_is_silent(self, run, monkeypatch, command):
        monkeypatch.setattr(gateway_client, "_PATIENCE", 0.05)
        with socket.create_server(("127.0.0.1", 0)) as silent:
            result = run(command, "--url", f"http://127.0.0.1:{silent.getsockname()[1]}")
        assert result.exit_code == 1
        assert "does not answer within 0.05 seconds" in result.stderr

    @pytest.mark.parametrize(
        "url",
        [
            "127.0.0.1:8080",
            "ftp://host",
            "http://",
            "http://me:password@host",
            "http://host?key=secret",
            "http://host:x",
        ],
    )
    def test_an_address_that_is_none_is_not_repeated(self, run, command, url):
        result = run(command, "--url", url)
        assert result.exit_code == 2
        assert "http://host[:port]" in result.stderr
        assert "secret" not in result.stderr
        assert "password" not in result.stderr

    def test_a_gateway_below_a_path_is_asked_there(self, run, gateway, command):
        gateway.answers = {f"/llm{path}": answer for path, answer in gateway.answers.items()}
        assert run(command, "--url", f"{gateway.url}/llm/").exit_code == 0

    def test_the_base_url_of_a_client_does(self, run, gateway, command):
        assert run(command, "--url", f"{gateway.url}/v1").exit_code == 0

    def test_proxies_are_not_asked_for_this_machine(self, run, monkeypatch, command):
        monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
        monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
        assert run(command).exit_code == 0
