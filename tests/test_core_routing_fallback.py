from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apex_llm_core.errors import (
    ERROR_CLASSES,
    AuthenticationError,
    ContextLengthExceededError,
    InvalidRequestError,
    LLMError,
    LLMErrorType,
    LLMTimeoutError,
    QuotaExceededError,
    RateLimitError,
    ServiceUnavailableError,
    UnknownError,
)
from apex_llm_core.models import FellBack, RequestFinished, RetryScheduled

#: The table in the docstring of `routing.fallback`: type -> (tried again, goes on).
TABLE = {
    LLMErrorType.RATE_LIMIT_ERROR: (True, True),
    LLMErrorType.SERVICE_UNAVAILABLE_ERROR: (True, True),
    LLMErrorType.TIMEOUT_ERROR: (True, True),
    LLMErrorType.CONTEXT_LENGTH_EXCEEDED_ERROR: (False, True),
    LLMErrorType.AUTHENTICATION_ERROR: (False, True),
    LLMErrorType.AUTHORIZATION_ERROR: (False, True),
    LLMErrorType.QUOTA_EXCEEDED_ERROR: (False, True),
    LLMErrorType.MODEL_NOT_FOUND_ERROR: (False, True),
    LLMErrorType.UNKNOWN_ERROR: (False, True),
    LLMErrorType.INVALID_REQUEST_ERROR: (False, False),
    LLMErrorType.CONTENT_FILTER_ERROR: (False, False),
}


def error_of(kind, **facts):
    return ERROR_CLASSES[kind](f"a {kind}", **facts)


def test_the_table_has_every_type():
    assert set(TABLE) == set(LLMErrorType)


@pytest.mark.parametrize("kind", LLMErrorType)
def test_each_row_of_the_table(stage, kind):
    again, on = TABLE[kind]
    # Even where the provider calls the error retryable, only three types are tried again.
    errors = [error_of(kind, retryable=True) for _ in range(3)]
    scene = stage({"a": [*errors, "a"], "b": ["b"]}, providers={"a": {"retry_count": 2}})
    expected = ("aaa" if again else "a") + ("b" if on else "")
    if on:
        assert scene.chat().provider == "b"
    else:
        error = scene.failed_chat(LLMError)
        assert error is errors[0]
    assert scene.called == expected


@pytest.mark.parametrize("kind", [kind for kind, (again, _) in TABLE.items() if again])
def test_what_is_not_retryable_is_not_tried_again(stage, kind):
    scene = stage({"a": [error_of(kind, retryable=False)], "b": []}, providers={"a": {"retry_count": 5}})
    scene.chat()
    assert scene.called == "ab"


def test_too_long_a_context_goes_only_to_larger_or_unknown_windows(stage):
    sizes = {"a": 8000, "b": 4000, "c": 8000, "d": None, "e": 4000, "f": 16000}
    scene = stage(
        {name: [ContextLengthExceededError("too long")] for name in "abcde"} | {"f": ["f"]},
        providers={
            name: {"models": [{"id": "m"} if size is None else {"id": "m", "max_tokens": size}]}
            for name, size in sizes.items()
        },
    )
    assert scene.chat().provider == "f"
    assert scene.called == "adf"


def test_without_fallback_only_the_best_is_called(stage):
    scene = stage(
        {"a": [ServiceUnavailableError("down")] * 2, "b": []},
        providers={"a": {"retry_count": 1}},
        manager={"fallback_enabled": False},
    )
    scene.failed_chat(ServiceUnavailableError)
    assert scene.called == "aa"


@pytest.mark.parametrize("most", [1, 2, 3, 4, 5])
def test_the_cap_counts_retries_and_fallbacks_together(stage, most):
    down = [ServiceUnavailableError("down")] * 3
    scene = stage(
        {"a": down, "b": down},
        providers={name: {"retry_count": 1} for name in "ab"},
        manager={"max_attempts": most},
    )
    error = scene.failed_chat(ServiceUnavailableError)
    # The second of two is for who was not asked yet.
    called = "ab" if most == 2 else "aabb"[:most]
    assert scene.called == called
    assert [attempt.provider for attempt in error.attempts] == list(called)
    assert [attempt.number for attempt in error.attempts] == [1, 2, 3, 4][:most]


