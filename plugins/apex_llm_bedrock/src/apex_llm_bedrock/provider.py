"""The provider: one AWS account seen from one region, its hooks."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing, suppress
from pathlib import Path

import attrs

from apex_llm_bedrock.answers import chat_result, malformed, request_id_of
from apex_llm_bedrock.auth import CredentialSources, make_authenticator
from apex_llm_bedrock.bodies import weight, written
from apex_llm_bedrock.catalogue import Catalogue
from apex_llm_bedrock.client import BedrockClient
from apex_llm_bedrock.counting import count_tokens
from apex_llm_bedrock.embeddings import embed
from apex_llm_bedrock.endpoints import check_region
from apex_llm_bedrock.failures import refuses_streamed_tools
from apex_llm_bedrock.images import generate_images
from apex_llm_bedrock.invoke.streaming import InvokeStreamDecoder
from apex_llm_bedrock.invoke.text import InvokeStream, invoke_body, invoke_result
from apex_llm_bedrock.invoke_headers import invoke_headers
from apex_llm_bedrock.models import Model, Models
from apex_llm_bedrock.requests import converse_body
from apex_llm_bedrock.settings import BedrockSettings
from apex_llm_bedrock.streaming import ConverseStreamDecoder
from apex_llm_bedrock.surroundings import environment_region
from apex_llm_core.config import ProviderConfig
from apex_llm_core.context import CallContext
from apex_llm_core.errors import ConfigurationError, InvalidRequestError, LLMError
from apex_llm_core.hookspecs import ChunkBatch, Runtime
from apex_llm_core.interfaces import HttpResponse
from apex_llm_core.markers import hookimpl
from apex_llm_core.models import (
    ChatGenerationChunk,
    ChatGenerationResult,
    EmbeddingResult,
    EmbedRequest,
    GenerateRequest,
    HealthStatus,
    ImageGenerationResult,
    ImageRequest,
    ModelInfo,
    ProviderCapabilities,
    ReasoningPart,
    TextPart,
    ToolCallDelta,
    ToolCallPart,
)

#: Seconds that the end of a stream may take after its last event; a new connection costs no more than waiting longer.
_DRAIN = 0.05
_EVENT_STREAM = "application/vnd.amazon.eventstream"


class BedrockProvider:
    """One configured account and region."""

    def __init__(
        self, config: ProviderConfig, settings: BedrockSettings, runtime: Runtime, sources: CredentialSources
    ) -> None:
        self._name = config.name
        if not settings.region and config.region and _is_region(config.region):
            settings = attrs.evolve(settings, region=config.region)
        if not settings.region:
            _check_region(config, os.environ)
        self._settings = settings
        auth = make_authenticator(config, settings, runtime, sources, environ=os.environ)
        self._client = BedrockClient(runtime.http_trusting, auth, settings, allow_insecure=config.allow_insecure)
        self._catalogue = Catalogue(self._client, ttl=settings.models_ttl, clock=runtime.clock)
        self._models = Models(config, settings, self._catalogue.base_of)

    @hookimpl
    async def apex_generate(self, request: GenerateRequest, context: CallContext) -> ChatGenerationResult:
        """Answer by Converse, or by InvokeModel for a model that does without."""
        model = self._models.known(context, request.model) or await self._models.of(context, request.model)
        if model.invoke_format:
            return await self._invoked(request, model, context)
        return await self._converse(request, model, context)

    @hookimpl
    async def apex_stream(self, request: GenerateRequest, context: CallContext) -> AsyncGenerator[ChunkBatch, None]:
        """Answer by ConverseStream, by InvokeModel's stream, or in one piece by a model that takes no tools in streams."""
        model = self._models.known(context, request.model) or await self._models.of(context, request.model)
        decoder: ConverseStreamDecoder | InvokeStreamDecoder
        if model.invoke_format:
            size = weight(request)
            invoked = await written(size, invoke_body, model.invoke_format, request, model, self._settings, True)
            response = await self._client.call(
                model,
                "invoke-with-response-stream",
                invoked.document,
                context,
                headers=invoke_headers(self._settings, request.options.user),
                size=size,
            )
            headers = response.headers
            pieces = InvokeStream(model.invoke_format, headers, invoked.reading)
            decoder = InvokeStreamDecoder(lambda message: self._client.failure_of(message, headers), pieces)
        else:
            size = weight(request)
            body = await written(size, converse_body, request, model, self._settings)
            whole = "toolConfig" in body.document and (model.whole_with_tools or not model.family.tools_in_streams)
            if not whole:
                try:
                    response = await self._client.call(model, "converse-stream", body.document, context, size=size)
                except InvalidRequestError as error:
                    whole = "toolConfig" in body.document and refuses_streamed_tools(error)
                    if not whole:
                        raise
                    model.whole_with_tools = True
            if whole:
                yield in_one_piece(await self._converse(request, model, context))
                return
            headers = response.headers
            decoder = ConverseStreamDecoder(lambda message: self._client.failure_of(message, headers), body.reading)
        await self._check_stream(response)
        async with aclosing(response.chunks()) as reads:
            try:
                async for data in reads:
                    chunks = decoder.feed(data)
                    if chunks:
                        yield chunks
                    if decoder.done:
                        await _drain(reads)
                        return
                    if decoder.failure is not None:
                        raise decoder.failure
                chunks = decoder.close()
                if chunks:
                    yield chunks
                if decoder.failure is not None:
                    raise decoder.failure
            except LLMError as error:
                chunks = decoder.broken(error)
                if chunks:
                    yield chunks
                    return
                raise _located(error, headers, decoder.received) from error.__cause__

    @hookimpl
    async def apex_count_tokens(self, request: GenerateRequest, context: CallContext) -> int | None:
        """Count the tokens of a prompt by CountTokens, which bills nothing."""
        model = await self._models.of(context, request.model)
        return await count_tokens(self._client, request, context, model=model, settings=self._settings)

    @hookimpl
    async def apex_embed(self, request: EmbedRequest, context: CallContext) -> EmbeddingResult:
        """Embed in as many calls as the model asks for."""
        provider, name = self._names(context, request.model)
        model = await self._models.of(context, request.model)
        return await embed(
            self._client, request, context, model=model, provider=provider, model_name=name, settings=self._settings
        )

    @hookimpl
    async def apex_image(self, request: ImageRequest, context: CallContext) -> ImageGenerationResult:
        """Make images from a prompt, or change those that came with it."""
        provider, name = self._names(context, request.model)
        model = await self._models.of(context, request.model)
        return await generate_images(
            self._client, request, context, model=model, provider=provider, model_name=name, settings=self._settings
        )

    @hookimpl
    async def apex_models(self, context: CallContext) -> list[ModelInfo]:
        """List the foundation models and inference profiles of the region."""
        return await self._catalogue.models(context)

    @hookimpl
    def apex_capabilities(self) -> ProviderCapabilities:
        """Tell what is known of the configured models."""
        return self._models.capabilities()

    @hookimpl
    async def apex_health(self, context: CallContext) -> HealthStatus:
        """Ask for the catalogue, signed."""
        return await self._catalogue.health(context)

    @hookimpl
    async def apex_shutdown(self, runtime: Runtime) -> None:  # noqa: ARG002 - the hook's signature
        """Release the credentials."""
        await self._client.close()

    def _names(self, context: CallContext, model: str) -> tuple[str, str]:
        """Return the provider and the model in whose names to answer; *model* stands in outside an attempt."""
        candidate = context.candidate
        return (self._name, model) if candidate is None else (candidate.provider, candidate.model)

    async def _invoked(self, request: GenerateRequest, model: Model, context: CallContext) -> ChatGenerationResult:
        """Answer by InvokeModel."""
        size = weight(request)
        body = await written(size, invoke_body, model.invoke_format, request, model, self._settings, False)
        response = await self._client.call(
            model,
            "invoke",
            body.document,
            context,
            headers=invoke_headers(self._settings, request.options.user),
            size=size,
        )
        document = await self._client.read(response)
        provider, name = self._names(context, request.model)
        return invoke_result(
            model.invoke_format, document, response.headers, body.reading, model=name, provider=provider
        )

    async def _converse(self, request: GenerateRequest, model: Model, context: CallContext) -> ChatGenerationResult:
        """Answer by Converse."""
        size = weight(request)
        body = await written(size, converse_body, request, model, self._settings, False)
        response = await self._client.call(model, "converse", body.document, context, size=size)
        document = await self._client.read(response)
        provider, name = self._names(context, request.model)
        return chat_result(document, response.headers, body.reading, model=name, provider=provider)

    async def _check_stream(self, response: HttpResponse) -> None:
        """Refuse what is no event stream: fed to the decoder it would only be called broken."""
        kind = response.headers.get("content-type", _EVENT_STREAM).lower()
        if kind.startswith(_EVENT_STREAM):
            return
        if "json" in kind:
            await self._client.read(response)
        response.close()
        raise malformed(f"{kind} in place of a stream", response.headers)


