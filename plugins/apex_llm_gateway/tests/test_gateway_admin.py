from __future__ import annotations

import asyncio
import json
from contextlib import aclosing
from hashlib import sha256

import jsonschema
import pytest
from apex_llm_gateway.gateway import Gateway
from apex_llm_gateway.keys import Key, KeyRing
from apex_llm_gateway.openapi.document import build
from apex_llm_gateway.settings import GatewaySettings
from apex_llm_gateway.snapshots import local_snapshot
from multidict import CIMultiDict

from apex_llm_core.manager import LLMProviderManager
from apex_llm_core.models.events import ProviderRegistered
from apex_llm_core.testing import FakeClock, run_virtual

CONFIG = {
    "providers": [
        {"name": "first", "type": "mock", "models": [{"id": "small", "base_model": "mock-small"}, {"id": "large"}]},
        {"name": "second", "type": "mock", "priority": 200, "models": [{"id": "small", "base_model": "mock-small"}]},
    ],
    "limits": [{"name": "pace", "scope": "all", "requests": 1000}],
}


class Request:
    def __init__(self, method, path, body, headers):
        self.method = method
        self.path, _, query = path.partition("?")
        self.query = dict(pair.split("=", 1) for pair in query.split("&") if pair)
        self.headers = CIMultiDict({"Host": "127.0.0.1:8080", **(headers or {})})
        self.remote = "127.0.0.1"
        self._body = body

    async def body(self):
        return self._body if isinstance(self._body, bytes) else json.dumps(self._body).encode()


class Client:
    """Asks a gateway without keys, through all of its dispatch but the server."""

    def __init__(self, gateway):
        self.gateway = gateway

    async def send(self, method, path, body=b""):
        return await self.gateway.handle(Request(method, path, body, None))

    async def get(self, path):
        reply = await self.send("GET", path)
        assert reply.status == 200, reply.body
        assert reply.headers["Cache-Control"] == "no-store"
        return json.loads(reply.body)

    async def refused(self, method, path, body=b""):
        reply = await self.send(method, path, body)
        error = json.loads(reply.body)["error"]
        return reply.status, error["code"], error["message"]

    async def watch(self, query=""):
        reply = await self.send("GET", f"/admin/events{query}")
        assert reply.content_type == "text/event-stream; charset=utf-8"
        return aclosing(reply.pieces)


def with_gateway(work, config=CONFIG, clock=None):
    clock = clock or FakeClock()

    async def play():
        async with LLMProviderManager(config, clock=clock) as manager:
            gateway = Gateway(manager, GatewaySettings(health_interval=0), KeyRing(), clock=clock)
            await gateway.start()
            try:
                return await work(Client(gateway))
            finally:
                await gateway.stop()

    return run_virtual(play(), clock=clock)


def fits(document, schema):
    """Hold *document* against the gateway's own description of itself."""
    everything = build()
    jsonschema.Draft202012Validator(
        {"$ref": f"#/components/schemas/{schema}", "components": everything["components"]}
    ).validate(document)


async def some_traffic(client):
    for _ in range(3):
        await client.gateway.manager.generate_chat("hi", model="small")
    client.gateway.manager.set_breaker("second", "small", action="open")
    client.gateway.activity.begin("under way", "chat", "small", "alice", "key-1", True)


