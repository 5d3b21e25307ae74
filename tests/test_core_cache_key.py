from __future__ import annotations

import os
import subprocess
import sys
from enum import StrEnum
from pathlib import Path
from typing import Any

import attrs
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from apex_llm_core.cache import MemoryStore, ResponseCache
from apex_llm_core.models import (
    ANONYMOUS,
    Caller,
    Candidate,
    ChatGenerationOptions,
    ChatMessage,
    EmbeddingOptions,
    EmbedRequest,
    FunctionCall,
    FunctionChoice,
    FunctionDefinition,
    GenerateRequest,
    ImageGenerationOptions,
    ImagePart,
    ImageRequest,
    ReasoningPart,
    ResponseFormat,
    TextGenerationOptions,
    TextPart,
    ToolCallPart,
    ToolResultPart,
)
from apex_llm_core.redaction import Secret
from apex_llm_core.testing import FakeClock

ALICE = Caller(user="alice")


def cache(**more: Any) -> ResponseCache:
    return ResponseCache(MemoryStore(max_entries=100, clock=FakeClock()), 60.0, wall=FakeClock(), **more)


def key(request: Any, caller: Caller = ALICE, *among: Candidate) -> str | None:
    return cache().key(request, caller, among)


def said(*messages: ChatMessage, **options: Any) -> GenerateRequest:
    return GenerateRequest(kind="chat", messages=messages, model="gpt-4o", options=ChatGenerationOptions(**options))


def user(content: Any, **fields: Any) -> ChatMessage:
    return ChatMessage(role="user", content=content, **fields)


def chat(text: str = "hello", *, stream: bool = False, model: str = "gpt-4o", **options: Any) -> GenerateRequest:
    return attrs.evolve(said(user(text), **options), stream=stream, model=model)


def candidate(provider: str, model: str = "gpt-4o") -> Candidate:
    return Candidate(provider=provider, model=model, provider_model_id=f"{model}-there")


TOOLS = [FunctionDefinition(name="f", parameters={"b": 1, "a": [True, None, 1.5]})]
#: Written down: a change makes every stored answer unreachable, so it must be meant (see `entries.FORMAT`).
KNOWN = "apex-llm:response:2:5e5a2546f472cb7933e18347a8b6cbb7eec087f0aef80fd5db310ff11e01d891"


class TestSame:
    @pytest.mark.parametrize(
        "other",
        [
            chat(stream=True),
            said(user([TextPart(text="hello")])),
            chat(timeout=3.0),
            chat(retry_count=0),
            chat(deadline=9.0),
            attrs.evolve(chat(), options=ChatGenerationOptions(model="gpt-4o")),
            attrs.evolve(chat(), options=TextGenerationOptions()),
        ],
        ids=["stream", "one-text-part", "timeout", "retry_count", "deadline", "model-as-option", "text-options"],
    )
    def test_spellings(self, other):
        assert key(other) == key(chat())

    @pytest.mark.parametrize(
        ("one", "other"),
        [
            ({"temperature": 0}, {"temperature": 0.0}),
            ({"temperature": 0}, {"temperature": -0.0}),
            ({"temperature": 1, "top_p": 1.0}, {"top_p": 1, "temperature": 1.0}),
            ({"extra": {"a": 1, "b": {"d": 2, "c": [3.0]}}}, {"extra": {"b": {"c": (3,), "d": 2.0}, "a": 1.0}}),
            ({"stop": "x"}, {"stop": ["x"]}),
            (
                {"tools": [FunctionDefinition(name="f", parameters={"a": 1, "b": 2})]},
                {"tools": [FunctionDefinition(name="f", parameters={"b": 2, "a": 1})]},
            ),
        ],
    )
    def test_options(self, one, other):
        assert key(chat(**one)) == key(chat(**other))

    def test_in_every_process(self):
        script = (
            "import test_core_cache_key as t; "
            "print(t.key(t.chat('h\\u00e9\\ud800' * 999, temperature=0.5, tools=t.TOOLS), t.ALICE, t.candidate('p')))"
        )
        there = subprocess.run(
            [sys.executable, "-c", script],
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parent), "PYTHONHASHSEED": "1"},
            capture_output=True,
            text=True,
            check=True,
        )
        here = key(chat("h\u00e9\ud800" * 999, temperature=0.5, tools=TOOLS), ALICE, candidate("p"))
        assert there.stdout.strip() == here

    def test_in_every_version(self):
        assert key(chat(temperature=0.5, tools=TOOLS), ALICE, candidate("p")) == KNOWN

    def test_members_of_enumerations_are_their_texts(self):
        class Name(StrEnum):
            HELLO = "hello"

        assert key(said(user([TextPart(text=Name.HELLO)]))) == key(chat())


