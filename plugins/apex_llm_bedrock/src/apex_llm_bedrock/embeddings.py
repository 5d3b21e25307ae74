"""Embeddings: as many calls as the model's kind asks for, joined in the order of the texts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from apex_llm_bedrock.answers import request_id_of
from apex_llm_bedrock.embedding_formats import FORMATS, EmbeddingFormat, Vectors, read_vectors, wishes_of
from apex_llm_bedrock.invoke_headers import metadata_headers
from apex_llm_bedrock.paid_calls import paid_calls
from apex_llm_core.context import CallContext
from apex_llm_core.errors import UnsupportedParameterError
from apex_llm_core.models import EmbeddingResult, EmbedRequest, Usage

if TYPE_CHECKING:
    from apex_llm_bedrock.client import BedrockClient
    from apex_llm_bedrock.models import Model
    from apex_llm_bedrock.settings import BedrockSettings

#: UTF-8 of the texts of one call. The service takes bodies of 25 MB; JSON may write one byte as six.
_BYTES_PER_CALL = 4_000_000


async def embed(
    client: BedrockClient,
    request: EmbedRequest,
    context: CallContext,
    *,
    model: Model,
    provider: str,
    model_name: str,
    settings: BedrockSettings,
) -> EmbeddingResult:
    """Embed all texts of *request*, as many in a call as the model takes and `embedding_batch` allows.

    Raises:
        UnsupportedParameterError: the model is none for embeddings, or cannot do what the options ask.
        LLMError: any of the calls failed; those under way were let end, and what they gave is kept for the next attempt.
    """
    form = _format(model)
    wishes = wishes_of(request.options, form, model.family, input_type=settings.embedding_input_type)
    headers = metadata_headers(settings, request.options.user)

    async def call(texts: tuple[str, ...]) -> tuple[Vectors, str | None]:
        body = form.body(texts, wishes)
        response = await client.call(model, "invoke", body, context, headers=headers, size=sum(map(len, texts)))
        document = await client.read(response)
        found = read_vectors(form, document, response.headers, wishes, count=len(texts))
        return found, request_id_of(response.headers)

    groups = split(request.texts, min(form.batch, settings.embedding_batch))
    answers = await paid_calls(
        groups,
        call,
        concurrency=settings.embedding_concurrency,
        context=context,
        purpose=f"{provider} embed {model.id.path} {wishes}",
    )
    # The same text twice is one call.
    counts = [found.tokens for found, _ in dict(zip(groups, answers, strict=True)).values()]
    tokens = [count for count in counts if count is not None]
    return EmbeddingResult(
        embeddings=tuple(vector for found, _ in answers for vector in found.vectors),
        model=model_name,
        provider=provider,
        # Half of the counts would be no count.
        usage=Usage(prompt_tokens=sum(tokens)) if len(tokens) == len(counts) else None,
        request_id=answers[0][1],
    )


def _format(model: Model) -> EmbeddingFormat:
    form = FORMATS.get(model.family.embedding)
    if form is None:
        known = (
            "is none for embeddings" if model.family.name else "does not tell which model it is; declare its base_model"
        )
        raise UnsupportedParameterError(
            f"the model {model.name!r} {known}, for example 'amazon.titan-embed-text-v2:0' or 'cohere.embed-v4:0'"
        )
    return form


def split(texts: tuple[str, ...], batch: int) -> list[tuple[str, ...]]:
    """Return *texts* in groups of at most *batch*, none of which exceeds the bytes of one call unless a single text does."""
    groups: list[tuple[str, ...]] = []
    start = size = 0
    for position, text in enumerate(texts):
        length = len(text.encode("utf-8", "surrogatepass"))
        if position > start and (position - start == batch or size + length > _BYTES_PER_CALL):
            groups.append(texts[start:position])
            start, size = position, 0
        size += length
    groups.append(texts[start:])
    return groups


__all__ = ["embed", "split"]
