"""The answer to ``POST /v1/embeddings``."""

from __future__ import annotations

import sys
from array import array
from base64 import b64encode
from collections.abc import Sequence

from apex_llm_core.converters import encode
from apex_llm_core.models import EmbeddingResult, Usage
from apex_llm_gateway.openai.jsontext import quote


def embeddings_body(result: EmbeddingResult, *, base64: bool) -> bytes:
    """Return *result* as a list of ``embedding``.

    Args:
        result: what the manager answered.
        base64: vectors as base64 of little-endian 32-bit numbers, which the official clients ask for, instead of lists.
    """
    write = _packed if base64 else _listed
    vectors = [
        b'{"object":"embedding","index":%d,"embedding":%b}' % (index, write(vector))
        for index, vector in enumerate(result.embeddings)
    ]
    return b'{"object":"list","data":[%b],"model":%b%b}' % (
        b",".join(vectors),
        quote(result.model),
        b"" if result.usage is None else _usage(result.usage),
    )


def _listed(vector: Sequence[float]) -> bytes:
    return encode(list(vector))


def _packed(vector: Sequence[float]) -> bytes:
    numbers = array("f", vector)
    if sys.byteorder == "big":
        numbers.byteswap()
    return b'"%b"' % b64encode(numbers)


def _usage(usage: Usage) -> bytes:
    return b',"usage":{"prompt_tokens":%d,"total_tokens":%d%b}' % (
        usage.prompt_tokens,
        usage.total_tokens,
        b',"estimated":true' if usage.estimated else b"",
    )


__all__ = ["embeddings_body"]
