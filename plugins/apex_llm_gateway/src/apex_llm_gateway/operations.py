"""One request by the URL of its operation, from the decoded body to the encoded answer: for the routes and for batches."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any, Protocol, TypeVar

import attrs

from apex_llm_core.manager import LLMProviderManager
from apex_llm_core.models import Caller, EmbeddingOptions, ImageGenerationOptions, TextGenerationOptions
from apex_llm_gateway.http import Reply
from apex_llm_gateway.openai.chat_request import ChatRequest, read_chat
from apex_llm_gateway.openai.chat_response import chat_body
from apex_llm_gateway.openai.completions_request import CompletionRequest, read_completion
from apex_llm_gateway.openai.completions_response import completion_body
from apex_llm_gateway.openai.embeddings_request import EmbeddingsRequest, read_embeddings
from apex_llm_gateway.openai.embeddings_response import embeddings_body
from apex_llm_gateway.openai.images_request import ImageRequest, read_image
from apex_llm_gateway.openai.images_response import images_body
from apex_llm_gateway.openai.rules import ParameterError, Rules
from apex_llm_gateway.replies import error_reply, origin_headers

T = TypeVar("T")
#: Prompts of one request that are asked at the same time.
_AT_A_TIME = 16


class Asked(Protocol):
    """A body that was understood."""

    @property
    def options(self) -> TextGenerationOptions | EmbeddingOptions | ImageGenerationOptions:
        """What it asks for."""


@attrs.frozen(kw_only=True)
class Operation:
    """What is asked for at one URL."""

    #: As in events: "chat", "text", "embed" or "image".
    name: str
    read: Callable[[Any, Rules], Any]
    answer: Callable[[LLMProviderManager, Any, Caller, str], Awaitable[Reply]]


def placed(manager: LLMProviderManager, model: str) -> tuple[str | None, str]:
    """Part "provider/model" into both; a model whose own name has a slash stays whole."""
    provider, slash, rest = model.partition("/")
    if not slash or not rest:
        return None, model
    handles = manager.providers
    if any(info.id == model for handle in handles for info in handle.models):
        return None, model
    return (provider, rest) if any(handle.get_name() == provider for handle in handles) else (None, model)


async def answer(
    manager: LLMProviderManager, url: str, document: Any, *, rules: Rules, caller: Caller, request_id: str
) -> Reply:
    """Answer the body *document* of a request to *url*; what fails is answered with an error, not raised.

    Streamed answers are refused: there is nobody to stream to.
    """
    try:
        operation = OPERATIONS.get(url)
        if operation is None:
            raise ParameterError(f"there is no operation at {url!r}; valid: {', '.join(OPERATIONS)}", param="url")
        asked = operation.read(document, rules)
        if getattr(asked, "stream", False):
            raise ParameterError("a streamed answer cannot be given here; leave 'stream' out", param="stream")
        return await operation.answer(manager, asked, caller, request_id)
    except Exception as error:
        return error_reply(error, request_id)


async def _chat(manager: LLMProviderManager, asked: ChatRequest, caller: Caller, request_id: str) -> Reply:
    result = await manager.generate_chat(asked.messages, asked.options, caller=caller)
    body = chat_body(result, request_id=request_id, created=int(time.time()), functions=asked.functions)
    return _reply(body, request_id, [result])


async def _completion(manager: LLMProviderManager, asked: CompletionRequest, caller: Caller, request_id: str) -> Reply:
    results = await _together(
        [partial(manager.generate_text, prompt, asked.options, caller=caller) for prompt in asked.prompts]
    )
    echo = asked.prompts if asked.echo else None
    return _reply(
        completion_body(results, request_id=request_id, created=int(time.time()), echo=echo), request_id, results
    )


async def _embeddings(manager: LLMProviderManager, asked: EmbeddingsRequest, caller: Caller, request_id: str) -> Reply:
    result = await manager.generate_embedding(asked.texts, asked.options, caller=caller)
    return _reply(embeddings_body(result, base64=asked.base64), request_id, [result])


async def _image(manager: LLMProviderManager, asked: ImageRequest, caller: Caller, request_id: str) -> Reply:
    result = await manager.generate_image(asked.prompt, asked.options, caller=caller)
    return _reply(images_body(result, created=int(time.time())), request_id, [result])


def _reply(body: bytes, request_id: str, results: Sequence[Any]) -> Reply:
    first = results[0]
    if len(results) == 1:
        attempts, cost = len(first.attempts), first.cost
    else:
        attempts = sum(len(result.attempts) for result in results)
        costs = [result.cost for result in results]
        cost = None if None in costs else sum(costs)
    headers = origin_headers(
        request_id, first.provider, first.model, attempts, cost=cost, cached=getattr(first, "cached", False)
    )
    return Reply(body=body, headers=headers)


async def _together(work: Sequence[Callable[[], Awaitable[T]]]) -> list[T]:
    """Await all of *work*, a few at a time; the first failure ends the rest and is raised."""
    if len(work) == 1:
        return [await work[0]()]
    free = asyncio.Semaphore(_AT_A_TIME)

    async def one(job: Callable[[], Awaitable[T]]) -> T:
        async with free:
            return await job()

    tasks = [asyncio.ensure_future(one(job)) for job in work]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


#: What can be asked for, by URL.
OPERATIONS: dict[str, Operation] = {
    "/v1/chat/completions": Operation(name="chat", read=read_chat, answer=_chat),
    "/v1/completions": Operation(name="text", read=read_completion, answer=_completion),
    "/v1/embeddings": Operation(name="embed", read=read_embeddings, answer=_embeddings),
    "/v1/images/generations": Operation(name="image", read=read_image, answer=_image),
}


__all__ = ["OPERATIONS", "Asked", "Operation", "answer", "placed"]
