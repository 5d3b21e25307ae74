from __future__ import annotations

import asyncio
import json
from typing import Any

import attrs
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule

from apex_llm_core.cache import MemoryStore, ResponseCache
from apex_llm_core.cache.memory import MemoryStorePlugin
from apex_llm_core.errors import Attempt, LLMErrorType
from apex_llm_core.interfaces import StateStore
from apex_llm_core.models import (
    ANONYMOUS,
    Caller,
    ChatGenerationOptions,
    ChatGenerationResult,
    ChatMessage,
    Choice,
    EmbeddingOptions,
    EmbeddingResult,
    EmbedRequest,
    FunctionDefinition,
    GenerateRequest,
    ImageGenerationOptions,
    ImageGenerationResult,
    ImagePart,
    ImageRequest,
    ReasoningPart,
    ResponseFormat,
    TextGenerationOptions,
    TextGenerationResult,
    TextPart,
    ToolCallPart,
    Usage,
)
from apex_llm_core.testing import FakeClock, run_virtual

ALICE = Caller(user="alice")


def cache(store: StateStore | None = None, **more: Any) -> ResponseCache:
    return ResponseCache(store or MemoryStore(max_entries=100, clock=FakeClock()), 60.0, **more)


def chat(text: str = "hello", *, stream: bool = False, model: str = "gpt-4o", **options: Any) -> GenerateRequest:
    return GenerateRequest(
        kind="chat",
        messages=(ChatMessage(role="user", content=text),),
        model=model,
        options=ChatGenerationOptions(**options),
        stream=stream,
    )


def answer(text: str = "hi", **fields: Any) -> ChatGenerationResult:
    return ChatGenerationResult(
        message=ChatMessage(role="assistant", content=text), model="gpt-4o", provider="azure-eastus", **fields
    )


class TestMemoryStore:
    def test_is_a_state_store(self):
        assert isinstance(MemoryStore(max_entries=1, clock=FakeClock()), StateStore)

    def test_the_plugin_opens_one_of_the_configured_size(self):
        async def main() -> None:
            store = MemoryStorePlugin(FakeClock()).apex_state_store({"max_entries": 1})
            await store.put("a", b"1", None)
            await store.put("b", b"2", None)
            assert await store.get("a") is None
            assert await store.get("b") == b"2"

        run_virtual(main())

    def test_entries_expire_to_the_second(self):
        async def main() -> None:
            clock = FakeClock()
            store = MemoryStore(max_entries=10, clock=clock)
            await store.put("key", b"value", 5.0)
            clock.advance(4.999)
            assert await store.get("key") == b"value"
            clock.advance(0.001)
            assert await store.get("key") is None
            assert len(store._entries) == 0

        run_virtual(main())

    def test_the_least_recently_used_goes_first(self):
        async def main() -> None:
            store = MemoryStore(max_entries=2, clock=FakeClock())
            await store.put("a", b"1", None)
            await store.put("b", b"2", None)
            await store.get("a")
            await store.put("c", b"3", None)
            assert [await store.get(key) for key in "abc"] == [b"1", None, b"3"]

        run_virtual(main())

    def test_close_forgets(self):
        async def main() -> None:
            store = MemoryStore(max_entries=10, clock=FakeClock())
            await store.put("key", b"value", None)
            await store.close()
            assert await store.get("key") is None

        run_virtual(main())


class MemoryStoreAgainstList(RuleBasedStateMachine):
    """The reference is a list from the least to the most recently used."""

    def __init__(self):
        super().__init__()
        self.clock = FakeClock(0.0)
        self.store = MemoryStore(max_entries=3, clock=self.clock)
        self.entries: list[tuple[str, bytes, float]] = []

    keys = st.sampled_from("abcde")

    @rule(key=keys, value=st.binary(max_size=2), ttl=st.none() | st.integers(0, 5))
    def put(self, key, value, ttl):
        asyncio.run(self.store.put(key, value, ttl))
        self.entries = [entry for entry in self.entries if entry[0] != key]
        self.entries.append((key, value, float("inf") if ttl is None else self.clock() + ttl))
        self.entries = self.entries[-3:]

    @rule(key=keys)
    def get(self, key):
        found = next((entry for entry in self.entries if entry[0] == key), None)
        if found is not None:
            self.entries.remove(found)
            if found[2] > self.clock():
                self.entries.append(found)
            else:
                found = None
        assert asyncio.run(self.store.get(key)) == (found[1] if found else None)

    @rule(key=keys)
    def delete(self, key):
        asyncio.run(self.store.delete(key))
        self.entries = [entry for entry in self.entries if entry[0] != key]

    @rule(seconds=st.integers(1, 3))
    def wait(self, seconds):
        self.clock.advance(seconds)

    def teardown(self):
        assert len(self.store._entries) == len(self.entries)


