"""Fallback by the type of the failure, and requests that are changed for candidates that lack something."""

from __future__ import annotations

import pytest

from apex_llm_core.errors import (
    ContentFilterError,
    ContextLengthExceededError,
    InvalidRequestError,
    ModelNotFoundError,
    RateLimitError,
    ServiceUnavailableError,
    UnsupportedParameterError,
)
from apex_llm_core.models import RequestAdapted, ResponseFormat


def models(**windows):
    return [{"id": name, **({"max_tokens": window} if window else {})} for name, window in windows.items()]


class TestContextLength:
    FULL = ContextLengthExceededError("too long")

    def test_the_configured_models_come_first(self, stage):
        scene = stage(
            {"a": [self.FULL], "b": [], "c": ["c"]},
            providers={"a": {"models": models(m=8)}, "b": {"models": models(m=0)}, "c": {"models": models(large=0)}},
            fallback={"context_length": {"m": ["large"]}},
        )
        result = scene.chat()
        assert (result.provider, result.model) == ("c", "large")

    def test_without_them_only_larger_windows_are_asked(self, stage):
        scene = stage(
            {"a": [self.FULL], "b": [], "c": ["c"]},
            providers={name: {"models": models(m=window)} for name, window in {"a": 8, "b": 4, "c": 16}.items()},
        )
        assert scene.chat().provider == "c"
        assert scene.b.calls == []

    def test_a_configured_model_that_is_too_small_is_passed_over(self, stage):
        scene = stage(
            {"a": [self.FULL], "b": []},
            providers={"a": {"models": models(m=8)}, "b": {"models": models(small=4)}},
            fallback={"context_length": {"m": ["small"]}},
        )
        scene.failed_chat(ContextLengthExceededError)
        assert scene.b.calls == []


class TestContentFilter:
    REFUSED = ContentFilterError("refused")

    def test_is_final_without_a_chain(self, stage):
        scene = stage({"a": [self.REFUSED], "b": []})
        scene.failed_chat(ContentFilterError)
        assert scene.b.calls == []

    def test_only_the_allowed_models_may_answer(self, stage):
        scene = stage(
            {"a": [self.REFUSED], "b": [], "c": ["c"]},
            providers={"c": {"models": models(other=0)}},
            fallback={"content_filter": {"m": ["other"]}},
        )
        assert scene.chat().provider == "c"
        assert scene.b.calls == []

    def test_when_they_refuse_too_it_is_final(self, stage):
        scene = stage(
            {"a": [self.REFUSED], "b": [], "c": [self.REFUSED]},
            providers={"c": {"models": models(other=0)}},
            fallback={"content_filter": {"m": ["other"]}},
        )
        error = scene.failed_chat(ContentFilterError)
        assert [attempt.provider for attempt in error.attempts] == ["a", "c"]


class TestUnsupportedParameters:
    NO_TOP_P = UnsupportedParameterError("takes no top_p", parameters=["top_p"])

    def test_another_candidate_may_take_it(self, stage):
        scene = stage({"a": [self.NO_TOP_P], "b": ["b"]})
        assert scene.chat(top_p=0.5).provider == "b"

    def test_nobody_takes_it(self, stage):
        scene = stage({"a": [self.NO_TOP_P], "b": [self.NO_TOP_P]})
        error = scene.failed_chat(UnsupportedParameterError, top_p=0.5)
        assert len(error.attempts) == 2
        assert error.parameters == ("top_p",)

    def test_what_else_went_wrong_is_told_rather(self, stage):
        scene = stage({"a": [RateLimitError("slow down")], "b": [self.NO_TOP_P]})
        error = scene.failed_chat(RateLimitError, top_p=0.5)
        assert len(error.attempts) == 2

    def test_it_says_nothing_about_the_provider(self, stage):
        scene = stage({"a": [self.NO_TOP_P], "b": []}, manager={"circuit_breaker_threshold": 1})

        async def body(manager):
            await manager.generate_chat("hi", model="m", top_p=0.5)
            return manager.providers[0].candidates["m"].live

        live = scene.run(body)
        assert (live.breaker, live.success_rate) == ("closed", None)

    def test_by_policy_it_is_left_out_in_the_end(self, stage):
        scene = stage({"a": [self.NO_TOP_P, "a"], "b": [self.NO_TOP_P]}, fallback={"missing_features": "drop"})
        result = scene.chat(top_p=0.5)
        assert result.provider == "a"
        assert scene.a.requests[1].options.top_p is None
        [change] = result.details["adapted"]
        assert change.startswith("top_p")
        assert result.attempts[-1].adapted == (change,)
        assert scene.events_of(RequestAdapted)[0].changes == (change,)

    def test_a_request_that_is_wrong_everywhere_is_not_tried_again(self, stage):
        scene = stage({"a": [InvalidRequestError("no")], "b": []}, fallback={"missing_features": "emulate"})
        scene.failed_chat(InvalidRequestError)
        assert scene.b.calls == []


class TestMissingFeatures:
    FORMAT = ResponseFormat(type="json")

    def scene(self, stage, policy, scripts=None, **tables):
        return stage(
            scripts or {"a": [ServiceUnavailableError("down")], "b": ["b"]},
            providers={
                "a": {"models": [{"id": "m", "capabilities": ["chat", "json", "stream"]}]},
                "b": {"models": [{"id": "m", "capabilities": ["chat"]}]},
            },
            fallback={"missing_features": policy},
            **tables,
        )

    def test_by_default_who_lacks_something_is_not_asked(self, stage):
        scene = self.scene(stage, "error")
        scene.failed_chat(ServiceUnavailableError, response_format=self.FORMAT)
        assert scene.b.calls == []

    @pytest.mark.parametrize("policy", ["drop", "emulate"])
    def test_the_request_is_changed_and_that_is_told(self, stage, policy):
        scene = self.scene(stage, policy)
        result = scene.chat(response_format=self.FORMAT)
        assert result.provider == "b"
        assert scene.b.requests[0].options.response_format is None
        assert result.details["adapted"]
        # An instruction stands in for the format.
        assert (len(scene.b.requests[0].messages) > 1) == (policy == "emulate")

    def test_a_stream_is_emulated_from_the_whole_answer(self, stage):
        scene = self.scene(stage, "emulate")

        async def body(manager):
            stream = manager.generate_chat_stream("hi", model="m")
            texts = [chunk.text async for chunk in stream if chunk.text]
            return texts, stream.provider, stream.usage.completion_tokens

        assert scene.run(body) == (["b"], "b", 5)

    def test_who_can_comes_before_who_cannot(self, stage):
        scene = self.scene(stage, "emulate", {"a": ["a"], "b": ["b"]})
        assert scene.chat(response_format=self.FORMAT).provider == "a"

    def test_when_nobody_can_the_request_is_changed_at_once(self, stage):
        scene = self.scene(stage, "emulate", {"a": [], "b": ["b"]})
        assert scene.chat(response_format=self.FORMAT, provider="b").provider == "b"

    def test_what_cannot_be_changed_is_an_error(self, stage):
        scene = self.scene(stage, "emulate", {"a": [], "b": ["b"]})

        async def body(manager):
            with pytest.raises(ModelNotFoundError, match="lacks embed"):
                await manager.generate_embedding("hi", model="m", provider="b")

        scene.run(body)
