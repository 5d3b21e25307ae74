from __future__ import annotations

import math
import tracemalloc

import pytest

from apex_llm_core.converters import structure
from apex_llm_core.errors import InvalidRequestError
from apex_llm_core.models import (
    ChatGenerationOptions,
    ChatGenerationResult,
    ChatMessage,
    Choice,
    EmbeddingOptions,
    EmbeddingResult,
    FunctionChoice,
    FunctionDefinition,
    ImageGenerationOptions,
    ResponseFormat,
    TextGenerationOptions,
    TextGenerationResult,
)
from apex_llm_core.testing import run_virtual

# -- values that do not fit --------------------------------------------------------------------------------------------


def refused(kind, **fields):
    with pytest.raises(InvalidRequestError) as caught:
        kind(**fields)
    return str(caught.value)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"no_cache": "false"}, "no_cache is 'false'; expected True or False"),
        ({"no_cache": None}, "no_cache is None; expected True or False"),
        ({"no_cache": 0}, "no_cache is 0; expected True or False"),
        ({"logprobs": 1}, "logprobs is 1; expected True or False"),
        ({"parallel_tool_calls": "yes"}, "parallel_tool_calls is 'yes'; expected True or False"),
        ({"user": 5}, "user is 5; expected the id of the end user"),
        ({"stop": 5}, "stop is 5; expected a string or a sequence of strings"),
        ({"stop": {"a": 1}}, "stop is {'a': 1}; expected a string or a sequence of strings"),
        ({"stop": ["a", None]}, "stop[1] is None; expected a string"),
        ({"seed": True}, "seed is True; expected a whole number"),
        ({"temperature": math.inf}, "temperature is inf; expected a finite number of at least 0.0"),
        ({"reasoning_effort": 3}, "reasoning_effort is 3; expected a string"),
        ({"tools": 5}, "tools is a int; expected a sequence of FunctionDefinition"),
        ({"tools": "ab"}, "tools is a str; expected a sequence of FunctionDefinition"),
        ({"tools": FunctionDefinition(name="f")}, "tools is a FunctionDefinition; expected a sequence of"),
        ({"functions": [FunctionDefinition(name="f"), "g"]}, "functions[1] is a str; expected FunctionDefinition"),
        ({"tool_choice": 5}, "tool_choice is 5; expected a string or FunctionChoice"),
        ({"tool_choice": "require"}, "tool_choice is 'require'; did you mean 'required'?"),
        ({"tool_choice": "weather"}, "tool_choice is 'weather'; valid: auto, none, required"),
        ({"function_call": 5}, "function_call is 5; expected a string or FunctionChoice"),
        ({"function_call": ""}, "function_call is ''; valid: auto, none"),
        ({"extra": "top_k"}, "extra is a str; expected a mapping of parameters"),
        ({"extra": [("top_k", 1)]}, "extra is a list; expected a mapping of parameters"),
        ({"extra": {5: 1}}, "extra has the key 5; expected names of parameters as strings"),
    ],
)
def test_options_of_chat_that_do_not_fit(fields, message):
    assert refused(ChatGenerationOptions, **fields).startswith(message)


@pytest.mark.parametrize(
    ("kind", "fields", "message"),
    [
        (EmbeddingOptions, {"no_cache": "x"}, "no_cache is 'x'"),
        (EmbeddingOptions, {"user": 5}, "user is 5"),
        (EmbeddingOptions, {"extra": [1]}, "extra is a list"),
        (ImageGenerationOptions, {"size": 512}, "size is 512; expected a string"),
        (ImageGenerationOptions, {"seed": 0.5}, "seed is 0.5; expected a whole number"),
        (ImageGenerationOptions, {"extra": {"apiKey": "x"}}, "extra may not set apiKey"),
        (FunctionDefinition, {"name": ""}, "the name of a function is ''"),
        (
            FunctionDefinition,
            {"name": "f", "parameters": [1]},
            "parameters of the function 'f': expected a JSON Schema",
        ),
        (FunctionChoice, {"name": None}, "the name of a function is None"),
        (ResponseFormat, {"type": "json_schema", "schema": "x"}, "the schema of response_format: expected a JSON"),
    ],
)
def test_other_options_that_do_not_fit(kind, fields, message):
    assert refused(kind, **fields).startswith(message)


def test_what_fits_is_taken():
    tool = FunctionDefinition(name="f", parameters={})
    options = ChatGenerationOptions(
        stop=iter(["a", "b"]),
        tools=[tool],
        functions=(each for each in [tool]),
        tool_choice=FunctionChoice(name="f"),
        function_call="f",
        logprobs=False,
        no_cache=True,
        user="",
        reasoning_effort="a provider's own",
        extra={},
    )
    assert (options.stop, options.tools, options.functions) == (("a", "b"), (tool,), (tool,))
    assert ChatGenerationOptions(stop="ab").stop == ("ab",)
    for word in ("auto", "none", "required"):
        assert ChatGenerationOptions(tool_choice=word).tool_choice == word


# -- names that `extra` may not have -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        *("api_key", "apiKey", "API-KEY", "x-api-key", "api key", "api_base", "apiBase"),
        *("base_url", "baseUrl", "base-url", "url", "endpoint_url", "endpoint", "azureEndpoint"),
        *("headers", "extra_headers", "default-headers", "proxy", "http_proxies_proxy", "Authorization", "auth"),
        *("credentials", "credential_file", "secret_key", "awsSecretAccessKey", "aws_access_key_id", "password"),
        *("token", "api_token", "authToken", "access-token", "aws_session_token", "bearerToken"),
    ],
)
def test_extra_may_not_redirect_a_request_or_its_credentials(name):
    for extra, place in (
        ({name: "canary"}, name),
        ({"a": {name: "canary"}}, f"a.{name}"),
        ({"a": [{"b": ({name: "canary"},)}]}, f"a[0].b[0].{name}"),
    ):
        message = refused(TextGenerationOptions, extra=extra)
        assert message.startswith(f"extra may not set {place}: addresses, headers and credentials come from")
        assert "canary" not in message


