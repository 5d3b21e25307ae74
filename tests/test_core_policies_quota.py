from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from apex_llm_core.errors import RateLimitError, ServiceUnavailableError
from apex_llm_core.policies.quota import COST, COST_OF_RATE_LIMIT, RetryQuota

DOWN, THROTTLED = ServiceUnavailableError("down"), RateLimitError("later")


def test_the_costs_are_those_of_the_sdks():
    quota = RetryQuota(500)
    assert quota.take(DOWN) == COST == 14
    assert quota.take(THROTTLED) == COST_OF_RATE_LIMIT == 5
    assert quota.left == 481


def test_a_retry_that_helped_gets_its_cost_back_and_an_easy_success_one():
    quota = RetryQuota(100)
    cost = quota.take(DOWN)
    quota.take(DOWN)
    quota.succeed(cost)
    assert quota.left == 86
    quota.succeed(0)
    assert quota.left == 87


@given(
    st.integers(1, 60),
    st.lists(st.sampled_from([DOWN, THROTTLED, "helped", "easy"]), max_size=60),
)
def test_the_credit_stays_between_nothing_and_all(capacity, events):
    quota, left, cost = RetryQuota(capacity), capacity, 0
    for event in events:
        if event in ("helped", "easy"):
            gain = (cost or 1) if event == "helped" else 1
            quota.succeed(cost if event == "helped" else 0)
            left = min(capacity, left + gain)
            continue
        wanted = 5 if event is THROTTLED else 14
        taken = quota.take(event)
        assert taken == (wanted if wanted <= left else None)
        if taken is not None:
            left, cost = left - wanted, taken
        assert quota.left == left


class TestBehindTheManager:
    def test_a_provider_that_only_fails_is_soon_tried_once(self, stage):
        down = [ServiceUnavailableError("down") for _ in range(99)]
        scene = stage(
            {"a": down, "b": []},
            providers={"a": {"retry_count": 3}},
            manager={"circuit_breaker_enabled": False},
            retry={"quota": 45},
        )

        async def body(manager):
            counts = []
            for _ in range(4):
                before = len(scene.a.calls)
                await manager.generate_chat("hi", model="m")
                counts.append(len(scene.a.calls) - before)
            return counts

        # 45 are three retries of 14.
        assert scene.run(body) == [4, 1, 1, 1]

    def test_success_gives_credit_back(self, stage):
        script = [ServiceUnavailableError("down"), "fine"] * 20
        scene = stage(
            {"a": script},
            providers={"a": {"retry_count": 1}},
            manager={"circuit_breaker_enabled": False},
            retry={"quota": 14},
        )

        async def body(manager):
            for _ in range(20):
                assert (await manager.generate_chat("hi", model="m")).message.text == "fine"

        scene.run(body)

    def test_each_provider_has_its_own(self, stage):
        down = [ServiceUnavailableError("down") for _ in range(9)]
        scene = stage(
            {"a": down, "b": [ServiceUnavailableError("down"), "fine"]},
            providers={"a": {"retry_count": 1}, "b": {"retry_count": 1}},
            retry={"quota": 14},
        )
        assert scene.chat().message.text == "fine"
        assert scene.called == "aabb"

    def test_none_is_no_limit(self, stage):
        down = [ServiceUnavailableError("down") for _ in range(9)]
        scene = stage(
            {"a": [*down, "fine"]},
            providers={"a": {"retry_count": 9}},
            manager={"max_attempts": 20, "circuit_breaker_enabled": False},
            retry={"quota": 0},
        )
        assert scene.chat().message.text == "fine"

    def test_a_retry_that_is_not_made_costs_nothing(self, stage):
        # The limit lets one call in a minute through, so that no retry is admitted.
        scene = stage(
            {"a": [ServiceUnavailableError("down") for _ in range(5)] + ["fine"] * 9, "b": []},
            providers={"a": {"retry_count": 1}},
            manager={"circuit_breaker_enabled": False},
            limits=[{"name": "one", "scope": "provider", "match": "a", "requests": 1, "per": 60}],
            retry={"quota": 14},
        )

        async def body(manager):
            for _ in range(3):
                assert (await manager.generate_chat("hi", model="m")).provider == "b"
                scene.clock.advance(61)

        scene.run(body)
        assert scene.called.count("a") == 3


def test_a_charged_call_that_falls_silent_is_not_made_again(stage):
    def charge(request, context):
        context.charged = True

    scene = stage({"a": [[charge, ...]], "b": ["b"]}, providers={"a": {"retry_count": 3}})
    assert scene.chat().provider == "b"
    assert scene.called == "ab"


def test_a_charged_call_that_failed_is(stage):
    def charge(request, context):
        context.charged = True

    scene = stage({"a": [[charge, ServiceUnavailableError("down")], "a"]}, providers={"a": {"retry_count": 1}})
    assert scene.chat().message.text == "a"