class TestReading:
    def test_the_state_is_as_documented(self):
        async def work(client):
            await some_traffic(client)
            return await client.get("/admin/state")

        state = with_gateway(work)
        fits(state, "State")
        assert state["totals"]["requests"] == 3
        assert state["gateway"]["open_mode"]
        assert [record["request_id"] for record in state["live"]] == ["under way"]
        assert [event["type"] for event in state["events"]] == ["breaker_changed"]
        assert [limit["limit"] for limit in state["limits"]] == ["pace"]

    def test_the_state_of_a_gateway_that_did_nothing_is_as_documented(self):
        fits(with_gateway(lambda client: client.get("/admin/state")), "State")

    def test_statistics_of_each_worker(self):
        async def work(client):
            await some_traffic(client)
            return await client.get("/admin/stats"), client.gateway.manager.stats()

        document, stats = with_gateway(work)
        fits(document, "Stats")
        assert document == {"workers": [{"worker": 0, **json.loads(json.dumps(stats))}]}

    def test_breakers(self):
        async def work(client):
            await some_traffic(client)
            return await client.get("/admin/breakers")

        document = with_gateway(work)
        fits(document, "Breakers")
        states = {(entry["provider"], entry["model"]): entry["state"] for entry in document["breakers"]}
        assert states == {("first", "small"): "closed", ("first", "large"): "closed", ("second", "small"): "open"}

    def test_limits(self):
        async def work(client):
            await some_traffic(client)
            return await client.get("/admin/limits")

        (pace,) = with_gateway(work)["limits"]
        fits(pace, "Limit")
        assert pace["requests"]["used"] == 3

    @pytest.mark.parametrize(
        ("query", "count"), [("", 30), ("?count=1", 1), ("?count=50", 50), ("?count=9" + 20 * "9", 60)]
    )
    def test_decisions(self, query, count):
        async def work(client):
            for _ in range(60):
                await client.gateway.manager.generate_chat("hi", model="small")
            return await client.get(f"/admin/decisions{query}")

        decisions = with_gateway(work)["decisions"]
        assert len(decisions) == count
        fits(decisions[0], "Decision")
        assert [decision["at"] for decision in decisions] == sorted(
            (decision["at"] for decision in decisions), reverse=True
        )

    @pytest.mark.parametrize("count", ["0", "-1", "many", "1.5", "", "٣"])
    def test_a_count_that_is_none(self, count):
        status, code, message = with_gateway(lambda client: client.refused("GET", f"/admin/decisions?count={count}"))
        assert (status, code) == (400, "invalid_value")
        assert "count" in message

    def test_explaining_asks_nobody(self):
        async def work(client):
            body = {"model": "small", "messages": [{"role": "user", "content": "hi"}], "stream": True}
            reply = await client.send("POST", "/admin/explain", body)
            return json.loads(reply.body), client.gateway.manager.stats()["governor"]["requests"]

        decision, requests = with_gateway(work)
        fits(decision, "Decision")
        assert requests == 0
        assert decision["dry_run"]
        assert decision["stream"]
        assert [candidate["provider"] for candidate in decision["candidates"]] == ["first", "second"]

    def test_what_cannot_be_explained_is_refused_as_the_request_would_be(self):
        body = {"model": "nobody's", "messages": [{"role": "user", "content": "hi"}]}
        status, code, _ = with_gateway(lambda client: client.refused("POST", "/admin/explain", body))
        assert (status, code) == (404, "model_not_found")


class TestMovingBreakers:
    @pytest.mark.parametrize(
        ("order", "moved"), [({"provider": "first"}, 2), ({"provider": "first", "model": "small"}, 1)]
    )
    def test_one_model_or_all_of_a_provider(self, order, moved):
        async def work(client):
            reply = await client.send("POST", "/admin/breakers", {**order, "action": "isolate"})
            return json.loads(reply.body), await client.get("/admin/breakers")

        answer, document = with_gateway(work)
        fits(answer, "Moved")
        assert answer == {"moved": moved}
        states = [entry["state"] for entry in document["breakers"] if entry["provider"] == "first"]
        assert states.count("forced_open") == moved

    @pytest.mark.parametrize(
        ("action", "state"),
        [
            ("open", "open"),
            ("isolate", "forced_open"),
            ("watch", "metrics_only"),
            ("disable", "disabled"),
            ("close", "closed"),
        ],
    )
    def test_every_action(self, action, state):
        async def work(client):
            await client.send("POST", "/admin/breakers", {"provider": "second", "model": None, "action": action})
            return await client.get("/admin/breakers")

        assert with_gateway(work)["breakers"][-1]["state"] == state

    @pytest.mark.parametrize(
        ("body", "code", "told"),
        [
            (b"[]", "invalid_value", "send an object"),
            (b"{", "invalid_json", "no JSON"),
            ({"action": "open"}, "invalid_value", "'provider'"),
            ({"provider": "", "action": "open"}, "invalid_value", "'provider'"),
            ({"provider": "first", "model": 3, "action": "open"}, "invalid_value", "'model'"),
            ({"provider": "first"}, "invalid_value", "'action'"),
            ({"provider": "first", "action": "isolat"}, "invalid_value", "did you mean 'isolate'?"),
            # What is meant for one model must not fall on all of them.
            ({"provider": "first", "modell": "small", "action": "open"}, "unknown_parameter", "did you mean 'model'?"),
        ],
    )
    def test_orders_that_make_no_sense_move_nothing(self, body, code, told):
        async def work(client):
            refusal = await client.refused("POST", "/admin/breakers", body)
            return refusal, await client.get("/admin/breakers")

        (status, found, message), document = with_gateway(work)
        assert (status, found) == (400, code)
        assert told in message
        assert {entry["state"] for entry in document["breakers"]} == {"closed"}

    def test_a_breaker_that_is_not_there(self):
        order = {"provider": "frist", "action": "open"}
        status, _, message = with_gateway(lambda client: client.refused("POST", "/admin/breakers", order))
        assert status == 404
        assert "first" in message