@pytest.mark.parametrize(
    "name",
    [
        *("max_tokens", "token_budget", "maxCompletionTokens", "budget_tokens", "logit_bias", "top_k"),
        *("author", "prompt_cache_key", "safety_settings", "thinking", "metadata", "service_tier", "tokenizer"),
    ],
)
def test_extra_may_have_parameters(name):
    extra = {name: 1, "nested": [{name: {name: "url"}}]}
    assert TextGenerationOptions(extra=extra).extra == extra


def test_labels_may_have_any_names_and_nothing_else_may_hide_among_them():
    labels = {"metadata": {"source_url": "https://example.org", "token": "first"}}
    assert TextGenerationOptions(extra=labels).extra == labels
    assert "may not set metadata.url: " in refused(TextGenerationOptions, extra={"metadata": {"url": {"a": 1}}})
    assert "may not set metadata.url: " in refused(TextGenerationOptions, extra={"metadata": {"url": "x", "n": 1}})
    assert "may not set a.metadata.url: " in refused(TextGenerationOptions, extra={"a": {"metadata": {"url": "x"}}})
    assert "may not set url: " in refused(TextGenerationOptions, extra={"metadata": {"url": "x"}, "url": "y"})


def test_all_forbidden_names_are_told_whatever_their_depth():
    assert "may not set apiKey, b.url: " in refused(TextGenerationOptions, extra={"b": {"url": 1}, "apiKey": 1})
    circle: dict = {"url": 1}
    circle["again"] = circle
    assert "may not set url: " in refused(TextGenerationOptions, extra=circle)
    deep: dict = {"url": 1}
    for _ in range(2000):
        deep = {"a": deep}
    assert ".a.url: " in refused(TextGenerationOptions, extra=deep)
    assert "may not set a[1].url, a[2][0].x.header: " in refused(
        TextGenerationOptions, extra={"a": [{"b": [1, {}]}, {"url": 1, "more": [2]}, [{"x": {"header": 1}}]]}
    )
    long = f"{'x' * 100}_api_key"
    assert f"may not set {long}: " in refused(TextGenerationOptions, extra={long: 1})


def test_a_long_extra_is_looked_through_where_it_is():
    extra = {"numbers": [0] * 300_000}
    tracemalloc.start()
    try:
        TextGenerationOptions(extra=extra)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    # One more list of the same length would be two million bytes, one of places thirty.
    assert most < 500_000


# -- results -----------------------------------------------------------------------------------------------------------


def choice(index, text, logprobs=None):
    message = ChatMessage(role="assistant", content=text)
    return Choice(index=index, message=message, finish_reason="stop", logprobs=logprobs)


def test_a_text_result_keeps_all_choices_of_the_chat():
    choices = (choice(0, "a", {"content": [{"logprob": -0.5}]}), choice(1, "b"), choice(2, "c"))
    result = TextGenerationResult.from_chat(ChatGenerationResult.of(choices, model="m", provider="p"))
    assert result.text == "a"
    assert result.choices == choices


def test_a_text_result_of_its_own_has_one_choice():
    result = TextGenerationResult(text="a", model="m", provider="p", finish_reason="length")
    assert result.choices == (
        Choice(index=0, message=ChatMessage(role="assistant", content="a"), finish_reason="length"),
    )


def test_generate_text_returns_what_was_paid_for():
    from apex_llm_core.manager import LLMProviderManager

    async def main():
        config = {"providers": [{"name": "a", "type": "mock", "models": [{"id": "m"}]}]}
        async with LLMProviderManager(config, environ={}) as manager:
            return await manager.generate_text("hi", n=3)

    result = run_virtual(main())
    assert [one.index for one in result.choices] == [0, 1, 2]
    assert result.choices[0].message.text == result.text


def test_an_embedding_result_needs_one_of_its_two_forms():
    vectors = ((0.5, 1.0), (2.0,))
    many = EmbeddingResult(embeddings=vectors, model="m", provider="p")
    assert (many.embedding, many.embeddings) == (vectors[0], vectors)
    one = EmbeddingResult(embedding=vectors[0], model="m", provider="p")
    assert (one.embedding, one.embeddings) == (vectors[0], vectors[:1])
    with pytest.raises(ValueError, match="give at least one of 'embedding' and 'embeddings'"):
        EmbeddingResult(model="m", provider="p")


def test_the_embedding_document_of_the_specification_structures():
    usage = {"promptTokens": 3, "completionTokens": 0, "totalTokens": 3}
    document = {"embedding": [0.5, 1.0], "model": "m", "provider": "p", "usage": usage}
    result = structure(document, EmbeddingResult, camel_case=True)
    assert result.embeddings == ((0.5, 1.0),)
    assert result.usage.total_tokens == 3
    with pytest.raises(InvalidRequestError, match="give at least one of"):
        structure({"model": "m", "provider": "p"}, EmbeddingResult)


def test_what_a_message_repeats_of_extra_is_bounded():
    deep: dict = {"api_key": 1}
    for _ in range(20_000):
        deep = {"x": deep, "headers": 1}
    message = refused(ChatGenerationOptions, extra={"a" * 10_000: deep})
    assert "x.api_key" in message
    assert len(message) < 4_000
