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

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import attrs

from apex_llm_bedrock.invoke_claude import CLAUDE
from apex_llm_bedrock.invoke_forms import Asked, InvokeForm, Reader
from apex_llm_bedrock.invoke_messages import MESSAGES
from apex_llm_bedrock.invoke_prompt_forms import COHERE, J2, LLAMA, MISTRAL, TITAN
from apex_llm_bedrock.tool_names import ToolNames
from apex_llm_core.errors import InvalidRequestError, nearest
from apex_llm_core.models import Choice, Usage


@attrs.frozen(kw_only=True)
class Ai21Form:
    """The bodies of AI21's models: prompts for Jurassic-2, which does not stream, chat completions for Jamba."""

    ours: frozenset[str] = J2.ours | MESSAGES.ours

    def body(self, asked: Asked) -> dict[str, Any]:
        """Return the body of a request."""
        return J2.body(asked) if "ai21.j2" in asked.base else MESSAGES.body(asked)

    def choices(self, document: Mapping[str, Any], names: ToolNames) -> Sequence[Choice]:
        """Return the answers in *document*."""
        return J2.choices(document, names) if "completions" in document else MESSAGES.choices(document, names)

    def usage(self, document: Mapping[str, Any]) -> Usage | None:
        """Return the token counts in *document*."""
        return MESSAGES.usage(document)

    def reader(self, names: ToolNames) -> Reader:
        """Return what reads a stream."""
        return MESSAGES.reader(names)


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
