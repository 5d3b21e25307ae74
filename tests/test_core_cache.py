from __future__ import annotations

import asyncio
import json
from typing import Any

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule

from apex_llm_core.cache import MemoryStore, ResponseCache, replayed
from apex_llm_core.cache.entries import decode, encode
from apex_llm_core.errors import Attempt, LLMErrorType
from apex_llm_core.interfaces import StateStore
from apex_llm_core.models import (
    ANONYMOUS,
    Caller,
    ChatGenerationOptions,
    ChatGenerationResult,
    ChatMessage,
    Choice,
    DocumentPart,
    EmbeddingResult,
    FunctionCall,
    GenerateRequest,
    ImageGenerationResult,
    ImagePart,
    ReasoningPart,
    TextPart,
    ToolCallPart,
    Usage,
)
from apex_llm_core.testing import FakeClock, run_virtual

TTL = 60.0


def cache(store: StateStore | None = None, *, wall: FakeClock | None = None, **more: Any) -> ResponseCache:
    wall = wall or FakeClock()
    return ResponseCache(store or MemoryStore(max_entries=100, clock=wall), TTL, wall=wall, **more)


def answer(text: str = "hi", **fields: Any) -> ChatGenerationResult:
    return ChatGenerationResult(
        message=ChatMessage(role="assistant", content=text), model="gpt-4o", provider="azure-eastus", **fields
    )


class Broken(MemoryStore):
    async def get(self, key: str) -> bytes | None:
        raise ConnectionError("gone")

    async def put(self, key: str, value: bytes, ttl: float | None) -> None:
        raise ConnectionError("gone")


text = st.text(st.characters(codec=None), max_size=6)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | text,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(text, inner, max_size=2),
    max_leaves=4,
)
parts = st.one_of(
    st.builds(TextPart, text=text),
    st.builds(ImagePart, data=text, media_type=st.just("image/png"), detail=st.none() | text),
    st.builds(DocumentPart, text=text, name=st.none() | text),
    st.builds(ReasoningPart, text=text, signature=st.none() | text, data=st.none() | text),
    st.builds(ToolCallPart, id=text, name=text, arguments=text),
)
messages = st.builds(
    ChatMessage,
    role=st.sampled_from(["assistant", "user"]),
    content=text | st.lists(parts, max_size=3),
    name=st.none() | text,
    function_call=st.none() | st.builds(FunctionCall, name=text, arguments=text),
)
reasons = st.sampled_from(["stop", "length", "tool_calls"])
usages = st.none() | st.builds(
    Usage,
    **{field.name: st.booleans() if field.name == "estimated" else st.integers(0, 9) for field in attrs.fields(Usage)},
)
told = {
    "model": text,
    "provider": text,
    "usage": usages,
    "cost": st.none() | st.floats(0, 1),
    "request_id": st.none() | text,
}
choices = st.lists(
    st.builds(
        Choice, index=st.integers(0, 3), message=messages, finish_reason=reasons, logprobs=st.none() | json_values
    ),
    max_size=2,
).map(tuple)
generated = st.builds(
    ChatGenerationResult,
    message=messages,
    finish_reason=reasons,
    choices=choices,
    details=st.none() | st.dictionaries(text, json_values, max_size=2),
    **told,
)
vectors = st.lists(st.floats(allow_nan=False), min_size=1, max_size=3).map(tuple)
embedded = st.builds(
    EmbeddingResult,
    embeddings=st.lists(vectors, min_size=1, max_size=3).map(tuple),
    embedding=st.just(()) | vectors,
    **told,
)


@settings(max_examples=300, deadline=None)
@given(result=generated | embedded, at=st.floats(0, 2e9))
def test_what_is_kept_comes_back_as_it_was(result, at):
    found_at, found = decode(encode(result, at), type(result))
    assert found_at == at
    assert found == attrs.evolve(result, cached=True)
    # Equal is not enough: true is no 1, and a tuple is no list.
    assert repr(found) == repr(attrs.evolve(result, cached=True))