def test_the_request_overrides_retries(stage):
    scene = stage({"a": [ServiceUnavailableError("down")] * 9}, providers={"a": {"retry_count": 3}})
    scene.failed_chat(ServiceUnavailableError, retry_count=1)
    assert scene.called == "aa"
    assert stage({"a": [ServiceUnavailableError("down"), "fine"]}).chat(retry_count=1).message.text == "fine"


def test_the_request_overrides_the_silence(stage):
    scene = stage({"a": [...]})
    scene.failed_chat(LLMTimeoutError, timeout=7)
    assert scene.clock() == pytest.approx(1007, abs=0.02)


class TestRetryAfter:
    def test_is_waited_for_when_nobody_else_is_there(self, stage):
        scene = stage({"a": [RateLimitError("slow down", retry_after=20), "a"]}, providers={"a": {"retry_count": 1}})
        scene.chat()
        waited = scene.a.times[1] - scene.a.times[0]
        assert 20 <= waited <= 22

    def test_within_patience_is_waited_for(self, stage):
        scene = stage(
            {"a": [RateLimitError("slow down", retry_after=0.8), "a"], "b": []},
            providers={"a": {"retry_count": 1}},
        )
        assert scene.chat().provider == "a"
        assert scene.a.times[1] - scene.a.times[0] >= 0.8

    def test_beyond_patience_goes_on_at_once(self, stage):
        scene = stage(
            {"a": [RateLimitError("slow down", retry_after=1.5)], "b": ["b"]}, providers={"a": {"retry_count": 1}}
        )
        assert scene.chat().provider == "b"
        assert scene.b.times == scene.a.times

    def test_patience_is_configured(self, stage):
        scene = stage(
            {"a": [RateLimitError("slow down", retry_after=5), "a"], "b": []},
            providers={"a": {"retry_count": 1}},
            retry={"patience": 6},
        )
        assert scene.chat().provider == "a"

    def test_beyond_the_deadline_is_no_retry(self, stage):
        scene = stage({"a": [RateLimitError("slow down", retry_after=20)]}, providers={"a": {"retry_count": 1}})
        error = scene.failed_chat(RateLimitError, deadline=10)
        assert scene.called == "a"
        assert error.retry_after == 20
        assert scene.clock() == 1000

    def test_an_alternative_behind_an_open_breaker_is_none(self, stage):
        scene = stage(
            {"a": [InvalidRequestError("no"), RateLimitError("slow down", retry_after=5), "a"], "b": []},
            providers={"a": {"retry_count": 1}},
        )

        async def body(manager):
            with pytest.raises(InvalidRequestError):
                await manager.generate_chat("hi", model="m")
            manager.set_breaker("b", action="isolate")
            return await manager.generate_chat("hi", model="m")

        assert scene.run(body).provider == "a"


def test_the_deadline_ends_retries(stage):
    scene = stage(
        {"a": [[3.0, ServiceUnavailableError("down")]] * 9},
        providers={"a": {"retry_count": 8}},
        manager={"max_attempts": 9},
        retry={"base": 0.01, "max_delay": 0.01},
    )
    error = scene.failed_chat(LLMTimeoutError, deadline=10)
    assert scene.clock() == pytest.approx(1010, abs=0.02)
    assert [attempt.error_type for attempt in error.attempts] == [LLMErrorType.SERVICE_UNAVAILABLE_ERROR] * 3 + [
        LLMErrorType.TIMEOUT_ERROR
    ]


