"""The answer to ``POST /v1/completions``, whole and streamed.

Choices of several prompts are numbered through: all of the first prompt, then all of the second. A completion has text
and nothing else; what a model thinks before it has no place here.
"""

from __future__ import annotations

from collections.abc import Sequence

from apex_llm_core.converters import encode
from apex_llm_core.models import ChatGenerationChunk, Choice, TextGenerationResult, Usage
from apex_llm_gateway.openai.endings import COMPLETION_FINISHES, finish_of, service_of, sum_of, usage_of
from apex_llm_gateway.openai.frames import Envelope
from apex_llm_gateway.openai.jsontext import quote
from apex_llm_gateway.openai.logprobs import completion_logprobs, tokens_of


def completion_body(
    results: Sequence[TextGenerationResult], *, request_id: str, created: int, echo: Sequence[str] | None = None
) -> bytes:
    """Return *results* as a ``text_completion``.

    Args:
        results: what the manager answered to each prompt, at least one.
        request_id: of the gateway's request.
        created: in unix seconds.
        echo: the prompts, where each is to stand before its answers.
    """
    # A prompt with fewer choices than others must not move the numbers of those behind it.
    stride = 1 + max(choice.index for result in results for choice in result.choices)
    choices = [
        _choice(choice, position * stride + choice.index, echo[position] if echo else "")
        for position, result in enumerate(results)
        for choice in result.choices
    ]
    first = results[0]
    usage = sum_of(result.usage for result in results)
    return b'{"id":%b,"object":"text_completion","created":%d,"model":%b,"choices":[%b]%b%b}' % (
        quote(f"cmpl-{request_id}"),
        created,
        quote(first.model),
        b",".join(choices),
        b"" if usage is None else b',"usage":' + usage_of(usage),
        service_of(first.details) if first.details else b"",
    )


def _choice(choice: Choice, index: int, prompt: str) -> bytes:
    text = choice.message.text
    logprobs = choice.logprobs
    return b'{"text":%b,"index":%d,"logprobs":%b,%b}' % (
        quote(prompt + text),
        index,
        b"null" if logprobs is None else encode(completion_logprobs(tokens_of(logprobs), len(prompt))),
        finish_of(choice.finish_reason, COMPLETION_FINISHES),
    )


class CompletionFrames:
    """Writes the frames of one stream.

    Args:
        request_id: of the gateway's request.
        created: in unix seconds.
        model: which answers.
        include_usage: the last frame tells the usage and where the answer came from.
    """

    def __init__(self, *, request_id: str, created: int, model: str, include_usage: bool) -> None:
        self._model = model
        self._envelope = Envelope(
            id=f"cmpl-{request_id}",
            object="text_completion",
            created=created,
            model=model,
            include_usage=include_usage,
        )
        #: Characters of a choice before the tokens that come next, where they were counted.
        self._lengths: dict[int, int] = {}
        #: Of a frame that has only text: all between it and its choice's number, and all behind that.
        self._before = self._envelope.head + b'{"text":'
        self._behind = b',"logprobs":null,"finish_reason":null}' + self._envelope.tail

    def echo(self, prompt: str, choices: range) -> bytes:
        """Return the frames that say *prompt* at the beginning of each of *choices*."""
        for index in choices:
            self._lengths[index] = len(prompt)
        return b"".join([self._frame(prompt, index) for index in choices]) if prompt else b""

    def feed(self, batch: Sequence[ChatGenerationChunk], offset: int = 0) -> bytes:
        """Return the frames of *batch*; those that say nothing have none.

        Args:
            batch: chunks.
            offset: added to the numbers of their choices.
        """
        frames: list[bytes] = []
        for chunk in batch:
            index = chunk.index + offset
            if chunk.details is not None:
                self._envelope.note(chunk.details)
                self._before = self._envelope.head + b'{"text":'
            if chunk.logprobs is not None:
                frames.append(self._with_logprobs(chunk, index))
            elif chunk.text:
                frames.append(self._frame(chunk.text, index))
            if chunk.finish_reason is not None:
                frames.append(
                    b'%b"","index":%d,"logprobs":null,%b}%b'
                    % (self._before, index, finish_of(chunk.finish_reason, COMPLETION_FINISHES), self._envelope.tail)
                )
        return b"".join(frames)

    def finish(self, usage: Usage | None, *, cost: float | None, provider: str | None, attempts: int) -> bytes:
        """Return the end of the stream.

        Args:
            usage: of all prompts; None: unknown.
            cost: in the currency of the configured prices; None: unknown.
            provider: which answered.
            attempts: made in all.
        """
        return self._envelope.finish(usage, cost=cost, provider=provider, model=self._model, attempts=attempts)

    def _frame(self, text: str, index: int) -> bytes:
        return b'%b%b,"index":%d%b' % (self._before, quote(text), index, self._behind)

    def _with_logprobs(self, chunk: ChatGenerationChunk, index: int) -> bytes:
        tokens = tokens_of(chunk.logprobs)
        start = self._lengths.get(index, 0)
        self._lengths[index] = start + sum(len(token.text) for token in tokens)
        return b'%b%b,"index":%d,"logprobs":%b,"finish_reason":null}%b' % (
            self._before,
            quote(chunk.text),
            index,
            encode(completion_logprobs(tokens, start)),
            self._envelope.tail,
        )


__all__ = ["CompletionFrames", "completion_body"]
