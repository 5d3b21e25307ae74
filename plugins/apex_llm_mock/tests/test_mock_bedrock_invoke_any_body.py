"""Whatever a body is, the Bedrock emulator serves or refuses it; it never breaks."""

from __future__ import annotations

import copy
import json

import pytest
from apex_llm_mock.emulation.answers import RefusedError
from apex_llm_mock.emulation.bedrock.invoke import invoke_events, serve_invoke
from apex_llm_mock.emulation.bedrock.models import MODELS, look_up
from apex_llm_mock.replies import Replier
from apex_llm_mock.settings import MockSettings
from hypothesis import given, settings
from hypothesis import strategies as st

SAID = [
    {"role": "user", "content": [{"type": "text", "text": "hello"}]},
    {"role": "assistant", "content": [{"type": "tool_use", "id": "t1", "name": "f", "input": {}}]},
    {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t1", "content": "x"}]},
]
PROMPT = {"prompt": "hello", "max_tokens": 9, "stop": ["x"], "temperature": 0.5}
#: A sound body for each form.
BODIES = {
    "anthropic": {
        "anthropic_version": "bedrock-2023-05-31",
        "max_tokens": 50,
        "messages": SAID,
        "system": [{"type": "text", "text": "be kind"}],
        "stop_sequences": ["x"],
        "tools": [{"name": "f", "input_schema": {"type": "object"}}],
        "tool_choice": {"type": "auto"},
    },
    "openai": {
        "messages": [{"role": "user", "content": "hello"}],
        "stop": ["x"],
        "tools": [{"type": "function", "function": {"name": "f"}}],
        "tool_choice": "auto",
    },
    "nova": {
        "messages": [{"role": "user", "content": [{"text": "hello"}]}],
        "system": [{"text": "be kind"}],
        "inferenceConfig": {"maxTokens": 9, "stopSequences": ["x"]},
        "toolConfig": {"tools": [{"toolSpec": {"name": "f", "inputSchema": {"json": {"type": "object"}}}}]},
    },
    "titan": {"inputText": "hello", "textGenerationConfig": {"maxTokenCount": 9, "stopSequences": ["x"]}},
    "llama": {"prompt": "hello", "max_gen_len": 9},
    "mistral": PROMPT,
    "deepseek": PROMPT,
    "cohere": {"prompt": "hello", "max_tokens": 9, "stop_sequences": ["x"]},
    "cohere_chat": {
        "message": "hello",
        "chat_history": [{"role": "USER", "message": "x"}],
        "preamble": "be kind",
        "tools": [{"name": "f", "description": "x", "parameter_definitions": {"a": {"type": "str", "required": True}}}],
    },
    "ai21": {"messages": [{"role": "user", "content": "hello"}]},
    "titan_v1": {"inputText": "hello"},
    "titan_v2": {"inputText": "hello", "dimensions": 256, "embeddingTypes": ["float"]},
    "titan_image": {"inputText": "hello", "embeddingConfig": {"outputEmbeddingLength": 256}},
    "cohere_v3": {"texts": ["hello"], "input_type": "clustering", "embedding_types": ["int8"]},
    "cohere_v4": {
        "inputs": [{"content": [{"type": "text", "text": "hello"}]}],
        "input_type": "clustering",
        "output_dimension": 256,
    },
    "nova_vectors": {
        "taskType": "SINGLE_EMBEDDING",
        "singleEmbeddingParams": {
            "embeddingPurpose": "CLUSTERING",
            "embeddingDimension": 256,
            "text": {"truncationMode": "END", "value": "hello"},
        },
    },
    "amazon": {
        "taskType": "TEXT_IMAGE",
        "textToImageParams": {"text": "a cat", "negativeText": "dogs"},
        "imageGenerationConfig": {"width": 512, "height": 512, "numberOfImages": 1, "seed": 1},
    },
    "stability": {"prompt": "a cat", "aspect_ratio": "1:1", "seed": 1},
}


def form_of(model):
    if model.embedding == "nova":
        return "nova_vectors"
    return model.invoke or model.embedding or model.image


def invoke(model_id, body):
    found = look_up(model_id)
    replier = Replier(MockSettings())
    document = serve_invoke(found, body, key="k", replier=replier).document
    if found.model.invoke and found.model.streaming:
        assert invoke_events(found, body, key="k", replier=replier)
    return document


def places(value, where=()):
    """Yield the way to every value within."""
    yield where
    if isinstance(value, dict):
        for key, item in value.items():
            yield from places(item, (*where, key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from places(item, (*where, index))


def changed(body, where, value):
    if not where:
        return value
    body = copy.deepcopy(body)
    inner = body
    for step in where[:-1]:
        inner = inner[step]
    inner[where[-1]] = value
    return body


@pytest.mark.parametrize("model_id", MODELS)
def test_every_model_serves_a_sound_body(model_id):
    assert json.dumps(invoke(model_id, BODIES[form_of(MODELS[model_id])]))


FIRST = {form_of(model): model_id for model_id, model in reversed(MODELS.items())}
VALUES = st.sampled_from([None, True, 0, -1, 1.5, 10**12, "", "x", "[blocked prompt]", [], {}, [[]], [{}], {"x": 1}])


def answered(model_id, body):
    """Return the status of the answer, whose body is checked."""
    try:
        return 200 if json.dumps(invoke(model_id, body)) else None
    except RefusedError as refusal:
        return refusal.answer.status if json.loads(refusal.answer.body)["message"] else None


@settings(max_examples=400, deadline=None)
@given(data=st.data(), form=st.sampled_from(sorted(FIRST)), value=VALUES)
def test_anything_else_is_served_or_refused(data, form, value):
    body = BODIES[form]
    where = data.draw(st.sampled_from(list(places(body))))
    assert answered(FIRST[form], changed(body, where, value)) in (200, 400, 424)
