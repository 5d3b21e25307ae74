"""What ``[providers.options]`` of a mock provider may say. Every key has a default; durations are seconds."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from types import MappingProxyType
from typing import Any, Literal

import attrs

from apex_llm_core.config import setting
from apex_llm_core.errors import LLMErrorType, nearest
from apex_llm_core.models import HealthState
from apex_llm_mock.images import parse_size

Distribution = Literal["constant", "uniform", "normal", "lognormal", "exponential"]
Operation = Literal["generate", "stream", "embed", "image", "models", "health"]
When = Literal["before", "mid_stream", "truncated", "hang"]

_DISTRIBUTIONS = ("constant", "uniform", "normal", "lognormal", "exponential")
_OPERATIONS = ("generate", "stream", "embed", "image", "models", "health")
_REQUESTS = ("generate", "stream", "embed", "image")
_WHENS = ("before", "mid_stream", "truncated", "hang")


def _check_word(key: str, value: str, choices: Collection[str]) -> None:
    if value not in choices:
        raise ValueError(f"{key} is {value!r}{nearest(str(value), choices)}")


def _error_type(value: str) -> LLMErrorType:
    _check_word("error", value, [kind.value for kind in LLMErrorType])
    return LLMErrorType(value)


def _optional_error_type(value: str | None) -> LLMErrorType | None:
    return None if value is None else _error_type(value)


def _health_state(value: str) -> HealthState:
    _check_word("health", value, [state.value for state in HealthState])
    return HealthState(value)


@attrs.frozen(kw_only=True)
class Latency:
    """A distribution of waiting times. `low` and `high` bound every distribution; "uniform" lies between them."""

    distribution: Distribution = setting("constant", doc="constant, uniform, normal, lognormal or exponential.")
    seconds: float = setting(
        0.0, low=0, doc="The constant; the mean of normal and exponential; the median of lognormal."
    )
    deviation: float = setting(0.0, low=0, doc="Standard deviation of normal (seconds); sigma of lognormal (no unit).")
    low: float = setting(0.0, low=0, doc="Never shorter than this.")
    high: float | None = setting(None, low=0, doc="Never longer than this; uniform needs it.")

    def __attrs_post_init__(self) -> None:
        _check_word("distribution", self.distribution, _DISTRIBUTIONS)
        if self.high is not None and self.high < self.low:
            raise ValueError(f"high is {self.high}, below low, which is {self.low}")
        if self.distribution == "uniform" and self.high is None:
            raise ValueError("a uniform latency needs 'high' (and takes 'low'), in seconds")
        if self.distribution == "uniform" and (self.seconds or self.deviation):
            raise ValueError("a uniform latency takes 'low' and 'high' only, not 'seconds' or 'deviation'")
        if self.deviation and self.distribution not in ("normal", "lognormal"):
            raise ValueError(f"'deviation' means nothing to a latency that is {self.distribution}")


@attrs.frozen(kw_only=True)
class ScriptedToolCall:
    """A tool call in a scripted reply."""

    name: str = setting(doc="The tool.")
    arguments: Mapping[str, Any] = setting(factory=lambda: MappingProxyType({}), doc="The arguments.")
    arguments_text: str | None = setting(
        None, doc="The arguments as text, sent as it stands; for JSON that does not parse."
    )
    id: str = setting("", doc="The id of the call; empty: made from the conversation.")


@attrs.frozen(kw_only=True)
class Reply:
    """One scripted answer. With `error` and text, a stream delivers the text and then fails."""

    text: str = setting("", doc="The text; {prompt} stands for the prompt.")
    tool_calls: tuple[ScriptedToolCall, ...] = setting((), doc="Tools to call.", converter=tuple)
    reasoning: str = setting("", doc="Reasoning before the answer.")
    finish_reason: str = setting("", doc="Empty: the one that follows from the answer.")
    error: LLMErrorType | None = setting(None, doc="Fail with this type.", converter=_optional_error_type)
    message: str = setting("", doc="Text of the error.")
    status_code: int | None = setting(None, low=100, high=599, doc="HTTP status of the error; absent: the usual one.")
    retry_after: float | None = setting(None, low=0, doc="Seconds the error advises to wait.")
    retryable: bool | None = setting(None, doc="Whether the error may be retried; absent: as its type says.")

    def __attrs_post_init__(self) -> None:
        if self.error is None:
            for key in ("message", "status_code", "retry_after", "retryable"):
                if getattr(self, key) not in ("", None):
                    raise ValueError(f"{key!r} of a scripted reply belongs to an 'error', which is not given")


def _windows(value: Iterable[Iterable[float]]) -> tuple[tuple[float, float], ...]:
    found = [tuple(window) for window in value]
    for window in found:
        if len(window) != 2 or not 0 <= window[0] < window[1]:
            raise ValueError(f"a window is [from, until] in seconds with 0 <= from < until, not {list(window)}")
    return tuple((window[0], window[1]) for window in found)


@attrs.frozen(kw_only=True)
class Fault:
    """A failure on order: it strikes a call for which every given condition holds; without any, every call.

    Calls are counted from 1, per fault, over those calls that its `operations` and `models` select.
    """

    error: LLMErrorType = setting(
        LLMErrorType.SERVICE_UNAVAILABLE_ERROR, doc="One of the eleven types.", converter=_error_type
    )
    when: When = setting(
        "before",
        doc="before (at once), mid_stream (error after some chunks), truncated (a stream that ends without finish reason), hang (silence for ever).",
    )
    after_chunks: int | None = setting(
        None,
        low=0,
        doc="How many chunks a stream delivers before the fault; absent: 0 for hang, 1 for mid_stream and truncated.",
    )
    probability: float | None = setting(None, low=0, high=1, doc="Condition: strike with this probability.")
    first: int | None = setting(None, low=1, doc="Condition: only the first calls, this many.")
    every: int | None = setting(None, low=1, doc="Condition: only every so manieth call.")
    calls: tuple[int, ...] = setting((), doc="Condition: only calls with these numbers.", converter=tuple)
    windows: tuple[tuple[float, float], ...] = setting(
        (),
        doc="Condition: only within these spans, [from, until) in seconds since the provider was made.",
        converter=_windows,
    )
    operations: tuple[Operation, ...] = setting(
        _REQUESTS,
        doc="Calls it concerns: generate, stream, embed, image; models and health only when named.",
        converter=tuple,
    )
    models: tuple[str, ...] = setting(
        (), doc="Patterns (* and ?) of the models it concerns; empty: all.", converter=tuple
    )
    message: str = setting("", doc="Text of the error.")
    status_code: int | None = setting(None, low=100, high=599, doc="HTTP status of the error; absent: the usual one.")
    retry_after: float | None = setting(None, low=0, doc="Seconds the error advises to wait.")
    retryable: bool | None = setting(None, doc="Whether the error may be retried; absent: as its type says.")

    def __attrs_post_init__(self) -> None:
        _check_word("when", self.when, _WHENS)
        if not self.operations:
            raise ValueError("a fault without 'operations' never strikes; leave the key out for all of them")
        for operation in self.operations:
            _check_word("operations", operation, _OPERATIONS)
        for call in self.calls:
            if call < 1:
                raise ValueError(f"calls are counted from 1; {call} is none")
        if self.after_chunks is not None and self.when == "before":
            raise ValueError("'after_chunks' means nothing to a fault that strikes before the answer; set 'when'")

    @property
    def chunks_before(self) -> int:
        """How many chunks a stream delivers before the fault."""
        if self.after_chunks is not None:
            return self.after_chunks
        return 1 if self.when in ("mid_stream", "truncated") else 0


#: What an error is made from.
Failure = Reply | Fault


@attrs.frozen(kw_only=True)
class MockSettings:
    """The settings of a mock provider."""

    reply: str = setting("echo", doc="echo (the prompt comes back), or a text in which {prompt} stands for the prompt.")
    script: tuple[Reply, ...] = setting(
        (), doc="Answers in order, one per generate or stream call; instead of 'reply'.", converter=tuple
    )
    script_end: Literal["cycle", "repeat"] = setting(
        "cycle", doc="After the script: begin again, or repeat the last answer."
    )
    chunk_size: int = setting(16, low=1, doc="Characters per chunk of a stream.")
    chunks_per_read: int = setting(1, low=1, doc="Chunks that arrive together.")
    first_chunk: Latency = setting(
        factory=Latency, doc="Waiting time until the answer begins; whole calls wait it, too."
    )
    between_chunks: Latency = setting(
        factory=Latency, doc="Waiting time between two reads of a stream; a whole answer takes as long as its stream."
    )
    embedding_dimensions: int = setting(256, low=1, high=8192, doc="Length of vectors when the request names none.")
    image_size: str = setting("256x256", doc="Size of images when the request names none.")
    unknown_models: Literal["refuse", "serve"] = setting(
        "refuse", doc="What to do with a model that is neither configured nor one of the mock's own."
    )
    faults: tuple[Fault, ...] = setting(
        (), doc="Failures on order; the first that strikes a call wins.", converter=tuple
    )
    health: HealthState = setting(HealthState.HEALTHY, doc="What the health check answers.", converter=_health_state)
    health_message: str = setting("", doc="The text beside it.")
    seed: int = setting(0, doc="Changes vectors, images, ids, and the draws of latencies and faults.")

    def __attrs_post_init__(self) -> None:
        _check_word("script_end", self.script_end, ("cycle", "repeat"))
        _check_word("unknown_models", self.unknown_models, ("refuse", "serve"))
        parse_size(self.image_size)


__all__ = ["Failure", "Fault", "Latency", "MockSettings", "Reply", "ScriptedToolCall"]
