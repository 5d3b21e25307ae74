"""The simulated provider: serves at the pace of its behaviour, fails by its script, and keeps its books."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping
from math import ceil
from random import Random
from typing import Literal, NoReturn

import attrs

from apex_llm_core.config import ModelConfig, ProviderConfig
from apex_llm_core.context import CallContext
from apex_llm_core.errors import ERROR_CLASSES, LLMError, RateLimitError, ServiceUnavailableError
from apex_llm_core.hookspecs import ChunkBatch, Registrar, Runtime
from apex_llm_core.markers import hookimpl
from apex_llm_core.models import ChatGenerationChunk, ChatGenerationResult, ChatMessage, GenerateRequest, Usage
from apex_llm_simulator import prompts
from apex_llm_simulator.behaviour import Behaviour
from apex_llm_simulator.capacity import Allowance, advised
from apex_llm_simulator.faults import Fault, FaultScript
from apex_llm_simulator.ledger import Ledger

PROVIDER_TYPE = "simulated"
#: Seconds after which a connection on which nothing happens is dropped by somebody.
HANGING = 3_600.0
#: Seconds between two reads of a stream at most, so that slow answers are not taken for silent ones.
READ_PAUSE = 5.0
#: Seconds for which the remaining limits that it tells hold: they refill all the time.
_LIMITS_HOLD = 1.0
#: Where an answer breaks off.
_CUT_AT = 0.5


class Call:
    """One call that is served."""

    __slots__ = ("answer_tokens", "began", "context", "fault", "finish_reason", "first", "prompt_tokens", "rest")

    def __init__(self, context: CallContext, prompt_tokens: int, answer_tokens: int, longest: int | None) -> None:
        self.context = context
        self.prompt_tokens = prompt_tokens
        self.finish_reason: Literal["stop", "length"] = "stop"
        if longest is not None and longest < answer_tokens:
            answer_tokens, self.finish_reason = longest, "length"
        self.answer_tokens = answer_tokens
        #: Seconds until the answer begins, and from there to its end.
        self.first = self.rest = 0.0
        self.fault: Fault | None = None
        #: When the service began to work on it; None before.
        self.began: float | None = None

    @property
    def usage(self) -> Usage:
        """What the service reports at the end."""
        return Usage(prompt_tokens=self.prompt_tokens, completion_tokens=self.answer_tokens)

    def written(self, now: float) -> int:
        """Return the tokens of the answer that exist at *now*."""
        if self.began is None:
            return 0
        elapsed = now - self.began - self.first
        # Sums of waits differ from the whole in the last digits.
        if elapsed > self.rest - 1e-6:
            return self.answer_tokens
        return int(self.answer_tokens * max(0.0, elapsed) / self.rest)


class SimulatedProvider:
    """One provider of a scenario.

    Args:
        config: its configuration; prices and sizes are those of its models.
        behaviour: how it serves.
        script: what goes wrong.
        ledger: where it keeps its books.
        clock: seconds since the start.
        seed: for its draws.
    """

    def __init__(
        self,
        config: ProviderConfig,
        behaviour: Behaviour,
        script: FaultScript,
        ledger: Ledger,
        *,
        clock: Callable[[], float],
        seed: str,
    ) -> None:
        self._name = config.name
        self._models: Mapping[str, ModelConfig] = {model.id: model for model in config.models}
        self._behaviour = behaviour
        self._script = script
        self._ledger = ledger
        self._clock = clock
        self._first = behaviour.first_chunk.sampler(Random(f"{seed}/first_chunk"))
        self._pace = behaviour.tokens_per_second.sampler(Random(f"{seed}/tokens_per_second"))
        now = clock()
        requests, tokens = behaviour.requests_per_minute, behaviour.tokens_per_minute
        self._requests = Allowance(requests, now) if requests is not None else None
        self._tokens = Allowance(tokens, now) if tokens is not None else None

    @hookimpl
    async def apex_generate(self, request: GenerateRequest, context: CallContext) -> ChatGenerationResult:
        """Answer after as long as the stream would take."""
        call = self._received(request, context)
        try:
            await self._admit(call)
            cut = call.fault is not None
            await asyncio.sleep((call.first + call.rest) * (_CUT_AT if cut else 1.0))
            if cut:
                self._break_off(call)
            self._ledger.answered += 1
            return ChatGenerationResult(
                message=ChatMessage(role="assistant", content=prompts.filling(call.answer_tokens)),
                finish_reason=call.finish_reason,
                model=request.model,
                provider=self._name,
                usage=call.usage,
            )
        finally:
            self._settle(call)

    @hookimpl
    async def apex_stream(self, request: GenerateRequest, context: CallContext) -> AsyncGenerator[ChunkBatch, None]:
        """Answer in as few reads as show its pace: the beginning, and what came since every few seconds."""
        call = self._received(request, context)
        try:
            await self._admit(call)
            await asyncio.sleep(call.first)
            context.touch()
            yield [ChatGenerationChunk(text="word")]
            cut = call.fault is not None
            length = call.rest * (_CUT_AT if cut else 1.0)
            reads = max(1, ceil(length / READ_PAUSE))
            text = prompts.filling(max(0, int(call.answer_tokens * (_CUT_AT if cut else 1.0)) - 1) // reads)
            for read in range(reads):
                await asyncio.sleep(length / reads)
                context.touch()
                if cut or read < reads - 1:
                    yield [ChatGenerationChunk(text=text)]
            if cut:
                self._break_off(call)
            self._ledger.answered += 1
            yield [ChatGenerationChunk(text=text, finish_reason=call.finish_reason, usage=call.usage)]
        finally:
            self._settle(call)

    def _received(self, request: GenerateRequest, context: CallContext) -> Call:
        prompt_tokens, answer_tokens = prompts.read(request)
        self._ledger.begin(self._clock())
        return Call(context, prompt_tokens, answer_tokens, request.options.max_tokens)

    async def _admit(self, call: Call) -> None:
        """Begin to serve *call*, or let it meet what stands in its way; what strikes later stays with it."""
        model = self._model(call).id
        slower, fault = self._script.strike(model, self._clock())
        if fault is not None and fault.kind == "hang":
            await asyncio.sleep(HANGING)
            self._fail(call, "hang", ServiceUnavailableError("the connection was dropped after a long silence"))
        if fault is not None and fault.kind != "cut":
            if fault.delay:
                await asyncio.sleep(fault.delay)
            error = ERROR_CLASSES[fault.error_type](
                f"simulated {fault.kind}", status_code=fault.status_code, retry_after=fault.retry_after
            )
            self._fail(call, fault.error_type.value, error)
        self._check_limits(call)
        busy = self._behaviour.concurrent
        if busy is not None and self._ledger.in_flight > busy:
            if self._behaviour.overload == "refuse":
                self._fail(call, "overload", ServiceUnavailableError("overloaded", status_code=503))
            slower *= self._ledger.in_flight / busy
        call.first = self._first() * slower
        call.rest = call.answer_tokens / self._pace() * slower
        call.fault = fault
        call.began = self._clock()

    def _check_limits(self, call: Call) -> None:
        """Take *call* from what is admitted per minute, and tell what is left, as services do in headers."""
        now = self._clock()
        requests, tokens = self._requests, self._tokens
        if requests is None and tokens is None:
            return
        size = call.prompt_tokens + call.answer_tokens
        wait = requests.wait(1, now) if requests is not None else 0.0
        if tokens is not None:
            wait = max(wait, tokens.wait(size, now))
        if not wait:
            if requests is not None:
                requests.take(1, now)
            if tokens is not None:
                tokens.take(size, now)
        call.context.note_rate_limits(
            remaining_requests=None if requests is None else requests.remaining(now),
            remaining_tokens=None if tokens is None else tokens.remaining(now),
            seconds=_LIMITS_HOLD,
        )
        if wait:
            error = RateLimitError("the limit per minute is used up", status_code=429, retry_after=advised(wait))
            self._fail(call, "limit", error)

    def _break_off(self, call: Call) -> NoReturn:
        self._fail(call, "cut", ServiceUnavailableError("the connection was reset within the answer"))

    def _fail(self, call: Call, what: str, error: LLMError) -> NoReturn:
        self._ledger.failures[what] += 1
        error.provider = self._name
        error.model = self._model(call).id
        raise error

    def _settle(self, call: Call) -> None:
        """Bill what was written, whether anybody still waits for it or not."""
        self._ledger.in_flight -= 1
        if call.began is not None:
            self._ledger.charge(self._model(call), call.prompt_tokens, call.written(self._clock()))

    def _model(self, call: Call) -> ModelConfig:
        candidate = call.context.candidate
        model = "" if candidate is None else candidate.model
        found = self._models.get(model)
        return ModelConfig(id=model) if found is None else found


@attrs.frozen(kw_only=True, eq=False)
class SimulatedProviders:
    """A plugin that offers the type "simulated"; *make* builds the provider of a configuration."""

    make: Callable[[ProviderConfig], SimulatedProvider]

    @hookimpl
    def apex_register(self, registrar: Registrar) -> None:
        """Offer the provider type."""
        registrar.provider(PROVIDER_TYPE, self._factory)

    def _factory(self, config: ProviderConfig, _settings: None, _runtime: Runtime) -> SimulatedProvider:
        return self.make(config)


__all__ = ["HANGING", "PROVIDER_TYPE", "READ_PAUSE", "SimulatedProvider", "SimulatedProviders"]