class TestNone:
    @pytest.mark.parametrize(
        "request_",
        [
            chat(no_cache=True),
            EmbedRequest(texts=("a",), model="m", options=EmbeddingOptions(no_cache=True)),
            ImageRequest(prompt="a cat", model="m", options=ImageGenerationOptions()),
            chat(extra={"thing": object()}),
            chat(extra={"thing": b"bytes"}),
            chat(extra={"thing": Secret("which nobody may see")}),
            chat(extra={"thing": {1: "one"}}),
            chat(extra={"thing": float("nan")}),
            chat(extra={"thing": [float("inf")]}),
        ],
        ids=["chat-no-cache", "embed-no-cache", "image", "object", "bytes", "secret", "number-as-key", "nan", "inf"],
    )
    def test_of(self, request_):
        assert key(request_) is None

    def test_of_circles(self):
        circle: list[Any] = []
        circle.append(circle)
        assert key(chat(extra={"thing": circle})) is None


class TestDifferent:
    @pytest.mark.parametrize(
        "other",
        [
            chat("Hello"),
            chat("hello "),
            chat(model="gpt-4o-mini"),
            chat(provider="azure-eastus"),
            chat(temperature=0.0),
            chat(temperature=0.1),
            chat(seed=1),
            chat(user="end-user"),
            chat(extra={"top_k": 1}),
            chat(extra={"top_k": True}),
            chat(extra={"top_k": "1"}),
            chat(extra={"top_k": [1]}),
            chat(extra={"top_k": {"1": None}}),
            chat(reasoning_effort="low"),
            chat(tool_choice="required"),
            chat(tool_choice=FunctionChoice(name="required")),
            chat(max_tokens=1),
            chat(n=1),
            attrs.evolve(chat(), kind="text"),
            said(ChatMessage(role="system", content="hello")),
            said(user("hello", name="bob")),
            said(user([TextPart(text="hel"), TextPart(text="lo")])),
            said(user([TextPart(text="hello"), TextPart(text="")])),
            said(user(""), user("hello")),
            said(user([ReasoningPart(text="hello")])),
            said(user([ImagePart(url="hello")])),
            said(user("hello"), ChatMessage(role="assistant", function_call=FunctionCall(name="f"))),
            said(user("hello"), ChatMessage(role="assistant", content=[ToolCallPart(id="i", name="f")])),
            said(
                user("hello"),
                ChatMessage(role="assistant", content=[ToolCallPart(id="i", name="f")]),
                ChatMessage(role="tool", content=[ToolResultPart(tool_call_id="i", content="x", is_error=True)]),
            ),
            EmbedRequest(texts=("hello",), model="gpt-4o", options=EmbeddingOptions()),
            EmbedRequest(texts=("hel", "lo"), model="gpt-4o", options=EmbeddingOptions()),
        ],
    )
    def test_requests(self, other):
        one = chat()
        assert key(other) not in (None, key(one))
        assert key(other) == key(other)

    def test_all_of_them_from_each_other(self):
        (mark,) = (mark for mark in self.test_requests.pytestmark if mark.name == "parametrize")
        found = [key(request) for request in mark.args[1]]
        assert len(set(found)) == len(found)

    def test_long_texts(self):
        base = "x" * 5000
        assert len({key(chat(text)) for text in (base, base + "x", "y" + base[1:], base[:-1] + "y")}) == 4

    def test_every_option_counts_or_is_known_to_steer(self):
        tool = FunctionDefinition(name="f")
        plain = key(chat())
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
            request = attrs.evolve(chat(), options=ChatGenerationOptions(**{name: value}))
            if key(request) in (plain, None):
                steering.add(name)
        assert steering == {"deadline", "model", "no_cache", "retry_count", "timeout"}

    def test_candidates(self):
        one, other = candidate("a"), candidate("b")
        found = {key(chat(), ALICE, *among) for among in ((), (one,), (other,), (one, other), (candidate("a", "x"),))}
        assert len(found) == 5
        assert key(chat(), ALICE, one, other) == key(chat(), ALICE, other, one, other)

    def test_the_digest_of_candidates_is_remembered_for_one_tuple_only(self):
        shared = cache()
        candidates = [candidate(f"p{number}") for number in range(7)]
        expected = [key(chat(), ALICE, one) for one in candidates]
        for number in range(200):
            # Tuples come and go, and a later one may be where an earlier one was.
            assert shared.key(chat(), ALICE, (candidates[number % 7],)) == expected[number % 7]
            assert shared.key(chat(), ALICE, iter(candidates[:1])) == expected[0]
        assert len(shared._pools) <= 64


class TestTenants:
    def test_are_apart(self):
        callers = [
            ANONYMOUS,
            *(Caller(user=name) for name in ("alice", "bob", "", "None", "null", "user:alice", "key:alice")),
            *(Caller(key=name) for name in ("alice", "", "user:alice")),
        ]
        assert len({key(chat(), caller) for caller in callers}) == len(callers)

    def test_are_the_user_whatever_key_was_used_and_the_key_without_one(self):
        assert key(chat(), Caller(user="alice", key="a")) == key(chat(), Caller(user="alice", key="b"))
        assert key(chat(), Caller(key="a", session="1")) == key(chat(), Caller(key="a", session="2"))

    def test_are_what_the_rule_says(self):
        by_tier = cache(tenant=lambda caller: caller.tier)
        gold = [Caller(user="alice", tier="gold"), Caller(user="bob", tier="gold")]
        assert by_tier.key(chat(), gold[0]) == by_tier.key(chat(), gold[1])
        assert by_tier.key(chat(), gold[0]) != by_tier.key(chat(), Caller(user="alice", tier="free"))

    def test_a_rule_that_fails_is_not_taken_for_a_request_without_a_key(self):
        def broken(caller: Caller) -> str:
            raise ValueError("no such tenant")

        with pytest.raises(ValueError, match="no such tenant"):
            cache(tenant=broken).key(chat(), ALICE)