MemoryStoreAgainstList.TestCase.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
TestMemoryStoreAgainstList = MemoryStoreAgainstList.TestCase


class TestKey:
    def test_is_the_same_in_every_process(self):
        # Written down: a change makes every stored answer unreachable, so it must be meant (see `_FORMAT`).
        request = chat(temperature=0.5, tools=[FunctionDefinition(name="f", parameters={"b": 1, "a": [True, None]})])
        assert cache().key(request, ALICE) == (
            "apex-llm:response:1:1df75139de521c20e5e5b95ed002c71231582d9016894afdbfaf16e078286f44"
        )

    @pytest.mark.parametrize(
        "request_",
        [
            chat(stream=True),
            chat(no_cache=True),
            EmbedRequest(texts=("a",), model="m", options=EmbeddingOptions(no_cache=True)),
            ImageRequest(prompt="a cat", model="m", options=ImageGenerationOptions()),
            chat(extra={"thing": object()}),
            chat(extra={"thing": float("nan")}),
        ],
        ids=["stream", "chat-no-cache", "embed-no-cache", "image", "no-json", "nan"],
    )
    def test_there_is_none(self, request_):
        assert cache().key(request_, ALICE) is None

    @pytest.mark.parametrize(
        "options",
        [{"timeout": 3.0}, {"retry_count": 0}, {"deadline": 9.0}, {"model": "gpt-4o"}],
        ids=lambda o: next(iter(o)),
    )
    def test_steering_options_do_not_count(self, options):
        assert cache().key(chat(**options), ALICE) == cache().key(chat(), ALICE)

    @pytest.mark.parametrize(
        "other",
        [
            chat("Hello"),
            chat(model="gpt-4o-mini"),
            chat(provider="azure-eastus"),
            chat(temperature=0.0),
            chat(seed=1),
            chat(user="end-user"),
            chat(extra={"top_k": 1}),
            chat(reasoning_effort="low"),
            attrs.evolve(chat(), kind="text"),
            GenerateRequest(
                kind="chat",
                messages=(ChatMessage(role="system", content="hello"),),
                model="gpt-4o",
                options=ChatGenerationOptions(),
            ),
            EmbedRequest(texts=("hello",), model="gpt-4o", options=EmbeddingOptions()),
        ],
    )
    def test_everything_else_does(self, other):
        assert cache().key(other, ALICE) != cache().key(chat(), ALICE)

    def test_every_option_counts_or_is_known_to_steer(self):
        tool = FunctionDefinition(name="f")
        plain = cache().key(chat(), ALICE)
        steering = set()
        for name in (field.name for field in attrs.fields(ChatGenerationOptions)):
            value: Any = {
                "extra": {"a": 1},
                "function_call": "auto",
                "logprobs": True,
                "no_cache": True,
                "parallel_tool_calls": True,
                "reasoning_effort": "low",
                "tool_choice": "auto",
                "user": "u",
                "functions": [tool],
                "model": "gpt-4o",
                "provider": "azure-eastus",
                "response_format": ResponseFormat(type="json"),
                "stop": ["x"],
                "tools": [tool],
            }.get(name, 1)
            if cache().key(chat(**{name: value}), ALICE) in (plain, None):
                steering.add(name)
        assert steering == {"deadline", "model", "no_cache", "retry_count", "timeout"}

    def test_tenants_are_apart(self):
        request = chat()
        callers = [ALICE, Caller(user="bob"), Caller(user=""), Caller(user="None"), Caller(user="null"), ANONYMOUS]
        assert len({cache().key(request, caller) for caller in callers}) == len(callers)

    def test_the_rule_decides_what_a_tenant_is(self):
        by_tier = cache(tenant=lambda caller: caller.tier)
        gold = [Caller(user="alice", tier="gold"), Caller(user="bob", tier="gold")]
        assert by_tier.key(chat(), gold[0]) == by_tier.key(chat(), gold[1])
        assert by_tier.key(chat(), gold[0]) != by_tier.key(chat(), Caller(user="alice", tier="free"))


