from types import SimpleNamespace

import attrs
import pytest

from apex_llm_core.context import CallContext
from apex_llm_core.errors import Attempt
from apex_llm_core.models import (
    ChatGenerationResult,
    ChatMessage,
    Choice,
    EmbeddingResult,
    ImageGenerationResult,
    Usage,
)
from apex_llm_core.routing.outcome import settled

USAGE = Usage(prompt_tokens=3, completion_tokens=4)
MESSAGE = ChatMessage(role="assistant", content="Hello")
COMMON = {"model": "theirs", "provider": "somebody", "usage": USAGE, "request_id": "r", "cost": 9.0}
RESULTS = [
    ChatGenerationResult(
        message=MESSAGE,
        finish_reason="length",
        choices=(
            Choice(message=MESSAGE, finish_reason="length"),
            Choice(message=MESSAGE, finish_reason="stop", index=1),
        ),
        cached=True,
        details={"region": "east"},
        **COMMON,
    ),
    EmbeddingResult(embeddings=((1.0, 2.0), (3.0, 4.0)), cached=True, details={"a": 1}, **COMMON),
    ImageGenerationResult(images=("aGk=",), media_type="image/png", **COMMON),
]


def flight_of(*, cost=0.5, adapted=()):
    context = CallContext(request_id="ours")
    context.attempts.append(Attempt(number=1, provider="east", model="gpt-4o", duration=0.1))
    context.bill.cost = 0.75
    candidate = SimpleNamespace(provider="east", model="gpt-4o")
    return SimpleNamespace(candidate=candidate, context=context, cost=cost, adapted=adapted)


@pytest.mark.parametrize("result", RESULTS, ids=lambda result: type(result).__name__)
@pytest.mark.parametrize("cost", [None, 0.5])
@pytest.mark.parametrize("adapted", [(), ("tools as text",)])
def test_a_result_gets_what_the_core_knows_and_keeps_the_rest(result, cost, adapted):
    flight = flight_of(cost=cost, adapted=adapted)
    told = settled(result, flight)
    details = {**(result.details or {}), "adapted": ["tools as text"]} if adapted else result.details
    assert type(told) is type(result)
    # A field that is forgotten would be missing.
    assert attrs.asdict(told) == attrs.asdict(
        attrs.evolve(
            result,
            model="gpt-4o",
            provider="east",
            cost=None if cost is None else 0.75,
            attempts=tuple(flight.context.attempts),
            details=details,
        )
    )
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        told.model = "other"
    assert result.model == "theirs"