class TestReloading:
    def test_the_configuration_is_read_again(self, tmp_path):
        path = tmp_path / "config.json"
        path.write_text(json.dumps(CONFIG))

        async def work(client):
            path.write_text(json.dumps({"providers": CONFIG["providers"][:1]}))
            reply = await client.send("POST", "/admin/reload")
            return reply.status, json.loads(reply.body), await client.get("/admin/state")

        status, answer, state = with_gateway(work, path)
        assert (status, answer) == (200, {"reloaded": True})
        assert [provider["name"] for provider in state["providers"]] == ["first"]
        assert state["events"][0]["text"] == "a new configuration is in force: first"
        assert state["gateway"]["config_files"] == [str(path)]

    def test_one_that_cannot_be_used_is_refused_and_the_old_one_stays(self, tmp_path):
        path = tmp_path / "config.json"
        path.write_text(json.dumps(CONFIG))

        async def work(client):
            path.write_text('{"providers": [{"nam": "x"}]}')
            return await client.refused("POST", "/admin/reload"), await client.get("/admin/state")

        (status, code, message), state = with_gateway(work, path)
        assert (status, code) == (400, "invalid_configuration")
        assert "providers[0]" in message
        assert len(state["providers"]) == 2


def parsed(piece):
    name, data, *rest = piece.decode().split("\n")
    assert rest == ["", ""]
    return name.removeprefix("event: "), json.loads(data.removeprefix("data: "))