@settings(max_examples=100, deadline=None)
@given(result=generated)
def test_the_message_of_the_first_choice_is_told_once(result):
    if result.choices:
        same = ChatGenerationResult.of(result.choices, model="m", provider="p")
        _, found = decode(encode(same, 0.0), ChatGenerationResult)
        assert found == attrs.evolve(same, cached=True)
        assert found.message is found.choices[0].message


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

    @pytest.mark.parametrize(
        "result",
        [
            answer(finish_reason="content_filter"),
            answer(finish_reason="malformed_model_output"),
            ChatGenerationResult.of(
                [
                    Choice(message=ChatMessage(role="assistant", content="fine"), finish_reason="stop"),
                    Choice(index=1, message=ChatMessage(role="assistant"), finish_reason="content_filter"),
                ],
                model="m",
                provider="p",
            ),
            answer(cached=True),
            answer(details={"degraded": "smaller_model"}),
            answer(details={"adapted": ["response_format: dropped"]}),
            EmbeddingResult(embedding=(1.0,), model="m", provider="p", cached=True),
            ImageGenerationResult(images=("aGk=",), model="m", provider="p"),
        ],
        ids=[
            *("filtered", "own-word", "one-choice-filtered", "from-the-cache", "degraded", "adapted"),
            *("embedding-from-the-cache", "image"),
        ],
    )
    def test_is_not_kept(self, result):
        async def main() -> None:
            store = MemoryStore(max_entries=1, clock=FakeClock())
            kept = cache(store)
            await kept.put("key", result)
            assert store.entries == 0
            assert kept.snapshot()["not_kept"] == 1

        run_virtual(main())

    @pytest.mark.parametrize(
        "result",
        [
            answer(finish_reason="length"),
            answer(finish_reason="tool_calls"),
            answer(details={"adapted": [], "degraded": None, "region": "eu"}),
            EmbeddingResult(embedding=(1.0,), model="m", provider="p"),
        ],
    )
    def test_is_kept(self, result):
        async def main() -> None:
            kept = cache()
            await kept.put("key", result)
            assert await kept.get("key", type(result)) == attrs.evolve(result, cached=True)

        run_virtual(main())

    @pytest.mark.parametrize(
        "result",
        [answer(details={"a": object()}), answer(details={"a": float("nan")}), answer(cost=float("inf"))],
        ids=["object", "nan", "infinite"],
    )
    def test_what_would_come_back_otherwise_is_not_kept_and_told(self, result):
        async def main() -> None:
            errors: list[Exception] = []
            store = MemoryStore(max_entries=1, clock=FakeClock())
            kept = cache(store, on_error=errors.append)
            await kept.put("key", result)
            assert store.entries == 0
            assert len(errors) == kept.snapshot()["errors"] == 1

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
            b'[0.0,"image","m","p"]',
            b'[0.0,"generate","m","p"]',
            b'["when","generate","m","p",null,null,null,[[0,["assistant","x",null,null],"stop",null]],null,null]',
            b'[0.0,"generate","m","p",null,null,null,[[0,["nobody","x",null,null],"stop",null]],null,null]',
            b'[0.0,"generate","m","p",null,null,null,[[0,["assistant",[["sound","x"]],null,null],"stop",null]],null,null]',
            b'[0.0,"generate","m","p",[1],null,null,[[0,["assistant","x",null,null],"stop",null]],null,null]',
            b'[0.0,"generate","m","p",null,null,null,[],null,null]',
            b'[0.0,"embed","m","p",null,null,null,["AAAA"],null]',
            encode(EmbeddingResult(embedding=(1.0,), model="m", provider="p"), 0.0),
            json.dumps({"message": {"role": "assistant", "content": "x"}, "model": "m", "provider": "p"}).encode(),
            b"[" * 100_000,
        ],
    )
    def test_unreadable_entries_are_a_miss_and_told(self, entry):
        async def main() -> None:
            errors: list[Exception] = []
            store = MemoryStore(max_entries=1, clock=FakeClock())
            await store.put("key", entry, None)
            kept = cache(store, on_error=errors.append)
            assert await kept.get("key", ChatGenerationResult) is None
            assert len(errors) == 1
            assert (kept.snapshot()["misses"], kept.snapshot()["errors"]) == (1, 1)

        run_virtual(main())


