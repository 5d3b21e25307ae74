"""Bodies of models that take a prompt, by InvokeModel: Titan Text, Llama, Mistral, Cohere Command, Jurassic.

What they give is much alike, whole or in a stream: a text, and at its end a reason.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, NamedTuple

import attrs

from apex_llm_bedrock.answers import Reading, text_of
from apex_llm_bedrock.invoke.form import Answer, Asked, InvokeBody, add_options, usage_from
from apex_llm_bedrock.invoke.prompts import plain_turns, prompt_of
from apex_llm_core.errors import ServiceUnavailableError, UnsupportedParameterError
from apex_llm_core.models import ChatGenerationChunk, ChatMessage, Choice, Usage, text_chunk

#: What older Cohere models write where a text ends.
_END_MARK = "<EOS_TOKEN>"


class Piece(NamedTuple):
    """Some text of one choice, by its number; `reason` is the service's word when the choice ends with it."""

    choice: int
    text: str
    reason: str = ""


#: From a document, of a whole answer or of a stream, to what it has.
Pieces = Callable[[Mapping[str, Any]], Iterator[Piece]]
Counts = Callable[[Mapping[str, Any]], tuple[object, object]]


def _no_counts(_document: Mapping[str, Any]) -> tuple[object, object]:
    return None, None


@attrs.frozen(kw_only=True)
class PromptForm:
    """One kind of body with a prompt in it."""

    write: Callable[[Asked], dict[str, Any]]
    pieces: Pieces
    #: Tokens in and out that a document tells.
    counts: Counts = _no_counts
    ours: frozenset[str]

    def body(self, asked: Asked) -> InvokeBody:
        """Return the body of a request."""
        chat = asked.chat
        if chat is not None:
            if chat.all_tools:
                raise UnsupportedParameterError(
                    "tools: the model takes a prompt of text; it knows no tools", parameters=["tools"]
                )
            if chat.response_format is not None and chat.response_format.type != "text":
                asked.dropped.append("response_format")
            if chat.reasoning_effort is not None:
                asked.dropped.append("reasoning_effort")
        return asked.body(self.write(asked))

    def answer(self, document: Mapping[str, Any], _reading: Reading) -> Answer:
        """Return what *document* holds."""
        found = list(self.pieces(document))
        if not found:
            raise KeyError("no answer")
        choices = [
            Choice(
                index=piece.choice,
                message=ChatMessage(role="assistant", content=piece.text),
                finish_reason=_sound(piece.reason),
            )
            for piece in found
        ]
        return Answer(choices, usage_from(*self.counts(document)))

    def reader(self, _reading: Reading) -> PromptReader:
        """Return what reads a stream."""
        return PromptReader(self.pieces, self.counts)


class PromptReader:
    """Reads the documents of one stream of texts."""

    answered: Final = True

    def __init__(self, pieces: Pieces, counts: Counts) -> None:
        self._pieces = pieces
        self._counts = counts
        self._prompt: object = None
        self._completion: object = None
        self.ended: dict[int, str] = {}

    @property
    def usage(self) -> Usage | None:
        """What the documents told of tokens."""
        return usage_from(self._prompt, self._completion)

    def read(self, document: Mapping[str, Any]) -> list[ChatGenerationChunk]:
        """Return the chunks in *document*."""
        chunks = []
        for piece in self._pieces(document):
            if piece.text:
                chunks.append(text_chunk(piece.text, piece.choice))
            if piece.reason:
                self.ended[piece.choice] = _sound(piece.reason)
        prompt, completion = self._counts(document)
        # The prompt's count comes once, the answer's grows.
        self._prompt = self._prompt if prompt is None else prompt
        self._completion = self._completion if completion is None else completion
        return chunks

    def close(self) -> list[ChatGenerationChunk]:
        """Return nothing: nothing is held back."""
        return []


def _sound(reason: str) -> str:
    if reason in ("ERROR", "USER_CANCEL"):
        raise ServiceUnavailableError(f"the model broke off its answer: {reason}", status_code=200)
    return reason


def _said(value: object) -> str:
    return "" if value is None else text_of(value)


def _titan_body(asked: Asked) -> dict[str, Any]:
    config: dict[str, Any] = {}
    add_options(
        config,
        asked,
        {"max_tokens": "maxTokenCount", "temperature": "temperature", "top_p": "topP", "stop": "stopSequences"},
    )
    document: dict[str, Any] = {"inputText": prompt_of(asked.request, "titan")}
    return {**document, "textGenerationConfig": config} if config else document


def _titan_pieces(document: Mapping[str, Any]) -> Iterator[Piece]:
    if "results" in document:
        for position, result in enumerate(document["results"]):
            yield Piece(position, text_of(result["outputText"]), _said(result.get("completionReason")))
    elif "outputText" in document:
        yield Piece(0, text_of(document["outputText"]), _said(document.get("completionReason")))


def _titan_counts(document: Mapping[str, Any]) -> tuple[object, object]:
    results = document.get("results")
    if results:
        counts = [result.get("tokenCount") for result in results]
        return document.get("inputTextTokenCount"), sum(counts) if all(type(c) is int for c in counts) else None
    return document.get("inputTextTokenCount"), document.get("totalOutputTextTokenCount")


