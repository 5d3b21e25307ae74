"""Everything on at once, random providers, callers who leave, reloads: whatever happens, the books balance in the end."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import suppress
from random import Random

import pytest

from apex_llm_core import Caller
from apex_llm_core.errors import (
    ContentFilterError,
    ContextLengthExceededError,
    LLMError,
    RateLimitError,
    ServiceUnavailableError,
    UnsupportedParameterError,
)
from apex_llm_core.models import AttemptFinished, RequestFinished
from apex_llm_core.models.events import Hedged

MOST_ATTEMPTS = 4
PRICED = {"cost_per_input_token": 0.001, "cost_per_output_token": 0.01}


def outcome(random):
    """Return what one call does: mostly it answers, soon or late."""
    pause = random.choice([0.0, 0.01, 0.3, 2.0, 8.0])
    end = random.choice(
        [
            "ok",
            "ok",
            "ok",
            "ok",
            None,
            ...,
            ServiceUnavailableError("down"),
            ServiceUnavailableError("down", retryable=False),
            RateLimitError("busy", retry_after=random.choice([None, 0.5, 20.0])),
            ContextLengthExceededError("long"),
            ContentFilterError("no"),
            UnsupportedParameterError("what", parameters=["top_p"]),
            RuntimeError("bug"),
        ]
    )
    return [pause, *random.choice([[], ["piece"], ["piece", 0.2, "piece"]]), end]


def scene_of(stage, random):
    names = "abcd"
    models = [{"id": "m", **PRICED}, {"id": "large", **PRICED}, {"id": "small", **PRICED}]
    return stage(
        {name: [outcome(random) for _ in range(60)] for name in names},
        providers={name: {"models": models, "retry_count": 1, "timeout": 5, "priority": 0} for name in names},
        manager={
            "max_attempts": MOST_ATTEMPTS,
            "circuit_breaker_threshold": 2,
            "circuit_breaker_reset_timeout": 3,
            "cache_enabled": True,
            "cache_ttl": 2,
            "deadline": 20,
        },
        concurrency={"max": 2, "wait": random.choice([0, 3])},
        cache={"stale_ttl": 60},
        hedging={"enabled": True, "delay": 0.2, "max_extra": 2},
        fallback={
            "context_length": {"m": ["large"]},
            "content_filter": {"m": ["small"]},
            "models": {"m": ["large"]},
            "missing_features": "drop",
        },
        degradation=[{"step": "smaller_model", "model": "m", "to_model": "small"}, {"step": "cached_answer"}],
        limits=[
            {"name": "all", "concurrent": 12, "tokens": 100_000},
            {"name": "user", "scope": "user", "concurrent": 6},
            {"name": "each", "scope": "provider", "concurrent": 3, "requests": 40},
        ],
        routes=[{"model": "m", "shadow_model": "large", "shadow_percentage": 30}],
    )


async def use(manager, random, number):
    """Make one request as some caller would."""
    keywords = {
        "model": "m",
        "deadline": random.choice([None, 1.0, 15.0]),
        "caller": Caller(user=random.choice("xy"), session=random.choice([None, "s"]), request_id=f"r{number}"),
    }
    keywords = {name: value for name, value in keywords.items() if value is not None}
    prompt = random.choice(["one", "two", "three"])
    way = random.choice(["whole", "stream", "left"])
    if way == "whole":
        await manager.generate_chat(prompt, top_p=0.5, **keywords)
    else:
        async with manager.generate_chat_stream(prompt, top_p=0.5, **keywords) as stream:
            async for _ in stream:
                if way == "left":
                    break


@pytest.mark.parametrize("seed", [*range(20), 75, 275, 286, 368])
def test_the_books_balance(stage, seed):
    random = Random(seed)
    scene = scene_of(stage, random)

    async def impatient(manager, number):
        with suppress(LLMError):
            await use(manager, random, number)

    async def body(manager):
        tasks = []
        for number in range(60):
            tasks.append(asyncio.ensure_future(impatient(manager, number)))
            await asyncio.sleep(random.choice([0.0, 0.05, 0.5]))
            if random.random() < 0.2:
                random.choice(tasks).cancel()
            if number % 20 == 19:
                # A provider's bound changes at every second one: old places are not to be given back to new bulkheads.
                tables = {**scene.config, "concurrency": {"max": 2 + number % 40 // 20, "wait": 3}}
                await manager.reload(tables)
        await asyncio.wait(tasks)
        generation = manager._generation
        # Copies end with nobody waiting for them.
        await asyncio.sleep(200)
        scene.assert_settled(manager)
        assert [task for task in tasks if not task.cancelled() and task.exception()] == []
        for standing in await manager.get_limits():
            assert standing.concurrent is None or standing.concurrent.used == 0, standing
        for breaker in manager.breakers():
            assert breaker["permits_out"] == 0, breaker
        for bulkhead in generation.balancer.bulkheads._bulkheads.values():
            assert bulkhead._slow_start is None or bulkhead._slow_start._taken == 0
        return manager.stats()

    stats = scene.run(body)
    calls = [context for provider in scene.providers.values() for context in provider.calls]
    attempts = scene.events_of(AttemptFinished)
    assert len(calls) == len(attempts)
    governor = stats["governor"]
    assert sum(governor["attempts"].values()) + governor["shadow_attempts"] == len(calls)
    assert governor["attempts"].get("hedge", 0) == len(scene.events_of(Hedged))
    finished = scene.events_of(RequestFinished)
    assert all(count == 1 for count in Counter(event.request_id for event in finished).values())
    made = Counter(event.request_id for event in attempts if event.attempt.reason != "shadow")
    assert max(made.values()) <= MOST_ATTEMPTS
    assert {event.request_id: event.attempts for event in finished if event.attempts} == dict(made)
    late = [
        (context.request_id, context.attempt, at - context.deadline)
        for provider in scene.providers.values()
        for context, at in zip(provider.calls, provider.times, strict=True)
        if at >= context.deadline
    ]
    assert late == []
    budget = stats["governor"]["budget_left"]
    assert 0 <= budget <= 100
