from __future__ import annotations

import asyncio

import pytest

from apex_llm_core.cache.memory import MemoryStore
from apex_llm_core.errors import ModelNotFoundError, QuotaExceededError, RateLimitError
from apex_llm_core.markers import hookimpl
from apex_llm_core.models import Caller, FunctionDefinition
from apex_llm_core.models.events import LimitRejected, PluginFailed
from apex_llm_core.policies.limits import Standing

#: A prompt of 10 tokens by the framework's own estimate is not promised; what is used is told by the provider: 10 and 5.
PRICED = {"a": {"models": [{"id": "m", "cost_per_input_token": 0.01, "cost_per_output_token": 0.02}]}}
ALICE, BOB = Caller(user="alice"), Caller(user="bob")


class SharedPlugin:
    """A state store `shelf` for the processes of one test: managers that are given this plugin."""

    def __init__(self):
        self.clock = lambda: 0.0
        self.store = MemoryStore(max_entries=1000, clock=lambda: 0.0)
        self.failure = None

    @hookimpl
    def apex_register(self, registrar):
        registrar.state_store("shelf", lambda config, settings, runtime: Shelf(self))


class Shelf:
    def __init__(self, plugin):
        self._plugin = plugin

    @hookimpl
    def apex_state_store(self, config):
        return self

    async def get(self, key):
        return await self._plugin.store.get(key)

    async def put(self, key, value, ttl):
        await self._plugin.store.put(key, value, ttl)

    async def delete(self, key):
        await self._plugin.store.delete(key)

    async def transact(self, keys, change, ttl):
        await asyncio.sleep(0)
        if self._plugin.failure is not None:
            raise self._plugin.failure
        await self._plugin.store.transact(keys, change, ttl)

    async def close(self):
        await asyncio.sleep(0)


@pytest.fixture(params=["here", "in a store"])
def scene(request, stage):
    """Make a stage with limits, counted here or in a store."""

    def make(limits, scripts=None, **tables):
        options = {} if request.param == "here" else {"state": {"type": "shelf"}, "plugins": (SharedPlugin(),)}
        return stage(scripts or {"a": []}, limits=limits, **options, **{"providers": PRICED, **tables})

    return make


async def standing(manager, limit, subject=""):
    (found,) = (one for one in await manager.get_limits() if (one.limit, one.subject) == (limit, subject))
    return found


async def ask(manager, caller=None, **keywords):
    return await manager.generate_chat("hi", caller=caller, **{"model": "m", "max_tokens": 5, **keywords})


def test_tokens_are_counted_by_user_and_settled_by_what_was_used(scene):
    limits = [{"name": "tpm", "scope": "user", "tokens": 100}]

    async def body(manager):
        await ask(manager, ALICE)
        await ask(manager, ALICE)
        await ask(manager, BOB)
        await ask(manager)
        assert (await standing(manager, "tpm", "alice")).tokens == Standing(limit=100, used=30, remaining=70)
        assert (await standing(manager, "tpm", "bob")).tokens.used == 15
        with pytest.raises(
            RateLimitError, match=r"'tpm' is reached for 'alice': .* may use \d+ tokens, and less is left"
        ) as caught:
            await ask(manager, ALICE, max_tokens=90)
        assert caught.value.retry_after > 59
        assert caught.value.retryable
        # Who is refused is not counted.
        assert (await standing(manager, "tpm", "alice")).tokens.used == 30

    scene(limits).run(body)


@pytest.mark.parametrize(
    ("limit", "words"),
    [
        ({"tokens": 100}, r"'tight' admits 100 tokens for 'alice', and this request alone may use 1\d\d tokens"),
        ({"cost": 0.5}, r"'tight' admits a cost of 0\.5 for 'alice', and this request alone may cost "),
    ],
)
def test_a_request_that_is_larger_than_the_whole_limit_is_told_so_and_need_not_come_again(scene, limit, words):
    async def body(manager):
        for _ in range(2):
            with pytest.raises((RateLimitError, QuotaExceededError), match=words) as caught:
                await ask(manager, ALICE, max_tokens=100)
            assert caught.value.retry_after is None
            assert not caught.value.retryable
            # Others count meanwhile.
            await ask(manager, ALICE, max_tokens=1)

    scene([{"name": "tight", "scope": "user", **limit}]).run(body)


def test_what_is_only_assumed_to_be_larger_may_come_again(scene):
    async def body(manager):
        await ask(manager, ALICE)
        with pytest.raises(RateLimitError, match="'tight' is reached for 'alice'") as caught:
            await ask(manager, ALICE)
        assert caught.value.retryable

    scene([{"name": "tight", "scope": "user", "tokens": 20, "assumed_output_tokens": 50}]).run(body)


