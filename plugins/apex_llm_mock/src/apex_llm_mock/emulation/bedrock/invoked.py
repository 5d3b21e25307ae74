"""What InvokeModel answers: a body in the model's own form, and counts in headers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

#: A made-up latency in milliseconds, the same for every call.
LATENCY = 42


@attrs.frozen(kw_only=True)
class Invoked:
    """The answer to InvokeModel."""

    document: dict[str, Any]
    input_tokens: int
    #: None where nothing is counted, as for vectors and images.
    output_tokens: int | None = None

    @property
    def headers(self) -> Mapping[str, str]:
        """The headers beside it."""
        headers = {
            "x-amzn-bedrock-invocation-latency": str(LATENCY),
            "x-amzn-bedrock-input-token-count": str(self.input_tokens),
        }
        if self.output_tokens is not None:
            headers["x-amzn-bedrock-output-token-count"] = str(self.output_tokens)
        return headers


def metrics(input_tokens: int, output_tokens: int) -> dict[str, Any]:
    """Return the member that the last document of a stream carries beside its own."""
    return {
        "amazon-bedrock-invocationMetrics": {
            "inputTokenCount": input_tokens,
            "outputTokenCount": output_tokens,
            "invocationLatency": LATENCY,
            "firstByteLatency": LATENCY // 2,
        }
    }


__all__ = ["LATENCY", "Invoked", "metrics"]
