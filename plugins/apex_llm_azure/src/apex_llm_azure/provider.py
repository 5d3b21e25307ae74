"""The provider: one Azure OpenAI resource, its hooks."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing, suppress

from apex_llm_azure import catalogue
from apex_llm_azure.answers import chat_result, malformed, request_id_of, told_beside
from apex_llm_azure.auth import TokenSources, make_authenticator
from apex_llm_azure.client import AzureClient, body_of
from apex_llm_azure.deployments import Deployment, Deployments
from apex_llm_azure.embeddings import embed
from apex_llm_azure.endpoints import Endpoint, parse_endpoint
from apex_llm_azure.images import generate_images
from apex_llm_azure.requests import Body, chat_body
from apex_llm_azure.settings import AzureSettings
from apex_llm_azure.streaming import ChatStreamDecoder
from apex_llm_core.config import ProviderConfig
from apex_llm_core.context import CallContext
from apex_llm_core.errors import InvalidRequestError, LLMError
from apex_llm_core.hookspecs import ChunkBatch, Runtime
from apex_llm_core.interfaces import HttpResponse
from apex_llm_core.markers import hookimpl
from apex_llm_core.models import (
    ChatGenerationResult,
    EmbeddingResult,
    EmbedRequest,
    GenerateRequest,
    HealthStatus,
    ImageGenerationResult,
    ImageRequest,
    ModelInfo,
    ProviderCapabilities,
)

#: Seconds that the end of a stream may take after its last event; a new connection costs no more than waiting longer.
_DRAIN = 0.05


class AzureProvider:
    """One configured resource."""

    def __init__(
        self, config: ProviderConfig, settings: AzureSettings, runtime: Runtime, sources: TokenSources
    ) -> None:
        self._name = config.name
        self._settings = settings
        endpoint = parse_endpoint(settings.endpoint, surface=settings.surface, api_version=settings.api_version)
        auth = make_authenticator(
            config,
            authority=settings.authority or endpoint.cloud.authority,
            ca_file=settings.ca_file,
            runtime=runtime,
            sources=sources,
        )
        self._client = AzureClient(
            lambda: runtime.http,
            auth,
            endpoint,
            scope=settings.scope or endpoint.scope,
            spillover=settings.spillover_deployment,
            quota_after=settings.quota_after,
        )
        self._by_token = config.auth is not None and config.auth.type != "api_key"
        self._deployments = Deployments(config, endpoint)

    @hookimpl
    async def apex_generate(self, request: GenerateRequest, context: CallContext) -> ChatGenerationResult:
        """Answer by one chat completion."""
        deployment = self._deployments.of(context, request.model)
        body = self._body(request, deployment)
        response = await self._complete(body, deployment, context)
        headers = response.headers
        provider, model = self._names(context, request.model)
        return chat_result(
            await self._client.read(response), headers, model=model, provider=provider, dropped=body.dropped
        )

    @hookimpl
    async def apex_stream(self, request: GenerateRequest, context: CallContext) -> AsyncGenerator[ChunkBatch, None]:
        """Answer by one streamed chat completion."""
        deployment = self._deployments.of(context, request.model)
        body = self._body(request, deployment)
        response = await self._complete(body, deployment, context)
        headers = response.headers
        kind = headers.get("content-type", "text/event-stream").lower()
        if not kind.startswith("text/event-stream"):
            if "json" in kind:
                await self._client.read(response)
            response.close()
            raise malformed(f"{kind} in place of a stream", headers)
        decoder = ChatStreamDecoder(
            lambda event: self._client.failure_of(event, headers),
            choices=request.options.n or 1,
            told=told_beside(headers, body.dropped),
        )
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
                raise _located(error, headers, decoder.received) from error.__cause__

    @hookimpl
    async def apex_embed(self, request: EmbedRequest, context: CallContext) -> EmbeddingResult:
        """Embed in as many calls as the service's caps ask for."""
        endpoint, scope = self._embedding_surface()
        provider, model = self._names(context, request.model)
        return await embed(
            self._client,
            endpoint,
            request,
            context,
            deployment=self._deployments.of(context, request.model),
            provider=provider,
            model=model,
            batch=self._settings.embedding_batch,
            concurrency=self._settings.embedding_concurrency,
            scope=scope,
        )

    @hookimpl
    async def apex_image(self, request: ImageRequest, context: CallContext) -> ImageGenerationResult:
        """Make images from a prompt, or change those that came with it."""
        provider, model = self._names(context, request.model)
        return await generate_images(
            self._client,
            request,
            context,
            deployment=self._deployments.of(context, request.model),
            provider=provider,
            model=model,
            unsupported=self._settings.policy,
        )

    @hookimpl
    async def apex_models(self, context: CallContext) -> list[ModelInfo]:
        """List the models available to the resource."""
        return await catalogue.listed_models(self._client, context)

    @hookimpl
    def apex_capabilities(self) -> ProviderCapabilities:
        """Tell what is known of the configured deployments."""
        return self._deployments.capabilities()

    @hookimpl
    async def apex_health(self, context: CallContext) -> HealthStatus:
        """Ask for the catalogue, authenticated."""
        return await catalogue.health(self._client, context)

    @hookimpl
    async def apex_shutdown(self, runtime: Runtime) -> None:  # noqa: ARG002 - the hook's signature
        """Release the credentials."""
        await self._client.close()

    def _names(self, context: CallContext, model: str) -> tuple[str, str]:
        """Return the provider and the model in whose names to answer; *model* stands in outside an attempt."""
        candidate = context.candidate
        return (self._name, model) if candidate is None else (candidate.provider, candidate.model)

    def _body(self, request: GenerateRequest, deployment: Deployment) -> Body:
        return chat_body(
            request,
            deployment=deployment.name,
            dialect=deployment.dialect,
            unsupported=self._settings.policy,
        )

    async def _complete(self, body: Body, deployment: Deployment, context: CallContext) -> HttpResponse:
        """Send a chat completion; once more, and for the future, without what the service does not take."""
        document = body.document
        try:
            return await self._client.post(deployment.chat_url, body_of(document), context)
        except InvalidRequestError as error:
            better = deployment.learn(document, error.details)
            if better is None:
                raise
        return await self._client.post(deployment.chat_url, body_of(better), context)

    def _embedding_surface(self) -> tuple[Endpoint, str]:
        """Return where embeddings are asked for, and the scope of tokens there."""
        endpoint = self._client.endpoint
        if self._settings.embeddings_surface == "dated" or (self._by_token and not self._settings.embeddings_surface):
            endpoint = endpoint.dated()
        return endpoint, self._settings.scope or endpoint.scope


async def _drain(reads: AsyncGenerator[bytes, None]) -> None:
    """Read to the end, so that the connection can be used again; the answer is complete either way."""
    with suppress(LLMError, TimeoutError):
        async with asyncio.timeout(_DRAIN):
            async for _ in reads:
                pass


def _located(error: LLMError, headers: Mapping[str, str], received: int) -> LLMError:
    """Add to an error in the middle of a stream what its support asks for."""
    error.request_id = error.request_id or request_id_of(headers)
    facts = {"received_bytes": received}
    region = headers.get("x-ms-region")
    error.details = {**(error.details or {}), **facts, **({"region": region} if region else {})}
    return error


__all__ = ["AzureProvider"]