class TestErrors:
    def test_keep_attempts_provider_model_and_the_providers_request_id(self, stage):
        first = ServiceUnavailableError("down", status_code=503, retry_after=0.1, request_id="up-1")
        scene = stage({"a": [first], "b": [AuthenticationError("who are you", status_code=401, request_id="up-2")]})
        error = scene.failed_chat(AuthenticationError)
        assert (error.provider, error.model, error.request_id) == ("b", "m", "up-2")
        down, refused = error.attempts
        assert (down.provider, down.model, down.error_type) == ("a", "m", LLMErrorType.SERVICE_UNAVAILABLE_ERROR)
        assert (down.status_code, down.retry_after, down.request_id, down.message) == (503, 0.1, "up-1", "down")
        assert (refused.number, refused.provider, refused.status_code) == (2, "b", 401)

    def test_keep_their_cause(self, stage):
        cause = OSError("connection reset")

        def fail(_request, _context):
            raise ServiceUnavailableError("down") from cause

        error = stage({"a": [fail]}).failed_chat(ServiceUnavailableError)
        assert error.__cause__ is cause

    def test_foreign_exceptions_become_unknown_errors_with_their_cause(self, stage):
        cause = KeyError("usage")
        scene = stage({"a": [cause]})
        error = scene.failed_chat(UnknownError)
        assert error.__cause__ is cause
        assert error.original_error is cause
        assert not error.retryable
        assert "'a' raised KeyError" in str(error)

    def test_a_wrong_result_is_the_providers_failure(self, stage, scripted):
        class Wrong(scripted.ScriptedProvider):
            @scripted.hookimpl
            async def apex_generate(self, request, context):
                return "hello"

        scene = stage({"a": [], "b": ["b"]})
        scene.providers["a"] = Wrong()
        assert scene.chat().provider == "b"
        scene = stage({"a": []})
        scene.providers["a"] = Wrong()
        error = scene.failed_chat(UnknownError)
        assert "returned str in place of ChatGenerationResult from apex_generate" in str(error)

    def test_success_tells_the_attempts_before_it(self, stage):
        result = stage({"a": [ServiceUnavailableError("down")], "b": []}).chat()
        assert [(attempt.provider, attempt.error_type) for attempt in result.attempts] == [
            ("a", LLMErrorType.SERVICE_UNAVAILABLE_ERROR),
            ("b", None),
        ]


def test_events_tell_the_way(stage):
    down = ServiceUnavailableError("down")
    scene = stage({"a": [down, down], "b": []}, providers={"a": {"retry_count": 1}})
    scene.chat()
    [retry] = scene.events_of(RetryScheduled)
    [fell] = scene.events_of(FellBack)
    [finished] = scene.events_of(RequestFinished)
    assert (retry.provider, retry.number, retry.error_type) == ("a", 2, LLMErrorType.SERVICE_UNAVAILABLE_ERROR)
    assert retry.delay == pytest.approx(scene.a.times[1] - scene.a.times[0])
    assert (fell.from_provider, fell.to_provider) == ("a", "b")
    assert (finished.provider, finished.outcome, finished.attempts) == ("b", "ok", 3)
    assert len({retry.request_id, fell.request_id, finished.request_id}) == 1


MODELS = {"a": [{"id": "m"}], "b": [{"id": "other"}], "c": [{"id": "third"}]}


class TestFallbackModels:
    def scene(self, stage, scripts, names, **tables):
        return stage(
            scripts,
            providers={name: {"models": models} for name, models in MODELS.items()},
            fallback={"models": {"m": names}},
            **tables,
        )

    def test_go_on_when_all_candidates_failed(self, stage):
        down = ServiceUnavailableError("down")
        scene = self.scene(stage, {"a": [down], "b": [down], "c": []}, ["other", "third"])
        result = scene.chat()
        assert (result.provider, result.model) == ("c", "third")
        assert scene.called == "abc"
        assert [request.model for request in (scene.a.requests + scene.b.requests)] == ["m", "other"]

    def test_of_an_unserved_name_are_skipped(self, stage):
        scene = self.scene(stage, {"a": [ServiceUnavailableError("down")], "b": [], "c": []}, ["gone", "third"])
        with pytest.warns(UserWarning, match="gone"):
            assert scene.chat().model == "third"

    def test_are_not_asked_without_fallback(self, stage):
        scene = self.scene(
            stage,
            {"a": [ServiceUnavailableError("down")], "b": [], "c": []},
            ["other"],
            manager={"fallback_enabled": False},
        )
        scene.failed_chat(ServiceUnavailableError)
        assert scene.called == "a"