class TestTime:
    def test_an_answer_expires_to_the_second(self):
        async def main() -> None:
            clock = FakeClock()
            kept = cache(wall=clock)
            await kept.put("key", answer())
            clock.advance(59.5)
            assert await kept.get("key", ChatGenerationResult) is not None
            clock.advance(0.5)
            assert await kept.get("key", ChatGenerationResult) is None

        run_virtual(main())

    def test_a_stale_answer_is_there_for_want_of_a_better_one(self):
        async def main() -> None:
            clock = FakeClock()
            kept = cache(wall=clock, stale_ttl=40.0)
            await kept.put("key", answer())
            clock.advance(60)
            assert await kept.get("key", ChatGenerationResult) is None
            assert await kept.get_stale("key", ChatGenerationResult) == answer(cached=True)
            clock.advance(39.5)
            assert await kept.get_stale("key", ChatGenerationResult) is not None
            clock.advance(0.5)
            assert await kept.get_stale("key", ChatGenerationResult) is None
            snapshot = kept.snapshot()
            assert (snapshot["hits"], snapshot["misses"], snapshot["stale_hits"]) == (0, 1, 2)

        run_virtual(main())

    def test_a_configuration_with_a_shorter_time_holds_for_what_is_there(self):
        async def main() -> None:
            clock = FakeClock()
            store = MemoryStore(max_entries=9, clock=clock)
            await cache(store, wall=clock).put("key", answer())
            clock.advance(10)
            shorter = ResponseCache(store, 10.0, wall=clock)
            assert await shorter.get("key", ChatGenerationResult) is None
            assert await cache(store, wall=clock).get("key", ChatGenerationResult) is not None

        run_virtual(main())

    def test_a_wall_clock_that_is_put_back_makes_nothing_immortal(self):
        async def main() -> None:
            clock, wall = FakeClock(), FakeClock(5000.0)
            store = MemoryStore(max_entries=9, clock=clock)
            await cache(store, wall=wall).put("key", answer())
            put_back = cache(store, wall=FakeClock(1000.0))
            assert await put_back.get("key", ChatGenerationResult) is not None
            clock.advance(60)
            assert await put_back.get("key", ChatGenerationResult) is None

        run_virtual(main())


class TestFailures:
    def test_a_failing_store_costs_nothing_but_the_answer(self):
        async def main() -> None:
            errors: list[Exception] = []
            kept = cache(Broken(max_entries=1, clock=FakeClock()), on_error=errors.append)
            await kept.put("key", answer())
            assert await kept.get("key", ChatGenerationResult) is None
            assert await kept.get_stale("key", ChatGenerationResult) is None
            assert [str(error) for error in errors] == ["gone"] * 3
            assert kept.snapshot()["errors"] == 3

        run_virtual(main())

    @pytest.mark.parametrize("what", ["get", "put"])
    def test_cancellation_passes(self, what):
        class Slow(MemoryStore):
            async def get(self, key: str) -> bytes | None:
                await asyncio.sleep(100)
                return None

            async def put(self, key: str, value: bytes, ttl: float | None) -> None:
                await asyncio.sleep(100)

        async def main() -> None:
            kept = cache(Slow(max_entries=1, clock=FakeClock()))
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(1):
                    await (kept.get("key", ChatGenerationResult) if what == "get" else kept.put("key", answer()))
            assert kept.snapshot()["errors"] == 0

        run_virtual(main())


class TestSnapshot:
    def test_before_the_first_request(self):
        assert cache().snapshot() == {
            **dict.fromkeys(("hits", "misses", "stale_hits", "stores", "not_kept", "errors", "coalesced"), 0),
            "hit_rate": None,
            "entries": 0,
            "bytes": 0,
        }

    def test_counts(self):
        async def main() -> None:
            kept = cache()
            for _ in range(3):
                await kept.get("key", ChatGenerationResult)
            await kept.put("key", answer())
            await kept.get("key", ChatGenerationResult)

            async def work() -> None:
                await asyncio.sleep(1)

            await asyncio.gather(kept.flights.run("key", work), kept.flights.run("key", work))
            snapshot = kept.snapshot()
            assert snapshot.pop("bytes") > len("key")
            assert snapshot == {
                **dict.fromkeys(("stale_hits", "not_kept", "errors"), 0),
                "hits": 1,
                "misses": 3,
                "stores": 1,
                "coalesced": 1,
                "hit_rate": 0.25,
                "entries": 1,
            }

        run_virtual(main())

    def test_a_store_that_does_not_tell_its_size(self):
        class Silent:
            async def get(self, key: str) -> bytes | None:
                return None

            put = delete = transact = close = get

        snapshot = cache(Silent()).snapshot()
        assert snapshot["entries"] is snapshot["bytes"] is None

    def test_a_reload_goes_on_counting_and_waits_for_what_is_under_way(self):
        async def main() -> None:
            former, later = cache(), cache()
            await former.get("key", ChatGenerationResult)
            later.adopt(former)
            await later.get("key", ChatGenerationResult)
            assert later.snapshot()["misses"] == 2

            async def work() -> str:
                await asyncio.sleep(1)
                return "once"

            assert await asyncio.gather(former.flights.run("key", work), later.flights.run("key", work)) == [
                ("once", True),
                ("once", False),
            ]

        run_virtual(main())