def test_money_is_counted_by_key_and_is_a_quota(scene):
    limits = [{"name": "budget", "scope": "key", "match": "ci-*", "cost": 0.5, "per": 86_400}]
    nightly, person = Caller(key="ci-nightly"), Caller(key="person")

    async def body(manager):
        for caller in (nightly, nightly, person):
            await ask(manager, caller)
        found = await standing(manager, "budget", "ci-nightly")
        assert found.cost.used == pytest.approx(0.4)
        assert found.cost.remaining == pytest.approx(0.1)
        with pytest.raises(QuotaExceededError, match="'budget' is reached for 'ci-nightly'"):
            await ask(manager, nightly)
        assert [one.subject for one in await manager.get_limits()] == ["ci-nightly"]

    scene(limits).run(body)


def test_an_unknown_price_is_not_free(scene):
    async def body(manager):
        with pytest.raises(QuotaExceededError, match=r"the price is not known; .*cost_per_input_token"):
            await ask(manager)

    scene([{"name": "budget", "cost": 1.0}], providers={}).run(body)


def test_what_nobody_can_serve_is_not_a_matter_of_money(scene):
    tool = FunctionDefinition(name="weather", parameters={"type": "object"})

    async def body(manager):
        with pytest.raises(ModelNotFoundError, match="'n'"):
            await ask(manager, model="n")
        with pytest.raises(ModelNotFoundError, match="lacks tools"):
            await ask(manager, tools=[tool])
        with pytest.raises(ModelNotFoundError):
            async for _ in manager.generate_chat_stream("hi", model="n"):
                pass
        found = await standing(manager, "budget")
        assert (found.cost.used, found.requests.used) == (0.0, 3)

    able = {"a": {"models": [{**PRICED["a"]["models"][0], "capabilities": ["chat", "stream"]}]}}
    scene([{"name": "budget", "cost": 1.0, "requests": 5}], providers=able).run(body)


@pytest.mark.parametrize("price", [None, 0.01])
def test_a_fallback_for_who_cannot_serve_has_a_price(scene, price):
    models = [{"id": "m"}, {"id": "n", "cost_per_input_token": price, "cost_per_output_token": price}]
    models[0]["capabilities"], models[1]["capabilities"] = ["chat"], ["chat", "tools"]
    tool = FunctionDefinition(name="weather", parameters={"type": "object"})

    async def body(manager):
        if price is None:
            with pytest.raises(QuotaExceededError, match="the price is not known"):
                await ask(manager, tools=[tool])
        else:
            assert (await ask(manager, tools=[tool])).model == "n"
            assert (await standing(manager, "budget")).cost.used == pytest.approx(0.15)

    fallback = {"models": {"m": ["n"]}, "missing_features": "drop"}
    scene([{"name": "budget", "cost": 1.0}], providers={"a": {"models": models}}, fallback=fallback).run(body)


def test_a_shadow_tells_and_refuses_nobody(scene):
    shown = scene([{"name": "trial", "scope": "user", "requests": 1, "shadow": True}])

    async def body(manager):
        for _ in range(3):
            await ask(manager, ALICE)
        assert (await standing(manager, "trial", "alice")).shadow

    shown.run(body)
    told = [(event.limit, event.subject, event.shadow) for event in shown.events_of(LimitRejected)]
    assert told == [("trial", "alice", True)] * 2


def test_a_stream_is_settled_at_its_end(scene):
    limits = [{"name": "all", "tokens": 1000, "cost": 20.0, "concurrent": 1}]

    async def body(manager):
        stream = manager.generate_chat_stream("hi", model="m", max_tokens=500)
        async for _ in stream:
            found = await standing(manager, "all")
            assert found.tokens.used > 500
            assert found.concurrent.used == 1
        found = await standing(manager, "all")
        assert (found.tokens.used, found.concurrent.used) == (15, 0)
        assert found.cost.used == pytest.approx(0.2)

    async def settled(manager):
        await body(manager)
        await manager._generation.engine.admission.close()

    scene(limits, {"a": [["x", 1, "y"]]}).run(settled)


def test_a_stream_that_is_given_up_frees_its_place(scene):
    async def body(manager):
        async with manager.generate_chat_stream("hi", model="m", max_tokens=50) as stream:
            async for _ in stream:
                break
        found = await standing(manager, "all")
        assert (found.concurrent.used, found.tokens.used >= 50) == (0, True)

    scene([{"name": "all", "tokens": 1000, "concurrent": 1}], {"a": [["x", 1, "y"]]}).run(body)