# -- a small model of the handler ---------------------------------------------------------------------------------------

KINDS = {
    "-": None,
    "r": LLMErrorType.RATE_LIMIT_ERROR,
    "s": LLMErrorType.SERVICE_UNAVAILABLE_ERROR,
    "i": LLMErrorType.INVALID_REQUEST_ERROR,
    "q": LLMErrorType.QUOTA_EXCEEDED_ERROR,
}


def predicted(scripts, retries, most):
    """The calls, and the final error type (None: answered)."""
    calls, error = "", None
    for name, script in scripts.items():
        for number, letter in enumerate((script + "-" * 9)[: retries[name] + 1]):
            calls += name
            error = KINDS[letter]
            if error is None:
                return calls, None
            again, on = TABLE[error]
            if not on or len(calls) == most:
                return calls, error
            others = len(scripts) - 1 - list(scripts).index(name)
            if not again or number == retries[name] or most - len(calls) <= others:
                break
    return calls, error


@given(
    scripts=st.fixed_dictionaries({name: st.text(alphabet="-rsiq", max_size=3) for name in "abc"}),
    retries=st.fixed_dictionaries({name: st.integers(0, 3) for name in "abc"}),
    most=st.integers(1, 8),
)
def test_any_script_goes_as_the_model_says(stage, scripts, retries, most):
    scene = stage(
        {
            name: [error_of(KINDS[letter]) if KINDS[letter] else "ok" for letter in script]
            for name, script in scripts.items()
        },
        providers={name: {"retry_count": count} for name, count in retries.items()},
        manager={"max_attempts": most, "circuit_breaker_threshold": 99},
        # A wait that is never too long: patience is tested above.
        retry={"patience": 60},
    )

    async def body(manager):
        try:
            result, error = await manager.generate_chat("hi", model="m"), None
        except LLMError as raised:
            result, error = None, raised
        scene.assert_settled(manager)
        return result, error

    result, error = scene.run(body)
    assert (scene.called, error and error.type) == predicted(scripts, retries, most)
    assert len((error or result).attempts) == len(scene.called)
    assert (error or result).provider == scene.called[-1]