text = st.text(st.characters(codec=None), max_size=6)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | text,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text("ab_12", max_size=6), inner, max_size=2),
    max_leaves=4,
)
#: No name of an address, a header or a credential: those are refused.
names = st.text("ab_12", max_size=6)
extras = st.none() | st.dictionaries(names.map("x-".__add__), json_values, max_size=3)
parts = st.one_of(
    st.builds(TextPart, text=text),
    st.builds(ImagePart, data=text, media_type=st.just("image/png")),
    st.builds(ReasoningPart, text=text, signature=st.none() | text),
)
contents = text | st.lists(parts, min_size=1, max_size=2)
requests = st.builds(
    GenerateRequest,
    kind=st.sampled_from(["text", "chat"]),
    messages=st.lists(
        st.builds(ChatMessage, role=st.sampled_from(["system", "user", "assistant"]), content=contents),
        min_size=1,
        max_size=2,
    ).map(tuple),
    model=text,
    options=st.builds(
        ChatGenerationOptions,
        temperature=st.none() | st.floats(0, 2),
        max_tokens=st.none() | st.integers(1, 3),
        stop=st.none() | st.lists(text, max_size=2),
        provider=st.none() | text,
        extra=extras,
    ),
) | st.builds(
    EmbedRequest,
    texts=st.lists(text, min_size=1, max_size=2).map(tuple),
    model=text,
    options=st.builds(EmbeddingOptions, dimensions=st.none() | st.integers(1, 3), extra=extras),
)
callers = st.builds(Caller, user=st.none() | text)


def backwards(value: Any) -> Any:
    """Return an equal value whose mappings have the opposite order."""
    if isinstance(value, dict):
        return {key: backwards(item) for key, item in reversed(value.items())}
    return [backwards(item) for item in value] if isinstance(value, list) else value


def sort(value: Any) -> Any:
    if isinstance(value, dict):
        return [(key, sort(value[key])) for key in sorted(value)]
    return [sort(item) for item in value] if isinstance(value, list) else value


def facts(request: Any, caller: Caller) -> Any:
    body = request.texts if isinstance(request, EmbedRequest) else (request.kind, request.messages)
    options = {
        field.name: getattr(request.options, field.name)
        for field in attrs.fields(type(request.options))
        if getattr(request.options, field.name) not in (None, False)
    }
    options["extra"] = sort(options.get("extra"))
    return repr((type(request), body, request.model, options, caller.user))


@settings(max_examples=300, deadline=None)
@given(request_=requests, caller=callers, metadata=st.dictionaries(text, text, max_size=1))
def test_equal_requests_of_one_tenant_have_one_key(request_, caller, metadata):
    extra = request_.options.extra
    again = attrs.evolve(request_, options=attrs.evolve(request_.options, extra=backwards(extra), timeout=1.5))
    same_user = attrs.evolve(caller, session="other", metadata=metadata)
    key = cache().key(request_, caller)
    assert key is not None
    assert key == cache().key(again, same_user)


@settings(max_examples=500, deadline=None)
@given(one=requests, other=requests, first=callers, second=callers)
def test_different_requests_or_tenants_have_different_keys(one, other, first, second):
    assume(facts(one, first) != facts(other, second))
    assert cache().key(one, first) != cache().key(other, second)
    if first.user != second.user:
        assert cache().key(one, first) != cache().key(one, second)


results = st.one_of(
    st.builds(
        ChatGenerationResult,
        message=st.builds(ChatMessage, role=st.just("assistant"), content=contents),
        model=text,
        provider=text,
        usage=st.none() | st.builds(Usage, prompt_tokens=st.integers(0, 9), completion_tokens=st.integers(0, 9)),
        cost=st.none() | st.floats(0, 1),
        details=st.none() | st.dictionaries(text, json_values, max_size=2),
    ),
    st.builds(TextGenerationResult, text=text, model=text, provider=text, request_id=st.none() | text),
    st.builds(
        EmbeddingResult,
        embeddings=st.lists(st.lists(st.floats(-1, 1), max_size=3).map(tuple), min_size=1, max_size=2).map(tuple),
        model=text,
        provider=text,
    ),
)


@settings(max_examples=200, deadline=None)
@given(result=results)
def test_what_is_kept_comes_back_as_it_was(result):
    async def main() -> None:
        errors: list[Exception] = []
        kept = cache(on_error=errors.append)
        await kept.put("key", result)
        assert await kept.get("key", type(result)) == attrs.evolve(result, cached=True)
        assert errors == []

    run_virtual(main())