def in_one_piece(result: ChatGenerationResult) -> ChunkBatch:
    """Return a whole answer as the chunks of a stream."""
    chunks: ChunkBatch = []
    content = result.message.content
    calls = 0
    for part in (TextPart(text=content),) if isinstance(content, str) else content:
        if isinstance(part, TextPart):
            chunks.append(ChatGenerationChunk(text=part.text))
        elif isinstance(part, ReasoningPart):
            chunks.append(ChatGenerationChunk(reasoning=part.text, reasoning_part=part))
        elif isinstance(part, ToolCallPart):
            call = ToolCallDelta(index=calls, id=part.id, name=part.name, arguments=part.arguments)
            chunks.append(ChatGenerationChunk(tool_calls=(call,)))
            calls += 1
    chunks.append(ChatGenerationChunk(finish_reason=result.finish_reason, usage=result.usage, details=result.details))
    return chunks


def _is_region(text: str) -> bool:
    """Return whether *text*, the provider's region for routing, is one of AWS's, and so most likely this one."""
    try:
        return bool(check_region(text))
    except ValueError:
        return False


def _check_region(config: ProviderConfig, environ: Mapping[str, str]) -> None:
    """Refuse a provider that nothing tells its region, at the start and not at its first request.

    Raises:
        ConfigurationError: neither the environment, nor a file of profiles, nor the models' ARNs can name one.
    """
    files = (
        environ.get("AWS_CONFIG_FILE", "~/.aws/config"),
        environ.get("AWS_SHARED_CREDENTIALS_FILE", "~/.aws/credentials"),
    )
    names = [model.provider_model_id or model.id for model in config.models]
    by_arn = bool(names) and all(name.startswith("arn:") for name in names)
    if not by_arn and not environment_region(environ) and not any(Path(file).expanduser().exists() for file in files):
        raise ConfigurationError("no AWS region is known: set options.region, AWS_REGION, or the region of a profile")


async def _drain(reads: AsyncGenerator[bytes, None]) -> None:
    """Read to the end, so that the connection can be used again; the answer is complete either way."""
    with suppress(LLMError, TimeoutError):
        async with asyncio.timeout(_DRAIN):
            async for _ in reads:
                pass


def _located(error: LLMError, headers: Mapping[str, str], received: int) -> LLMError:
    """Add to an error in the middle of a stream what its support asks for."""
    error.request_id = error.request_id or request_id_of(headers)
    error.details = {**(error.details or {}), "received_bytes": received}
    return error


__all__ = ["BedrockProvider", "in_one_piece"]