class TestCooling:
    """A provider that said when to come back is left alone until then, by everybody."""

    def scene(self, stage, **more):
        limited = RateLimitError("slow down", retry_after=20)
        return stage(
            {"a": [limited, "a", "a"], "b": ["b"] * 5},
            providers={"a": {"retry_count": 0, "priority": 1}, "b": {"priority": 2}},
            **more,
        )

    def test_other_requests_pass_it_by_until_its_time_is_over(self, stage):
        scene = self.scene(stage)

        async def body(manager):
            answers = [await manager.generate_chat("hi", model="m") for _ in range(3)]
            scene.clock.advance(20.5)
            answers.append(await manager.generate_chat("hi", model="m"))
            return [(answer.provider, len(answer.attempts)) for answer in answers]

        assert scene.run(body) == [("b", 2), ("b", 1), ("b", 1), ("a", 1)]

    def test_it_is_asked_when_nobody_else_is_left(self, stage):
        scene = stage({"a": [RateLimitError("slow down", retry_after=20), "a"]}, providers={"a": {"retry_count": 0}})

        async def body(manager):
            with pytest.raises(RateLimitError):
                await manager.generate_chat("hi", model="m")
            return await manager.generate_chat("hi", model="m")

        assert scene.run(body).provider == "a"

    def test_when_all_cool_the_one_that_returns_first_is_asked(self, stage):
        scene = stage(
            {"a": [RateLimitError("later", retry_after=600)], "b": [RateLimitError("soon", retry_after=3), "b", "b"]},
            providers={name: {"retry_count": 0, "priority": place} for place, name in enumerate("ab")},
        )

        async def body(manager):
            with pytest.raises(RateLimitError, match="soon"):
                await manager.generate_chat("hi", model="m")
            return [(await manager.generate_chat("hi", model="m")).provider for _ in range(2)]

        assert scene.run(body) == ["b", "b"]
        assert scene.called == "abbb"

    def test_a_cooling_one_is_asked_after_the_others_failed(self, stage):
        scene = stage(
            {"a": [RateLimitError("soon", retry_after=3), "a"], "b": ["b", ServiceUnavailableError("down")]},
            providers={name: {"retry_count": 0, "priority": place} for place, name in enumerate("ab")},
        )

        async def body(manager):
            return [(await manager.generate_chat("hi", model="m")).provider for _ in range(2)]

        assert scene.run(body) == ["b", "a"]

    def test_one_that_returns_after_the_deadline_is_not(self, stage):
        scene = stage(
            {"a": [RateLimitError("later", retry_after=600)], "b": ["b", ServiceUnavailableError("down")]},
            providers={name: {"retry_count": 0, "priority": place} for place, name in enumerate("ab")},
        )

        async def body(manager):
            await manager.generate_chat("hi", model="m")
            with pytest.raises(ServiceUnavailableError):
                await manager.generate_chat("hi", model="m", deadline=60)

        scene.run(body)
        assert scene.called == "abb"

    def test_another_address_begins_without_it(self, stage):
        scene = self.scene(stage)

        async def body(manager):
            first = await manager.generate_chat("hi", model="m")
            changed = scene.config | {"providers": [dict(p) for p in scene.config["providers"]]}
            changed["providers"][0]["region"] = "elsewhere"
            await manager.reload(changed)
            return first.provider, (await manager.generate_chat("hi", model="m")).provider

        assert scene.run(body) == ("b", "a")

    def test_stats_tell_how_long(self, stage):
        scene = self.scene(stage)

        async def body(manager):
            await manager.generate_chat("hi", model="m")
            scene.clock.advance(5)
            return {facts["provider"]: facts["retry_after"] for facts in manager.stats()["candidates"]}

        assert scene.run(body) == {"a": 15, "b": 0}

    def test_nobody_is_left_alone_without_breakers(self, stage):
        scene = self.scene(stage, manager={"circuit_breaker_enabled": False})

        async def body(manager):
            return [(await manager.generate_chat("hi", model="m")).provider for _ in range(2)]

        assert scene.run(body) == ["b", "a"]
        assert (len(scene.a.calls), len(scene.b.calls)) == (2, 1)

    def test_a_day_is_cut_to_an_hour(self, stage):
        scene = stage(
            {"a": [QuotaExceededError("used up", retry_after=86_400), "a"], "b": ["b"]},
            providers={"a": {"retry_count": 0, "priority": 1}, "b": {"priority": 2}},
        )

        async def body(manager):
            first = await manager.generate_chat("hi", model="m")
            scene.clock.advance(3_601)
            return first.provider, (await manager.generate_chat("hi", model="m")).provider

        assert scene.run(body) == ("b", "a")


def test_secrets_are_removed_from_everything_an_error_says(stage):
    secret = "sk-0123456789abcdef0123"

    def fail(_request, _context):
        raise RateLimitError(
            f"{secret} is over its limit",
            request_id=f"for {secret}",
            details={"code": secret, "inner": [{"param": f"key={secret}"}], "number": 7},
        )

    error = stage({"a": [fail]}, providers={"a": {"retry_count": 0}}).failed_chat(RateLimitError)
    assert secret not in repr((vars(error), error.attempts))
    assert error.details["number"] == 7