class ResponseCacheAgainstDict(RuleBasedStateMachine):
    """The reference knows answers by what makes a request itself, and when each was given."""

    STALE = 30.0

    def __init__(self):
        super().__init__()
        self.clock = FakeClock(0.0)
        self.store = MemoryStore(max_entries=1000, clock=self.clock)
        self.cache = cache(self.store, wall=self.clock, stale_ttl=self.STALE)
        self.kept: dict[Any, tuple[float, ChatGenerationResult]] = {}
        self.counts = dict.fromkeys(("hits", "misses", "stale_hits", "stores", "not_kept"), 0)

    asked = st.fixed_dictionaries(
        {
            "text": st.sampled_from(["a", "b"]),
            "as_parts": st.booleans(),
            "stream": st.booleans(),
            "temperature": st.sampled_from([None, 0, 0.0, 1, 0.5]),
            "caller": st.sampled_from([ANONYMOUS, Caller(user="u"), Caller(user="u", key="k"), Caller(key="u")]),
        }
    )

    def key(self, asked):
        content = [TextPart(text=asked["text"])] if asked["as_parts"] else asked["text"]
        request = GenerateRequest(
            kind="chat",
            messages=(ChatMessage(role="user", content=content),),
            model="m",
            options=ChatGenerationOptions(temperature=asked["temperature"]),
            stream=asked["stream"],
        )
        return self.cache.key(request, asked["caller"])

    def identity(self, asked):
        caller = asked["caller"]
        tenant = ("user", caller.user) if caller.user else ("key", caller.key) if caller.key else None
        return asked["text"], asked["temperature"], tenant

    def known(self, asked, within):
        at, found = self.kept.get(self.identity(asked), (float("-inf"), None))
        return found if self.clock() - at < within else None

    @rule(asked=asked, text=st.text(max_size=2), reason=st.sampled_from(["stop", "length", "content_filter"]))
    def answer(self, asked, text, reason):
        result = answer(text, finish_reason=reason)
        asyncio.run(self.cache.put(self.key(asked), result))
        if reason == "content_filter":
            self.counts["not_kept"] += 1
        else:
            self.counts["stores"] += 1
            self.kept[self.identity(asked)] = self.clock(), attrs.evolve(result, cached=True)

    @rule(asked=asked)
    def ask(self, asked):
        found = asyncio.run(self.cache.get(self.key(asked), ChatGenerationResult))
        assert found == self.known(asked, TTL)
        self.counts["misses" if found is None else "hits"] += 1
        if found is not None:
            assert "".join(chunk.text for batch in replayed(found) for chunk in batch) == found.message.text

    @rule(asked=asked)
    def ask_for_anything(self, asked):
        found = asyncio.run(self.cache.get_stale(self.key(asked), ChatGenerationResult))
        assert found == self.known(asked, TTL + self.STALE)
        self.counts["stale_hits"] += found is not None

    @rule(asked=asked)
    def tell_again(self, asked):
        # What comes from memory is not kept anew, or it would never grow old.
        found = asyncio.run(self.cache.get_stale(self.key(asked), ChatGenerationResult))
        if found is not None:
            self.counts["stale_hits"] += 1
            self.counts["not_kept"] += 1
            asyncio.run(self.cache.put(self.key(asked), found))

    @rule(seconds=st.sampled_from([1.0, 29.0, 30.0, 59.0]))
    def wait(self, seconds):
        self.clock.advance(seconds)

    def teardown(self):
        snapshot = self.cache.snapshot()
        assert {name: snapshot[name] for name in self.counts} == self.counts
        assert snapshot["errors"] == 0


ResponseCacheAgainstDict.TestCase.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
TestResponseCacheAgainstDict = ResponseCacheAgainstDict.TestCase