def _llama_body(asked: Asked) -> dict[str, Any]:
    base = asked.base
    template = "llama2" if "llama2" in base else "llama4" if "llama4" in base else "llama3"
    document: dict[str, Any] = {"prompt": prompt_of(asked.request, template)}
    add_options(document, asked, {"max_tokens": "max_gen_len", "temperature": "temperature", "top_p": "top_p"})
    return document


def _llama_pieces(document: Mapping[str, Any]) -> Iterator[Piece]:
    if "generation" in document:
        yield Piece(0, text_of(document["generation"]), _said(document.get("stop_reason")))


def _llama_counts(document: Mapping[str, Any]) -> tuple[object, object]:
    return document.get("prompt_token_count"), document.get("generation_token_count")


def _mistral_body(asked: Asked) -> dict[str, Any]:
    document: dict[str, Any] = {"prompt": prompt_of(asked.request, "mistral")}
    add_options(
        document, asked, {"max_tokens": "max_tokens", "temperature": "temperature", "top_p": "top_p", "stop": "stop"}
    )
    return document


def _mistral_pieces(document: Mapping[str, Any]) -> Iterator[Piece]:
    for position, output in enumerate(document.get("outputs") or ()):
        yield Piece(position, _said(output.get("text")), _said(output.get("stop_reason")))


_COHERE_OPTIONS = {"max_tokens": "max_tokens", "temperature": "temperature", "top_p": "p", "stop": "stop_sequences"}
_COHERE_CHAT_OPTIONS = {
    **_COHERE_OPTIONS,
    "seed": "seed",
    "frequency_penalty": "frequency_penalty",
    "presence_penalty": "presence_penalty",
}


def _cohere_body(asked: Asked) -> dict[str, Any]:
    if "command-text" in asked.base or "command-light" in asked.base:
        document: dict[str, Any] = {"prompt": prompt_of(asked.request, "")}
        add_options(document, asked, {**_COHERE_OPTIONS, "n": "num_generations"})
        if asked.request.stream:
            document["stream"] = True
        return document
    turns = plain_turns(asked.request.messages)
    system = turns.pop(0).text if turns[0].role == "system" else ""
    if not turns or turns[-1].role != "user":
        raise UnsupportedParameterError("the last message must be the user's: the model answers it")
    document = {"message": turns[-1].text}
    if turns[:-1]:
        roles = {"user": "USER", "assistant": "CHATBOT"}
        document["chat_history"] = [{"role": roles[turn.role], "message": turn.text} for turn in turns[:-1]]
    if system:
        document["preamble"] = system
    add_options(document, asked, _COHERE_CHAT_OPTIONS)
    return document


def _cohere_pieces(document: Mapping[str, Any]) -> Iterator[Piece]:
    generations = document.get("generations")
    if document.get("is_finished"):
        # The last event repeats the text.
        response = document.get("response") or (generations or [{}])[0]
        yield Piece(0, "", _said(document.get("finish_reason") or response.get("finish_reason")) or "COMPLETE")
    elif generations:
        for position, generation in enumerate(generations):
            yield Piece(position, text_of(generation["text"]), _said(generation.get("finish_reason")))
    elif "text" in document:
        text = text_of(document["text"])
        yield Piece(0, "" if text == _END_MARK else text, _said(document.get("finish_reason")))


def _j2_body(asked: Asked) -> dict[str, Any]:
    document: dict[str, Any] = {"prompt": prompt_of(asked.request, "")}
    add_options(
        document,
        asked,
        {
            "max_tokens": "maxTokens",
            "temperature": "temperature",
            "top_p": "topP",
            "stop": "stopSequences",
            "frequency_penalty": "frequencyPenalty",
            "presence_penalty": "presencePenalty",
            "n": "numResults",
        },
    )
    for penalty in ("frequencyPenalty", "presencePenalty"):
        if penalty in document:
            document[penalty] = {"scale": document[penalty]}
    return document


def _j2_pieces(document: Mapping[str, Any]) -> Iterator[Piece]:
    for position, completion in enumerate(document.get("completions") or ()):
        reason = completion.get("finishReason") or {}
        yield Piece(position, text_of(completion["data"]["text"]), _said(reason.get("reason")))


TITAN = PromptForm(
    write=_titan_body,
    pieces=_titan_pieces,
    counts=_titan_counts,
    ours=frozenset({"inputText"}),
)
LLAMA = PromptForm(write=_llama_body, pieces=_llama_pieces, counts=_llama_counts, ours=frozenset({"prompt"}))
MISTRAL = PromptForm(write=_mistral_body, pieces=_mistral_pieces, ours=frozenset({"prompt"}))
COHERE = PromptForm(
    write=_cohere_body,
    pieces=_cohere_pieces,
    ours=frozenset({"prompt", "message", "chat_history", "stream"}),
)
J2 = PromptForm(write=_j2_body, pieces=_j2_pieces, ours=frozenset({"prompt"}))

__all__ = ["COHERE", "J2", "LLAMA", "MISTRAL", "TITAN", "Piece", "PromptForm", "PromptReader"]
