"""The forms of InvokeModel's bodies by the names that settings and families have for them.

==========  ================================================  ========================================================
form        models                                            conversations
==========  ================================================  ========================================================
openai      gpt-oss, Qwen, DeepSeek V3, imported models …     chat completions: tools, pictures, schemas
anthropic   Claude                                            Messages: tools, pictures, documents, thinking
titan       Titan Text                                        one turn
llama       Llama                                             as a prompt, by the template of its generation
mistral     Mistral, Mixtral                                  as a prompt, by the template
cohere      Command R; Command                                text turns; one turn
ai21        Jamba; Jurassic-2                                 chat completions; one turn
==========  ================================================  ========================================================
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import attrs

from apex_llm_bedrock.answers import Reading
from apex_llm_bedrock.invoke.claude import CLAUDE
from apex_llm_bedrock.invoke.form import Answer, Asked, InvokeBody, InvokeForm, Reader
from apex_llm_bedrock.invoke.messages import MESSAGES
from apex_llm_bedrock.invoke.prompt_forms import COHERE, J2, LLAMA, MISTRAL, TITAN
from apex_llm_core.errors import InvalidRequestError, nearest


@attrs.frozen(kw_only=True)
class Ai21Form:
    """The bodies of AI21's models: prompts for Jurassic-2, which does not stream, chat completions for Jamba."""

    ours: frozenset[str] = J2.ours | MESSAGES.ours

    def body(self, asked: Asked) -> InvokeBody:
        """Return the body of a request."""
        return J2.body(asked) if "ai21.j2" in asked.base else MESSAGES.body(asked)

    def answer(self, document: Mapping[str, Any], reading: Reading) -> Answer:
        """Return what *document* holds."""
        return J2.answer(document, reading) if "completions" in document else MESSAGES.answer(document, reading)

    def reader(self, reading: Reading) -> Reader:
        """Return what reads a stream."""
        return MESSAGES.reader(reading)


FORMS: Mapping[str, InvokeForm] = MappingProxyType(
    {
        "openai": MESSAGES,
        "anthropic": CLAUDE,
        "titan": TITAN,
        "llama": LLAMA,
        "mistral": MISTRAL,
        "cohere": COHERE,
        "ai21": Ai21Form(),
    }
)


def form_of(name: str) -> InvokeForm:
    """Return the form called *name*.

    Raises:
        InvalidRequestError: there is none.
    """
    form = FORMS.get(name)
    if form is None:
        raise InvalidRequestError(f"InvokeModel has no bodies of the form {name!r}{nearest(name, FORMS)}")
    return form


__all__ = ["FORMS", "Ai21Form", "form_of"]