text = st.text(st.characters(codec=None), max_size=6)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.floats(-5, 5, width=16) | text,
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
        temperature=st.none() | st.floats(0, 2) | st.integers(0, 2),
        max_tokens=st.none() | st.integers(1, 3),
        stop=st.none() | st.lists(text, max_size=2),
        provider=st.none() | text,
        extra=extras,
    ),
    stream=st.booleans(),
) | st.builds(
    EmbedRequest,
    texts=st.lists(text, min_size=1, max_size=2).map(tuple),
    model=text,
    options=st.builds(EmbeddingOptions, dimensions=st.none() | st.integers(1, 3), extra=extras),
)
callers = st.builds(Caller, user=st.none() | text, key=st.none() | text)


def respelt(value: Any) -> Any:
    """Return an equal value whose mappings have the opposite order and whose whole numbers are floats."""
    if isinstance(value, dict):
        return {name: respelt(item) for name, item in reversed(value.items())}
    if isinstance(value, list):
        return tuple(respelt(item) for item in value)
    return float(value) if type(value) is int else value


def told(value: Any) -> Any:
    """Return *value* so that equal means the same: true is no number, a list no mapping."""
    if isinstance(value, dict):
        return ("mapping", tuple((name, told(value[name])) for name in sorted(value)))
    if isinstance(value, list | tuple):
        return ("list", tuple(map(told, value)))
    if isinstance(value, bool) or value is None:
        return str(value)
    return float(value) if isinstance(value, int | float) else ("text", value)


def facts(request: Any, caller: Caller) -> Any:
    """Say independently of the cache what makes a request itself."""
    options = tuple(
        (field.name, told(getattr(request.options, field.name)))
        for field in attrs.fields(type(request.options))
        if getattr(request.options, field.name) is not None
    )
    tenant = ("user", caller.user) if caller.user is not None else ("key", caller.key)
    if tenant == ("key", None):
        tenant = ("nobody", None)
    if isinstance(request, EmbedRequest):
        return ("embed", request.texts, request.model, options, tenant)
    messages = []
    for message in request.messages:
        content = message.content
        if not isinstance(content, str):
            content = tuple(
                repr(part) + str(getattr(part, "data", "")) + str(getattr(part, "signature", "")) for part in content
            )
            only = message.content[0]
            if len(content) == 1 and isinstance(only, TextPart):
                content = only.text
        messages.append((message.role, content))
    return (request.kind, tuple(messages), request.model, options, tenant)


@settings(max_examples=400, deadline=None)
@given(request_=requests, caller=callers, metadata=st.dictionaries(text, text, max_size=1))
def test_equal_requests_of_one_tenant_have_one_key(request_, caller, metadata):
    options = attrs.evolve(request_.options, extra=respelt(request_.options.extra), timeout=1.5)
    again = attrs.evolve(request_, options=options)
    if isinstance(again, GenerateRequest):
        messages = tuple(
            attrs.evolve(message, content=[TextPart(text=message.content)])
            if isinstance(message.content, str)
            else message
            for message in again.messages
        )
        again = attrs.evolve(again, stream=not again.stream, messages=messages)
    same_tenant = attrs.evolve(caller, session="other", metadata=metadata, tier="gold")
    found = key(request_, caller)
    assert found is not None
    assert found == key(again, same_tenant)


@settings(max_examples=600, deadline=None)
@given(one=requests, other=requests, first=callers, second=callers)
def test_different_requests_or_tenants_have_different_keys(one, other, first, second):
    assume(facts(one, first) != facts(other, second))
    assert key(one, first) != key(other, second)
    if facts(one, first) != facts(one, second):
        assert key(one, first) != key(one, second)


@settings(max_examples=400, deadline=None)
@given(one=json_values, other=json_values)
def test_free_values_have_one_key_when_they_are_equal_and_only_then(one, other):
    same = told(one) == told(other)
    assert (key(chat(extra={"x": one})) == key(chat(extra={"x": other}))) == same


@pytest.mark.parametrize(
    ("extra", "kept"),
    [
        ({"a": [{}] * 19_000}, True),
        ({"a": [{}] * 20_000}, False),
        ({"a": [[[1] * 100] * 100] * 100}, False),
        ({str(number): number for number in range(30_000)}, False),
        ({"a": "x" * 1_000_000}, True),
    ],
)
def test_what_is_too_large_to_be_looked_at_is_not_cached(extra, kept):
    assert (key(chat(extra=extra)) is not None) is kept


def test_what_is_nested_in_a_circle_is_not_cached():
    circle: dict[str, Any] = {}
    circle["a"] = [circle]
    request = chat(tools=[FunctionDefinition(name="f", parameters=circle)])
    assert key(request) is None
