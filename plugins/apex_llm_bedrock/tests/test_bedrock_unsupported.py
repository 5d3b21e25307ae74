"""What one model does not take and another may is told apart from what is wrong everywhere."""

from __future__ import annotations

import pytest
from apex_llm_bedrock.embedding_formats import FORMATS, wishes_of
from apex_llm_bedrock.families import family_of
from apex_llm_bedrock.image_formats import image_calls
from apex_llm_bedrock.invoke.text import invoke_body
from apex_llm_bedrock.model_ids import parse_model_id
from apex_llm_bedrock.models import Model
from apex_llm_bedrock.requests import converse_body
from apex_llm_bedrock.settings import BedrockSettings

from apex_llm_core.errors import InvalidRequestError, UnsupportedParameterError
from apex_llm_core.models import (
    ChatGenerationOptions,
    ChatMessage,
    DocumentPart,
    EmbeddingOptions,
    FunctionDefinition,
    GenerateRequest,
    ImageGenerationOptions,
    ImagePart,
    ImageRequest,
    ResponseFormat,
    TextPart,
    ToolCallPart,
    ToolResultPart,
)

CLAUDE = "anthropic.claude-sonnet-4-20250514-v1:0"
TITAN = "amazon.titan-text-premier-v1:0"
LLAMA = "meta.llama3-1-8b-instruct-v1:0"
COMMAND = "cohere.command-r-v1:0"
PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR4nGP4z8AAAAMBAQDJ/pLvAAAAAElFTkSuQmCC"
PICTURE = ImagePart(data=PNG, media_type="image/png")
WEATHER = FunctionDefinition(name="weather", parameters={"type": "object"})
DOCX = DocumentPart(data="UEsDBAoA", media_type="application/msword", name="a")


def user(*parts):
    return ChatMessage(role="user", content=[TextPart(text=part) if isinstance(part, str) else part for part in parts])


def assistant(*parts):
    return ChatMessage(role="assistant", content=user(*parts).content)


def converse(model, *messages, **options):
    return _ask(lambda request, meant: converse_body(request, meant, BedrockSettings()), model, messages, options)


def invoke(form, model, *messages, **options):
    return _ask(lambda request, meant: invoke_body(form, request, meant, BedrockSettings()), model, messages, options)


def _ask(ask, model, messages, options):
    model_id = parse_model_id(model)
    meant = Model(name=model, id=model_id, family=family_of(model_id.base), base=model_id.base, invoke_format="")
    messages = messages or (user("Hello"),)
    ask(GenerateRequest(kind="chat", messages=messages, model="m", options=ChatGenerationOptions(**options)), meant)


def embed(form, model, **options):
    wishes_of(EmbeddingOptions(**options), FORMATS[form], family_of(model), input_type="search_document")


def draw(kind, base, **options):
    request = ImageRequest(prompt="a boat", model="m", options=ImageGenerationOptions(**options))
    image_calls(request, kind=kind, base=base, model_name=base, unsupported="error")


