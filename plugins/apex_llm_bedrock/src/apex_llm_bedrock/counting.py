"""The size of a prompt by CountTokens: exact, and billed by nobody."""

from __future__ import annotations

from base64 import b64encode

import attrs

from apex_llm_bedrock.answers import count_of, malformed
from apex_llm_bedrock.bodies import small_body, weight, written
from apex_llm_bedrock.client import BedrockClient
from apex_llm_bedrock.invoke.text import invoke_body
from apex_llm_bedrock.model_ids import parse_model_id, split_geo
from apex_llm_bedrock.models import Model
from apex_llm_bedrock.requests import converse_body
from apex_llm_bedrock.settings import BedrockSettings
from apex_llm_core.context import CallContext
from apex_llm_core.models import GenerateRequest

#: What of a body counts.
_COUNTED = ("messages", "system", "toolConfig", "additionalModelRequestFields")


async def count_tokens(
    client: BedrockClient, request: GenerateRequest, context: CallContext, *, model: Model, settings: BedrockSettings
) -> int | None:
    """Return how many tokens the prompt of *request* has for *model*, None where the service does not count.

    Raises:
        LLMError: the call failed.
    """
    if not model.family.count_tokens or not model.base:
        return None
    # The service knows foundation models here, neither profiles nor ARNs; the region of an ARN stays.
    foundation = split_geo(model.base)[1] or model.base
    named = attrs.evolve(parse_model_id(foundation), region=model.id.region)
    counted = attrs.evolve(model, id=named)
    size = weight(request)
    lenient = attrs.evolve(settings, unsupported_parameters="drop")
    if model.invoke_format:
        invoked = await written(size, invoke_body, model.invoke_format, request, model, lenient, False)
        source = {"invokeModel": {"body": b64encode(small_body(invoked.document)).decode()}}
    else:
        body = await written(size, converse_body, request, model, lenient, False)
        source = {"converse": {name: body.document[name] for name in _COUNTED if name in body.document}}
    response = await client.call(counted, "count-tokens", {"input": source}, context, size=size)
    document = await client.read(response)
    try:
        return count_of(document["inputTokens"])
    except (KeyError, TypeError) as error:
        raise malformed("without a number of tokens", response.headers) from error


__all__ = ["count_tokens"]
