"""Embeddings: as many calls as the service's caps ask for, joined in the order of the texts."""

from __future__ import annotations

import asyncio
import sys
from array import array
from base64 import b64decode
from collections.abc import Mapping
from typing import Any

from apex_llm_azure.answers import malformed, request_id_of
from apex_llm_azure.client import AzureClient, body_of
from apex_llm_azure.deployments import Deployment
from apex_llm_azure.endpoints import Endpoint
from apex_llm_azure.families import UNKNOWN
from apex_llm_azure.requests import add_extra
from apex_llm_core.context import CallContext
from apex_llm_core.errors import LLMError, UnsupportedParameterError
from apex_llm_core.models import EmbeddingResult, EmbedRequest, Usage

#: The service takes so many tokens in one call. A token has two bytes of UTF-8 at the least, in any usual text.
_BYTES_PER_CALL = 2 * 300_000
#: What `extra` may not set, since it would contradict the request itself.
_OURS = frozenset({"input", "model"})
#: After so many decoded vectors other tasks get a turn.
_VECTORS_PER_TURN = 64

Vector = tuple[float, ...]
#: Vectors, token count, request id.
_Answer = tuple[list[Vector], int | None, str | None]


async def embed(
    client: AzureClient,
    endpoint: Endpoint,
    request: EmbedRequest,
    context: CallContext,
    *,
    deployment: Deployment,
    provider: str,
    model: str,
    batch: int,
    concurrency: int,
    scope: str,
) -> EmbeddingResult:
    """Embed all texts of *request*, at most *batch* in a call and *concurrency* calls at a time.

    Raises:
        LLMError: any of the calls failed; the others are cancelled.
    """
    url = endpoint.url("embeddings", deployment.name)
    gate = asyncio.Semaphore(concurrency)
    # What was paid for stays with the request: a further attempt asks for the rest only.
    kept: dict[tuple[str, ...], _Answer] = context.state.setdefault(f"apex_llm_azure {url} {request.options}", {})

    async def call(texts: tuple[str, ...]) -> _Answer:
        answer = kept.get(texts)
        if answer is None:
            async with gate:
                response = await client.post(url, body_of(_body(request, texts, deployment)), context, scope=scope)
                document = await client.read(response)
            answer = kept[texts] = await _vectors(document, response.headers, len(texts))
        return answer

    batches = split(request.texts, batch)
    if len(batches) == 1:
        answers = [await call(batches[0])]
    else:
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(call(texts)) for texts in batches]
        except BaseExceptionGroup as failures:
            errors = [error for error in failures.exceptions if isinstance(error, LLMError)]
            raise errors[0] if errors else failures.exceptions[0] from failures
        answers = [task.result() for task in tasks]
    tokens = [count for _, count, _ in answers if count is not None]
    return EmbeddingResult(
        embeddings=tuple(vector for vectors, _, _ in answers for vector in vectors),
        model=model,
        provider=provider,
        # Half of the counts would be no count.
        usage=Usage(prompt_tokens=sum(tokens)) if len(tokens) == len(answers) else None,
        request_id=answers[0][2],
    )


def split(texts: tuple[str, ...], batch: int) -> list[tuple[str, ...]]:
    """Return *texts* in lists of at most *batch*, none of which exceeds the tokens of one call unless a single text does."""
    batches: list[tuple[str, ...]] = []
    start = size = 0
    for position, text in enumerate(texts):
        length = len(text.encode("utf-8", "surrogatepass"))
        if position > start and (position - start == batch or size + length > _BYTES_PER_CALL):
            batches.append(texts[start:position])
            start, size = position, 0
        size += length
    batches.append(texts[start:])
    return batches


def _body(request: EmbedRequest, texts: tuple[str, ...], deployment: Deployment) -> dict[str, Any]:
    options = request.options
    body: dict[str, Any] = {"model": deployment.name, "input": list(texts), "encoding_format": "base64"}
    if options.dimensions is not None:
        if deployment.family is not UNKNOWN and not deployment.family.dimensions_adjustable:
            raise UnsupportedParameterError(
                f"dimensions: {deployment.family.name} gives vectors of one length only; leave it out, or use a text-embedding-3 model",
                parameters=["dimensions"],
            )
        body["dimensions"] = options.dimensions
    if options.user is not None:
        body["user"] = options.user
    add_extra(body, options.extra, ours=_OURS)
    return body


async def _vectors(document: Mapping[str, Any], headers: Mapping[str, str], count: int) -> _Answer:
    entries = document.get("data")
    if not isinstance(entries, list) or len(entries) != count:
        found = len(entries) if isinstance(entries, list) else "no"
        raise malformed(f"with {found} vectors for {count} texts", headers)
    found_vectors: dict[int, Vector] = {}
    try:
        for position, entry in enumerate(entries):
            found_vectors[entry.get("index", position)] = vector(entry["embedding"])
            if position % _VECTORS_PER_TURN == _VECTORS_PER_TURN - 1:
                await asyncio.sleep(0)
        vectors = [found_vectors[position] for position in range(count)]
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise malformed("with vectors of an unknown form", headers) from error
    if not vectors[0] or len(set(map(len, vectors))) > 1:
        raise malformed("with empty vectors, or some of another length", headers)
    usage = document.get("usage")
    tokens = usage.get("prompt_tokens") if isinstance(usage, dict) else None
    return vectors, tokens if isinstance(tokens, int) else None, request_id_of(headers)


def vector(wire: str | list[float]) -> Vector:
    """Return one vector: base64 of little-endian 32-bit floats, or the numbers themselves.

    Raises:
        ValueError: neither.
    """
    if not isinstance(wire, str):
        return tuple(map(float, wire))
    numbers = array("f", b64decode(wire, validate=True))
    if sys.byteorder == "big":
        numbers.byteswap()
    return tuple(numbers)


__all__ = ["embed", "split", "vector"]