class TestWatching:
    def test_the_state_comes_at_once_and_in_the_interval(self):
        clock = FakeClock()

        async def work(client):
            async with await client.watch("?interval=5") as pieces:
                found = []
                for _ in range(3):
                    name, document = parsed(await anext(pieces))
                    found.append((name, clock()))
                fits(document, "State")
                return found

        began = clock()
        found = with_gateway(work, clock=clock)
        assert [name for name, _ in found] == ["state"] * 3
        assert [when - began for _, when in found] == pytest.approx([0.0, 5.0, 10.0], abs=1e-6)

    def test_what_happens_is_told_at_once_and_once(self):
        clock = FakeClock()

        async def work(client):
            client.gateway.activity.observe(ProviderRegistered(provider="old", provider_type="mock"))
            async with await client.watch("?interval=10") as pieces:
                await anext(pieces)
                began = clock()
                asyncio.get_running_loop().call_later(
                    3.0, client.gateway.activity.observe, ProviderRegistered(provider="new", provider_type="mock")
                )
                name, event = parsed(await anext(pieces))
                when = clock() - began
                return name, event, when, [parsed(await anext(pieces))[0] for _ in range(2)]

        name, event, when, after = with_gateway(work, clock=clock)
        assert (name, event["provider"]) == ("happened", "new")
        fits(event, "Event")
        assert when == pytest.approx(3.0)
        assert after == ["state", "state"]

    def test_what_happens_in_another_process_is_told_after_its_state(self):
        async def work(client):
            gateway = client.gateway
            other = Gateway(gateway.manager, gateway.settings, gateway.ring, clock=gateway.clock)

            class Both:
                async def snapshots(self):
                    return [await local_snapshot(each, wall=lambda: 1e9) for each in (gateway, other)]

            gateway.backend = Both()
            async with await client.watch() as pieces:
                await anext(pieces)
                other.activity.observe(ProviderRegistered(provider="elsewhere", provider_type="mock"))
                return [parsed(await anext(pieces)) for _ in range(3)]

        (first, state), (second, event), (third, _) = with_gateway(work)
        assert (first, second, third) == ("state", "happened", "state")
        assert event == state["events"][0]
        assert event["provider"] == "elsewhere"

    def test_what_happens_while_the_state_is_made_is_told_once(self):
        async def work(client):
            gateway = client.gateway
            states = iter(range(9))

            class Eventful:
                async def snapshots(self):
                    event = ProviderRegistered(provider=str(next(states)), provider_type="mock")
                    gateway.activity.observe(event)
                    return [await local_snapshot(gateway, wall=lambda: 1e9)]

            gateway.backend = Eventful()
            async with await client.watch() as pieces:
                return [parsed(await anext(pieces)) for _ in range(5)]

        told = [(name, document.get("provider")) for name, document in with_gateway(work)]
        assert told == [("state", None), ("state", None), ("happened", "1"), ("state", None), ("happened", "2")]

    def test_it_ends_soon_when_the_gateway_stops(self):
        clock = FakeClock()

        async def work(client):
            async with await client.watch("?interval=60") as pieces:
                await anext(pieces)
                client.gateway.draining = True
                began = clock()
                rest = [parsed(piece) async for piece in pieces]
                return rest, clock() - began

        ((name, state),), seconds = with_gateway(work, clock=clock)
        assert name == "state"
        assert state["gateway"]["draining"]
        assert seconds <= 1.0

    @pytest.mark.parametrize("left", [{}, {"roles": ["user"]}])
    @pytest.mark.parametrize("meanwhile", [0, 1])
    def test_it_ends_with_its_key(self, left, meanwhile):
        clock = FakeClock()
        digest = sha256(b"a key").digest()

        async def work(client):
            gateway = client.gateway
            gateway.rekey(KeyRing([Key(name="operator", digest=digest, roles=["admin"])]))
            asked = Request("GET", "/admin/events?interval=60", b"", {"Authorization": "Bearer a key"})
            async with aclosing((await gateway.handle(asked)).pieces) as pieces:
                await anext(pieces)
                others = [Key(name="other", digest=bytes(range(32)), roles=["admin"])]
                gateway.rekey(
                    KeyRing(others + [Key(name="operator", digest=digest, **more) for more in [left] if more])
                )
                for _ in range(meanwhile):
                    gateway.activity.observe(ProviderRegistered(provider="secret", provider_type="mock"))
                began = clock()
                return [piece async for piece in pieces], clock() - began

        rest, seconds = with_gateway(work, clock=clock)
        assert rest == []
        assert seconds <= 1.0

    def test_without_keys_it_ends_when_there_are_some(self):
        async def work(client):
            async with await client.watch() as pieces:
                await anext(pieces)
                client.gateway.rekey(KeyRing([Key(name="operator", digest=bytes(range(32)), roles=["admin"])]))
                return [piece async for piece in pieces]

        assert with_gateway(work) == []

    def test_other_keys_do_not_disturb_it(self):
        async def work(client):
            gateway = client.gateway
            operator = Key(name="operator", digest=sha256(b"a key").digest(), roles=["admin"])
            gateway.rekey(KeyRing([operator]))
            asked = Request("GET", "/admin/events", b"", {"Authorization": "Bearer a key"})
            async with aclosing((await gateway.handle(asked)).pieces) as pieces:
                await anext(pieces)
                gateway.rekey(KeyRing([operator, Key(name="new", digest=bytes(range(32)))]))
                return parsed(await anext(pieces))[0]

        assert with_gateway(work) == "state"

    def test_nobody_is_told_after_a_watcher_left(self):
        async def work(client):
            async with await client.watch() as pieces:
                await anext(pieces)
                during = len(client.gateway.activity._hearers)
            return during, len(client.gateway.activity._hearers)

        assert with_gateway(work) == (1, 0)

    def test_a_watcher_that_does_not_read_costs_no_memory(self):
        async def work(client):
            async with await client.watch() as pieces:
                await anext(pieces)
                for number in range(1000):
                    client.gateway.activity.observe(ProviderRegistered(provider=str(number), provider_type="mock"))
                told = []
                while (found := parsed(await anext(pieces)))[0] == "happened":
                    told.append(found[1]["provider"])
                return told

        assert with_gateway(work) == [str(number) for number in range(100)]

    @pytest.mark.parametrize("interval", ["0.4", "61", "nan", "inf", "often", "", "-1"])
    def test_intervals_out_of_bounds(self, interval):
        status, code, message = with_gateway(lambda client: client.refused("GET", f"/admin/events?interval={interval}"))
        assert (status, code) == (400, "invalid_value")
        assert "interval" in message