def test_a_failed_request_used_nothing(scene):
    async def body(manager):
        with pytest.raises(RateLimitError):
            await ask(manager, max_tokens=500)
        found = await standing(manager, "all")
        assert (found.requests.used, found.tokens.used, found.concurrent.used) == (1, 0, 0)

    limits = [{"name": "all", "requests": 5, "tokens": 1000, "concurrent": 1}]
    scene(limits, {"a": [RateLimitError("slow down")] * 3}).run(body)


def test_what_was_counted_outlives_a_reload(scene):
    shown = scene([{"name": "tpm", "scope": "user", "tokens": 100, "concurrent": 1}])

    def with_tokens(tokens):
        return {**shown.config, "limits": [{**shown.config["limits"][0], "tokens": tokens}]}

    async def body(manager):
        await ask(manager, ALICE)
        await manager.reload(shown.config)
        await ask(manager, ALICE)
        assert (await standing(manager, "tpm", "alice")).tokens.used == 30
        await manager.reload(with_tokens(40))
        with pytest.raises(RateLimitError):
            await ask(manager, ALICE, max_tokens=20)
        await manager.reload(with_tokens(60))
        await ask(manager, ALICE, max_tokens=20)
        assert (await standing(manager, "tpm", "alice")).tokens == Standing(limit=60, used=45, remaining=15)

    shown.run(body)


def test_a_request_under_way_keeps_its_place_over_a_reload(scene):
    shown = scene([{"name": "slots", "scope": "user", "concurrent": 1}], {"a": [5]})

    async def body(manager):
        running = asyncio.create_task(ask(manager, ALICE))
        await asyncio.sleep(1)
        await manager.reload(shown.config)
        with pytest.raises(RateLimitError):
            await ask(manager, ALICE)
        await running
        await ask(manager, ALICE)

    shown.run(body)


def test_a_candidate_beyond_its_limit_is_passed_over(scene):
    limits = [{"name": "each", "scope": "provider", "match": "a", "tokens": 40}]
    shown = scene(limits, {"a": [], "b": []})

    async def body(manager):
        for _ in range(4):
            await ask(manager, max_tokens=12)

    shown.run(body)
    assert (len(shown.a.calls), len(shown.b.calls)) == (2, 2)


def test_a_cancelled_request_leaves_nothing_reserved_but_its_request(scene):
    limits = [
        {"name": "user", "scope": "user", "requests": 5, "tokens": 1000, "concurrent": 1},
        {"name": "provider", "scope": "provider", "requests": 5, "tokens": 1000, "concurrent": 1},
    ]
    shown = scene(limits, {"a": [...] * 20})

    async def body(manager):
        task = asyncio.create_task(ask(manager, ALICE))
        await asyncio.sleep(1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await manager._generation.engine.admission.close()
        shown.assert_settled(manager)
        for name, subject in (("user", "alice"), ("provider", "a")):
            found = await standing(manager, name, subject)
            assert (found.requests.used, found.concurrent.used) == (1, 0)

    shown.run(body)


class TestStore:
    """What only a store can do, or do wrong."""

    limits = (
        {"name": "user", "scope": "user", "tokens": 20, "concurrent": 1},
        {"name": "provider", "scope": "provider", "tokens": 20, "concurrent": 1},
    )

    def scene(self, stage, limits=limits, **tables):
        self.plugin = SharedPlugin()
        return stage({"a": []}, limits=list(limits), state={"type": "shelf"}, plugins=(self.plugin,), **tables)

    def test_a_store_that_fails_lets_in_and_tells(self, stage):
        shown = self.scene(stage)
        self.plugin.failure = OSError("disk full")

        async def body(manager):
            for _ in range(3):
                await ask(manager, ALICE)
            shown.assert_settled(manager)

        shown.run(body)
        told = {(event.plugin, event.message) for event in shown.events_of(PluginFailed)}
        assert told == {("state_store:shelf", "disk full")}

    def test_managers_share_what_they_count(self, stage):
        shown = self.scene(stage, [{"name": "pace", "requests": 3}])

        async def body(first):
            async with shown.make() as second:
                for manager in (first, second, first):
                    await ask(manager)
                with pytest.raises(RateLimitError):
                    await ask(second)
                assert (await standing(second, "pace")).requests.remaining == 0

        shown.run(body)

    @pytest.mark.parametrize("turns", range(12))
    def test_cancelled_at_any_moment_nothing_is_left(self, stage, turns):
        shown = self.scene(stage, concurrency={"max": 3})

        async def body(manager):
            task = asyncio.create_task(ask(manager, ALICE))
            for _ in range(turns):
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.wait([task])
            await manager._generation.engine.admission.close()
            shown.assert_settled(manager)
            for found in await manager.get_limits():
                assert found.concurrent.used == 0
                assert found.tokens.used in {0, 15}

        shown.run(body)
