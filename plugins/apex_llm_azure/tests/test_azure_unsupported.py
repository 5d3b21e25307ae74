"""What one deployment does not take and another may is told apart from what is wrong everywhere."""

from __future__ import annotations

import pytest
from apex_llm_azure.dialect import dialect_of
from apex_llm_azure.endpoints import parse_endpoint
from apex_llm_azure.families import family_of
from apex_llm_azure.requests import chat_body

from apex_llm_core.errors import InvalidRequestError, UnsupportedParameterError
from apex_llm_core.models import (
    ChatGenerationOptions,
    ChatMessage,
    DocumentPart,
    GenerateRequest,
    ImagePart,
    ResponseFormat,
    TextPart,
)

PDF = DocumentPart(data="JVBERi0=", media_type="application/pdf")
PNG = ImagePart(data="iVBORw0KGgo=", media_type="image/png")
HELLO = "Hello"


def body(content=HELLO, *, base_model="o3-mini", api_version="", **options):
    endpoint = parse_endpoint("https://r.openai.azure.com", api_version=api_version)
    message = ChatMessage(role="user", content=content)
    request = GenerateRequest(kind="chat", messages=(message,), model="m", options=ChatGenerationOptions(**options))
    dialect = dialect_of(endpoint, family_of(base_model))
    return chat_body(request, deployment="prod", dialect=dialect, unsupported="error")


@pytest.mark.parametrize(
    ("more", "parameters"),
    [
        ({"temperature": 0.2, "seed": 1, "logprobs": True}, ("temperature", "logprobs")),
        ({"base_model": "o3", "stop": ["x"]}, ("stop",)),
        ({"base_model": "gpt-4o", "reasoning_effort": "low"}, ("reasoning_effort",)),
        (
            {
                "base_model": "gpt-4",
                "api_version": "2024-06-01",
                "response_format": ResponseFormat(type="json_schema", schema={}),
            },
            ("response_format",),
        ),
        ({"content": (TextPart(text="sum up"), PDF)}, ("documents",)),
    ],
)
def test_what_the_model_or_version_lacks_is_named(more, parameters):
    with pytest.raises(UnsupportedParameterError) as caught:
        body(**more)
    assert caught.value.parameters == parameters


@pytest.mark.parametrize("extra", [{"messages": []}, {"model": "other"}])
def test_what_is_wrong_everywhere_is_no_matter_of_the_deployment(extra):
    with pytest.raises(InvalidRequestError) as caught:
        body(extra=extra)
    assert not isinstance(caught.value, UnsupportedParameterError)


def test_embeddings_and_images(azure):
    with azure.client(models=("text-embedding-ada-002", "gpt-image-1"), surface="dated") as client:
        for ask, parameters in (
            (lambda: client.embed("a", model="text-embedding-ada-002", dimensions=8), ("dimensions",)),
            (lambda: client.image(style="vivid", seed=3), ("style", "seed")),
            (lambda: client.image(images=[ImagePart(data="R0lG", media_type="image/gif")]), ("images",)),
            (lambda: client.image(images=[PNG], mask=ImagePart(data="R0lG", media_type="image/gif")), ("mask",)),
        ):
            with pytest.raises(UnsupportedParameterError) as caught:
                ask()
            assert caught.value.parameters == parameters
        assert len(azure.journal) == 0


def test_changing_images_by_an_older_version(azure):
    provider = azure.provider(models=("gpt-image-1",), options={"api_version": "2024-10-21"})
    with azure.client(provider) as client:
        with pytest.raises(UnsupportedParameterError, match="api_version") as caught:
            client.image(images=[PNG])
        assert caught.value.parameters == ("images",)
        assert len(azure.journal) == 0
