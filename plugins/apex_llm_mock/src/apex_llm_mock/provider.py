"""The provider itself: hooks that count tokens, wait, fail on order, and answer."""

from __future__ import annotations

import asyncio
from base64 import b64encode
from collections.abc import AsyncGenerator, Iterator
from itertools import islice
from random import Random
from typing import Never

import attrs

from apex_llm_core.config import ProviderConfig
from apex_llm_core.context import CallContext
from apex_llm_core.errors import InvalidRequestError
from apex_llm_core.hookspecs import ChunkBatch, Runtime
from apex_llm_core.markers import hookimpl
from apex_llm_core.models import (
    ChatGenerationResult,
    Choice,
    EmbeddingResult,
    EmbedRequest,
    GenerateRequest,
    HealthStatus,
    ImageGenerationResult,
    ImageRequest,
    ModelInfo,
    ProviderCapabilities,
    Usage,
)
from apex_llm_mock import images, tokens, vectors
from apex_llm_mock.catalogue import CAPABILITIES, SERVED, Catalogue, Target
from apex_llm_mock.chunks import batched, chunks_of
from apex_llm_mock.faults import FaultPlanner, error_for
from apex_llm_mock.latency import LatencySource
from apex_llm_mock.replies import Answer, Replier, logprobs_of, message_of
from apex_llm_mock.settings import Failure, Fault, MockSettings, Operation

LARGEST_DIMENSIONS = 8192
MOST_CHOICES = 128
MOST_IMAGES = 10
#: After so many vectors other tasks get a turn.
VECTORS_PER_TURN = 16