class TestEntries:
    def test_attempts_are_neither_kept_nor_told(self):
        failed = Attempt(
            number=1, provider="p", model="m", duration=1.0, error_type=LLMErrorType.TIMEOUT_ERROR, message="who it was"
        )

        async def main() -> None:
            store = MemoryStore(max_entries=1, clock=FakeClock())
            await cache(store).put("key", answer(attempts=(failed,)))
            assert b"who it was" not in (await store.get("key") or b"")
            found = await cache(store).get("key", ChatGenerationResult)
            assert found is not None
            assert found.attempts == ()
            assert found.cached is True

        run_virtual(main())

    def test_tool_calls_come_back(self):
        call = ToolCallPart(id="c1", name="f", arguments='{"a": 1}')
        result = answer(finish_reason="tool_calls")
        result = attrs.evolve(
            result,
            message=attrs.evolve(result.message, content=(call,)),
            choices=(Choice(message=attrs.evolve(result.message, content=(call,)), finish_reason="tool_calls"),),
        )

        async def main() -> None:
            kept = cache()
            await kept.put("key", result)
            found = await kept.get("key", ChatGenerationResult)
            assert found is not None
            assert found.message.tool_calls == (call,)

        run_virtual(main())

    @pytest.mark.parametrize(
        "result",
        [
            answer(finish_reason="content_filter"),
            ChatGenerationResult.of(
                [
                    Choice(message=ChatMessage(role="assistant", content="fine"), finish_reason="stop"),
                    Choice(index=1, message=ChatMessage(role="assistant"), finish_reason="content_filter"),
                ],
                model="m",
                provider="p",
            ),
            TextGenerationResult(text="", model="m", provider="p", finish_reason="content_filter"),
            answer(cached=True),
            ImageGenerationResult(images=("aGk=",), model="m", provider="p"),
        ],
        ids=["filtered", "one-choice-filtered", "filtered-text", "from-the-cache", "image"],
    )
    def test_is_not_kept(self, result):
        async def main() -> None:
            store = MemoryStore(max_entries=1, clock=FakeClock())
            await cache(store).put("key", result)
            assert len(store._entries) == 0

        run_virtual(main())

    def test_expires(self):
        async def main() -> None:
            clock = FakeClock()
            kept = cache(MemoryStore(max_entries=1, clock=clock))
            await kept.put("key", answer())
            clock.advance(59)
            assert await kept.get("key", ChatGenerationResult) is not None
            clock.advance(1)
            assert await kept.get("key", ChatGenerationResult) is None

        run_virtual(main())

    @pytest.mark.parametrize(
        "entry",
        [
            b"",
            b"\xff\xfe",
            b"not json",
            b"null",
            b"[]",
            b"{}",
            b'{"text": "an answer of another class", "model": "m", "provider": "p"}',
            b'{"message": {"role": "nobody", "content": ""}, "model": "m", "provider": "p"}',
            json.dumps(
                {"message": {"role": "assistant", "content": "x"}, "model": "m", "provider": "p", "new": 1}
            ).encode(),
            b"[" * 100_000,
        ],
    )
    def test_unreadable_entries_are_a_miss_and_told(self, entry):
        async def main() -> None:
            errors: list[Exception] = []
            store = MemoryStore(max_entries=1, clock=FakeClock())
            await store.put("key", entry, None)
            assert await cache(store, on_error=errors.append).get("key", ChatGenerationResult) is None
            assert len(errors) == 1

        run_virtual(main())

    def test_a_failing_store_costs_nothing_but_the_answer(self):
        class Broken(MemoryStore):
            async def get(self, key: str) -> bytes | None:
                raise ConnectionError("gone")

            async def put(self, key: str, value: bytes, ttl: float | None) -> None:
                raise ConnectionError("gone")

        async def main() -> None:
            errors: list[Exception] = []
            kept = cache(Broken(max_entries=1, clock=FakeClock()), on_error=errors.append)
            await kept.put("key", answer())
            assert await kept.get("key", ChatGenerationResult) is None
            assert [str(error) for error in errors] == ["gone", "gone"]

        run_virtual(main())

    def test_cancellation_passes(self):
        class Slow(MemoryStore):
            async def get(self, key: str) -> bytes | None:
                await asyncio.sleep(100)
                return None

        async def main() -> None:
            kept = cache(Slow(max_entries=1, clock=FakeClock()))
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(1):
                    await kept.get("key", ChatGenerationResult)

        run_virtual(main())


def test_text_options_and_chat_options_that_say_the_same_share_a_key():
    request = chat(max_tokens=5)
    plain = attrs.evolve(request, options=TextGenerationOptions(max_tokens=5))
    assert cache().key(plain, ALICE) == cache().key(request, ALICE)
