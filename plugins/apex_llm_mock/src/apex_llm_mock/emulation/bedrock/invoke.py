"""InvokeModel: a body in the form of the model, an answer in that form."""

from __future__ import annotations

from typing import Any

from apex_llm_mock.emulation.bedrock.base_model import BaseModel
from apex_llm_mock.emulation.bedrock.embeddings import embed
from apex_llm_mock.emulation.bedrock.errors import invalid
from apex_llm_mock.emulation.bedrock.filters import Blocked
from apex_llm_mock.emulation.bedrock.images import generate
from apex_llm_mock.emulation.bedrock.invoked import Invoked
from apex_llm_mock.emulation.bedrock.models import Found
from apex_llm_mock.emulation.bedrock.text_formats import streamed, written
from apex_llm_mock.replies import Replier

#: The largest body, in bytes.
LARGEST_BODY = 25_000_000


_GUARDRAIL = "amazon-bedrock-guardrailConfig"


def serve_invoke(
    found: Found, body: Any, *, key: str, replier: Replier, seed: int = 0, blocked: Blocked = ""
) -> Invoked:
    """Return the answer to InvokeModel. Drawing large images takes some milliseconds of CPU.

    Args:
        found: the model.
        body: the JSON document of the request, None when it is no JSON.
        key: makes the ids in the answer.
        replier: writes texts.
        seed: changes vectors and images.
        blocked: what the content filters find in a request for vectors or images, whatever its prompt says.

    Raises:
        RefusedError: the model does not take *body*.
    """
    model = found.model
    if model.embedding:
        return embed(model, body, key=key, seed=seed, blocked=blocked)
    if model.image:
        return generate(model, body, key=key, seed=seed, blocked=blocked)
    if not model.invoke:
        raise _not_invocable(model)
    return written(model, body, replier, key=key)


def invoke_events(found: Found, body: Any, *, key: str, replier: Replier, chunk_size: int = 16) -> list[dict[str, Any]]:
    """Return the documents of a stream, each the content of one `chunk`; the last one has the metrics, too.

    Args:
        found: the model.
        body: the JSON document of the request, None when it is no JSON.
        key: makes the ids in the answer.
        replier: writes texts.
        chunk_size: characters of text per document.

    Raises:
        RefusedError: the model does not take *body*, or it does not stream.
    """
    if isinstance(body, dict):
        # For the service itself; the model does not see it.
        body = {name: value for name, value in body.items() if name != _GUARDRAIL}
    return streamed(found.model, body, replier, key=key, chunk_size=chunk_size)


def _not_invocable(model: BaseModel) -> Exception:
    return invalid(f"The model {model.id} does not support this operation. Use Converse.")


__all__ = ["LARGEST_BODY", "invoke_events", "serve_invoke"]