class MockProvider:
    """One configured mock. All that happens follows from its settings, its name and the order of the calls."""

    def __init__(self, config: ProviderConfig, settings: MockSettings, runtime: Runtime) -> None:
        self._name = config.name
        self._settings = settings
        self._catalogue = Catalogue(config, serve_unknown=settings.unknown_models == "serve")
        self._replier = Replier(settings)
        # Separate draws: a latency that is added does not move the faults.
        own = f"{settings.seed}/{config.name}"
        self._first = LatencySource(settings.first_chunk, Random(f"{own}/first_chunk"))
        self._between = LatencySource(settings.between_chunks, Random(f"{own}/between_chunks"))
        self._waits = not (self._first.never and self._between.never)
        self._faults: FaultPlanner | None = None
        if settings.faults:
            self._faults = FaultPlanner(settings.faults, clock=runtime.clock, random=Random(f"{own}/faults"))
        self._calls = 0

    @hookimpl
    async def apex_generate(self, request: GenerateRequest, context: CallContext) -> ChatGenerationResult:
        """Answer at once, or after as long as the stream would take."""
        target = self._catalogue.target(request.model, request.needs, context)
        failure: Failure | None = await self._fault("generate", target)
        answers, usage, scripted = self._answer(request, target)
        if self._waits:
            reads = sum(1 for _ in self._reads(answers, usage))
            await asyncio.sleep(self._first.draw() + sum(self._between.draw() for _ in range(reads - 1)))
        failure = failure or scripted
        if failure is not None:
            await self._fail(failure, target)
        choices = [
            Choice(
                index=index,
                message=message_of(answer, request),
                finish_reason=answer.finish_reason,
                logprobs=logprobs_of(answer.text) if request.options.logprobs else None,
            )
            for index, answer in enumerate(answers)
        ]
        return ChatGenerationResult(
            message=choices[0].message,
            finish_reason=choices[0].finish_reason,
            choices=tuple(choices),
            model=target.model,
            provider=target.provider,
            usage=usage,
            request_id=self._request_id(),
        )

    @hookimpl
    async def apex_stream(self, request: GenerateRequest, context: CallContext) -> AsyncGenerator[ChunkBatch, None]:
        """Answer in chunks of the configured size and pace."""
        target = self._catalogue.target(request.model, request.needs, context)
        fault = await self._fault("stream", target)
        answers, usage, scripted = self._answer(request, target)
        reads = self._reads(answers, usage)
        if fault is not None:
            reads = self._reads(answers, usage, most=fault.chunks_before)
        elif scripted is not None:
            reads = self._reads(answers, usage, finished=False)
        waiting = self._first
        for batch in reads:
            if self._waits:
                await asyncio.sleep(waiting.draw())
                waiting = self._between
            context.touch()
            yield batch
        if fault is not None and fault.when == "truncated":
            return
        failure = fault or scripted
        if failure is not None:
            await self._fail(failure, target)

    @hookimpl
    async def apex_count_tokens(self, request: GenerateRequest, context: CallContext) -> int:  # noqa: ARG002 - the hook's
        """Count the prompt as its answer's usage would."""
        return tokens.count_prompt(request)

    @hookimpl
    async def apex_embed(self, request: EmbedRequest, context: CallContext) -> EmbeddingResult:
        """Embed each text by its hash."""
        target = self._catalogue.target(request.model, request.needs, context)
        fault = await self._fault("embed", target)
        dimensions = request.options.dimensions or self._settings.embedding_dimensions
        if dimensions > LARGEST_DIMENSIONS:
            raise target.refusal(
                InvalidRequestError, f"dimensions is {dimensions}; vectors have at most {LARGEST_DIMENSIONS} numbers"
            )
        sizes = [tokens.count(text) for text in request.texts]
        for size in sizes:
            target.check_fits(size)
        await self._wait_once(fault, target)
        found: list[tuple[float, ...]] = []
        for text in request.texts:
            found.append(vectors.embed(text, dimensions=dimensions, seed=self._settings.seed))
            if len(found) % VECTORS_PER_TURN == 0:
                await asyncio.sleep(0)
        return EmbeddingResult(
            embeddings=tuple(found),
            model=target.model,
            provider=target.provider,
            usage=Usage(prompt_tokens=sum(sizes)),
            request_id=self._request_id(),
        )

    @hookimpl
    async def apex_image(self, request: ImageRequest, context: CallContext) -> ImageGenerationResult:
        """Draw PNG images from the prompt's hash."""
        target = self._catalogue.target(request.model, request.needs, context)
        fault = await self._fault("image", target)
        options = request.options
        amount = options.n or 1
        if amount > MOST_IMAGES:
            raise target.refusal(
                InvalidRequestError, f"n is {amount}; at most {MOST_IMAGES} images are drawn at a time"
            )
        try:
            width, height = images.parse_size(options.size or self._settings.image_size)
        except ValueError as error:
            raise target.refusal(InvalidRequestError, str(error)) from error
        size = tokens.count(request.prompt)
        target.check_fits(size)
        await self._wait_once(fault, target)
        key = f"{self._settings.seed}/{options.seed}/{options.quality}/{options.style}/{request.prompt}"
        for part in (*(options.images or ()), *((options.mask,) if options.mask is not None else ())):
            key += f"/{part.data}"
        return ImageGenerationResult(
            images=tuple(b64encode(images.draw(f"{key}/{index}", width, height)).decode() for index in range(amount)),
            media_type="image/png",
            model=target.model,
            provider=target.provider,
            usage=Usage(prompt_tokens=size, completion_tokens=amount * images.tokens(width, height)),
            request_id=self._request_id(),
        )

    @hookimpl
    async def apex_models(self, context: CallContext) -> list[ModelInfo]:  # noqa: ARG002 - the hook's signature
        """List the mock's own models."""
        await self._outside_requests("models")
        return [attrs.evolve(model, provider=self._name, provider_model_id=model.id) for model in SERVED]

    @hookimpl
    def apex_capabilities(self) -> ProviderCapabilities:
        """Tell what the mock can do."""
        return CAPABILITIES

    @hookimpl
    async def apex_health(self, context: CallContext) -> HealthStatus:  # noqa: ARG002 - the hook's signature
        """Answer what the settings say."""
        await self._outside_requests("health")
        return HealthStatus(
            status=self._settings.health,
            latency=0.0,
            message=self._settings.health_message,
            details={"answered": self._calls},
        )

    def _answer(self, request: GenerateRequest, target: Target) -> tuple[list[Answer], Usage, Failure | None]:
        prompt_tokens = tokens.count_prompt(request)
        room = target.room_after(prompt_tokens)
        count = request.options.n
        if count is not None and count > MOST_CHOICES:
            raise target.refusal(InvalidRequestError, f"n is {count}; at most {MOST_CHOICES} alternatives are written")
        scripted = self._replier.next_scripted()
        try:
            answers = self._replier.answers(request, scripted, room)
        except InvalidRequestError as error:
            raise target.refusal(InvalidRequestError, error.message) from error
        completion = reasoning = 0
        for answer in answers:
            completion += answer.tokens
            if answer.reasoning:
                reasoning += tokens.count(answer.reasoning)
        usage = Usage(prompt_tokens=prompt_tokens, completion_tokens=completion, reasoning_tokens=reasoning)
        return answers, usage, scripted if scripted is not None and scripted.error is not None else None

    def _reads(
        self, answers: list[Answer], usage: Usage, *, most: int | None = None, finished: bool = True
    ) -> Iterator[ChunkBatch]:
        """Yield what each network read would bring; with *most* or not *finished*, the stream breaks off before its end."""
        chunks = chunks_of(answers, usage, self._settings.chunk_size)
        if most is not None or not finished:
            chunks = islice((chunk for chunk in chunks if chunk.finish_reason is None), most)
        return batched(chunks, self._settings.chunks_per_read)

    async def _fault(self, operation: Operation, target: Target) -> Fault | None:
        """Count the call; let a fault strike that comes before the answer, return one that comes later."""
        if self._faults is None:
            return None
        fault = self._faults.next(operation, target.model)
        if fault is not None and fault.when == "before":
            await self._fail(fault, target)
        return fault

    async def _wait_once(self, fault: Fault | None, target: Target) -> None:
        if not self._first.never:
            await asyncio.sleep(self._first.draw())
        if fault is not None:
            await self._fail(fault, target)

    async def _outside_requests(self, operation: Operation) -> None:
        target = Target(provider=self._name, model="", model_id="")
        fault = await self._fault(operation, target)
        if fault is not None:
            await self._fail(fault, target)

    async def _fail(self, failure: Failure, target: Target) -> Never:
        if isinstance(failure, Fault) and failure.when == "hang":
            await asyncio.Event().wait()
        raise error_for(failure, provider=target.provider, model=target.model)

    def _request_id(self) -> str:
        self._calls += 1
        return f"{self._name}-{self._calls}"


__all__ = ["MockProvider"]