@pytest.mark.parametrize(
    ("ask", "parameters"),
    [
        (lambda: converse(CLAUDE, seed=1, frequency_penalty=0.5), ("frequency_penalty", "seed")),
        (lambda: converse(CLAUDE, n=2), ("n",)),
        (lambda: converse(CLAUDE, reasoning_effort="low", temperature=0.5), ("temperature",)),
        (lambda: converse(CLAUDE, reasoning_effort="low", max_tokens=1000), ("reasoning_effort",)),
        (lambda: converse(CLAUDE, reasoning_effort="utmost"), ("reasoning_effort",)),
        (
            lambda: converse(CLAUDE, response_format=ResponseFormat(type="json_schema", schema={"type": "array"})),
            ("response_format",),
        ),
        (lambda: converse(CLAUDE, user("look", ImagePart(url="https://example.com/a.png"))), ("images",)),
        (lambda: converse(CLAUDE, user("look", ImagePart(data="AAAA", media_type="image/tiff"))), ("images",)),
        (lambda: converse(CLAUDE, user("read", DocumentPart(data="AAAA", media_type="audio/wav"))), ("documents",)),
        (lambda: invoke("anthropic", CLAUDE, user("read", DOCX)), ("documents",)),
        (lambda: invoke("openai", "openai.gpt-oss-20b-1:0", user("read", DOCX)), ("documents",)),
        (
            lambda: invoke("anthropic", CLAUDE, user("look", ImagePart(url="s3://bucket/a.png"))),
            ("images",),
        ),
        (lambda: invoke("llama", LLAMA, tools=[WEATHER]), ("tools",)),
        (
            lambda: invoke(
                "llama",
                LLAMA,
                user("Hi"),
                assistant(ToolCallPart(id="1", name="weather")),
                ChatMessage(role="tool", content=[ToolResultPart(tool_call_id="1", content="sunny")]),
            ),
            ("tools",),
        ),
        (lambda: invoke("llama", LLAMA, user("look", PICTURE)), ("images",)),
        (lambda: invoke("llama", LLAMA, user("read", DOCX)), ("documents",)),
        (lambda: invoke("llama", LLAMA, n=2), ("n",)),
        (lambda: invoke("llama", LLAMA, user("<|eot_id|>")), ()),
        (lambda: invoke("titan", TITAN, user("a"), assistant("b"), user("c")), ()),
        (lambda: invoke("cohere", COMMAND, user("a"), assistant("b")), ()),
        (lambda: embed("titan_v1", "amazon.titan-embed-text-v1", dimensions=8), ("dimensions",)),
        (lambda: embed("titan_v2", "amazon.titan-embed-text-v2:0", dimensions=8), ("dimensions",)),
        (
            lambda: embed("titan_v1", "amazon.titan-embed-text-v1", extra={"embedding_types": ["int8"]}),
            ("extra.embedding_types",),
        ),
        (lambda: draw("none", CLAUDE), ()),
        (lambda: draw("amazon", "amazon.nova-canvas-v1:0", size="100x100"), ("size",)),
        (lambda: draw("amazon", "amazon.nova-canvas-v1:0", quality="ultra"), ("quality",)),
        (
            lambda: draw("amazon", "amazon.nova-canvas-v1:0", images=[PICTURE, PICTURE], mask=PICTURE),
            ("images",),
        ),
        (lambda: draw("stability", "stability.sd3-5-large-v1:0", style="vivid"), ("style",)),
        (lambda: draw("stability", "stability.sd3-5-large-v1:0", size="100x900"), ("size",)),
        (lambda: draw("stability", "stability.sd3-5-large-v1:0", images=[PICTURE, PICTURE]), ("images",)),
        (lambda: draw("stability", "stability.stable-image-core-v1:1", images=[PICTURE]), ("images",)),
        (lambda: draw("stability", "stability.sd3-5-large-v1:0", images=[PICTURE], mask=PICTURE), ("mask",)),
    ],
)
def test_what_the_model_lacks_is_named(ask, parameters):
    with pytest.raises(UnsupportedParameterError) as caught:
        ask()
    assert caught.value.parameters == parameters
    # Names with reasons are none any more.
    assert all(type(name) is str for name in caught.value.parameters)


@pytest.mark.parametrize(
    "ask",
    [
        lambda: converse(CLAUDE, extra={"messages": []}),
        lambda: converse(CLAUDE, tool_choice="required"),
        lambda: converse(CLAUDE, user(" ")),
        lambda: converse(CLAUDE, user("look", ImagePart(data="no base64!", media_type="image/png"))),
        lambda: converse(CLAUDE, user("read", DocumentPart(text=" "))),
        lambda: draw("amazon", "amazon.nova-canvas-v1:0", size="large"),
        lambda: draw("amazon", "amazon.nova-canvas-v1:0", extra={"task_type": "DOODLE"}),
    ],
)
def test_what_is_wrong_everywhere_is_no_matter_of_the_model(ask):
    with pytest.raises(InvalidRequestError) as caught:
        ask()
    assert not isinstance(caught.value, UnsupportedParameterError)
