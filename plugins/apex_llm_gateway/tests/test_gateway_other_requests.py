from __future__ import annotations

import typing

import pytest
from apex_llm_gateway.openai import completions_request, embeddings_request, images_request
from apex_llm_gateway.openai.completions_request import read_completion
from apex_llm_gateway.openai.embeddings_request import read_embeddings
from apex_llm_gateway.openai.images_request import read_image
from apex_llm_gateway.openai.rules import ParameterError, Rules
from hypothesis import given
from hypothesis import strategies as st
from openai.types.completion_create_params import CompletionCreateParamsBase
from openai.types.embedding_create_params import EmbeddingCreateParams
from openai.types.image_generate_params import ImageGenerateParamsBase

RULES = Rules()
SAY = {"model": "m", "prompt": "Say"}
EMBED = {"model": "m", "input": "hello"}
DRAW = {"model": "m", "prompt": "A cat"}


def refused(read, document, rules=RULES) -> ParameterError:
    with pytest.raises(ParameterError) as caught:
        read(document, rules)
    return caught.value


class TestCompletions:
    def test_one_prompt_or_several(self):
        assert read_completion(SAY, RULES).prompts == ("Say",)
        assert read_completion({**SAY, "prompt": ["a", ""]}, RULES).prompts == ("a", "")

    def test_options(self):
        request = read_completion(
            {
                **SAY,
                "max_tokens": 5,
                "n": 2,
                "echo": True,
                "stream": True,
                "stream_options": {"include_usage": True},
                "best_of": 3,
                "suffix": "!",
                "stop": "x",
            },
            RULES,
        )
        assert (request.echo, request.stream, request.include_usage) == (True, True, True)
        assert (request.options.max_tokens, request.options.n, request.options.stop) == (5, 2, ("x",))
        assert request.options.extra == {"best_of": 3, "suffix": "!"}

    def test_log_probabilities_are_a_number_here(self):
        options = read_completion({**SAY, "logprobs": 4}, RULES).options
        assert (options.logprobs, options.top_logprobs) == (True, 4)
        assert read_completion({**SAY, "logprobs": None}, RULES).options.logprobs is None

    @pytest.mark.parametrize(
        ("members", "param", "words"),
        [
            ({"prompt": None}, "prompt", "missing"),
            ({"prompt": []}, "prompt", "at least one text"),
            ({"prompt": 1}, "prompt", "text or a list of texts"),
            ({"prompt": [1, 2]}, "prompt[0]", "not token ids"),
            ({"prompt": ["a", [1, 2]]}, "prompt[1]", "not token ids"),
            ({"prompt": ["a", None]}, "prompt[1]", "expected text, not null"),
            ({"prompt": ["a", True]}, "prompt[1]", "expected text, not a boolean"),
            ({"prompt": ["a"] * 2049}, "prompt", "at most 2048"),
            ({"logprobs": True}, "logprobs", "not a boolean"),
            ({"logprobs": -1}, "logprobs", "logprobs is -1"),
            ({"logprobs": "2"}, "logprobs", "logprobs is '2'"),
            ({"echo": "yes"}, "echo", "expected a boolean"),
            ({"model": None}, "model", "missing"),
        ],
    )
    def test_what_is_wrong_is_told_with_its_place(self, members, param, words):
        error = refused(read_completion, {**SAY, **members})
        assert error.param == param
        assert words in error.message


class TestEmbeddings:
    def test_one_text_or_several(self):
        assert read_embeddings(EMBED, RULES).texts == ("hello",)
        assert read_embeddings({**EMBED, "input": ["a", "b"]}, RULES).texts == ("a", "b")

    @pytest.mark.parametrize(("encoding", "expected"), [(None, False), ("float", False), ("base64", True)])
    def test_the_form_of_vectors(self, encoding, expected):
        assert read_embeddings({**EMBED, "encoding_format": encoding}, RULES).base64 is expected

    def test_options(self):
        options = read_embeddings({**EMBED, "dimensions": 3, "user": "u", "input_type": "query"}, RULES).options
        assert (options.model, options.dimensions, options.user) == ("m", 3, "u")
        assert options.extra == {"input_type": "query"}

    @pytest.mark.parametrize(
        ("members", "param", "words"),
        [
            ({"input": None}, "input", "missing"),
            ({"input": ""}, "input", "empty"),
            ({"input": ["a", ""]}, "input[1]", "empty"),
            ({"input": []}, "input", "at least one text"),
            ({"input": ["a"] * 2049}, "input", "at most 2048"),
            ({"input": [15339, 1917]}, "input[0]", "not token ids"),
            ({"input": [[15339], [1917]]}, "input[0]", "not token ids"),
            ({"input": {"text": "x"}}, "input", "text or a list of texts, not an object"),
            ({"encoding_format": "int8"}, "encoding_format", "valid: base64, float"),
            ({"dimensions": 0}, "dimensions", "at least 1"),
            ({"dimensions": "3"}, "dimensions", "whole number"),
        ],
    )
    def test_what_is_wrong_is_told_with_its_place(self, members, param, words):
        error = refused(read_embeddings, {**EMBED, **members})
        assert error.param == param
        assert words in error.message


class TestImages:
    def test_options(self):
        request = read_image(
            {**DRAW, "n": 2, "size": "1024x1024", "quality": "hd", "style": "vivid", "user": "u", "seed": 1}, RULES
        )
        options = request.options
        assert (request.prompt, options.model, options.n, options.size) == ("A cat", "m", 2, "1024x1024")
        assert (options.quality, options.style, options.user, options.seed) == ("hd", "vivid", "u", 1)
        assert options.extra is None

    def test_a_size_that_the_model_may_choose_is_none(self):
        assert read_image({**DRAW, "size": "auto"}, RULES).options.size is None

    def test_the_model_may_be_left_to_the_configuration(self):
        assert read_image({"prompt": "A cat"}, RULES).options.model == ""

    def test_what_only_some_models_know_passes_and_the_wish_for_urls_does_not(self):
        request = read_image({**DRAW, "output_format": "webp", "response_format": "url", "stream": False}, RULES)
        assert request.options.extra == {"output_format": "webp"}

    @pytest.mark.parametrize(
        ("members", "param", "words"),
        [
            ({"prompt": None}, "prompt", "missing"),
            ({"prompt": " "}, "prompt", "empty"),
            ({"n": 0}, "n", "at least 1"),
            ({"size": 1024}, "size", "string"),
            ({"stream": True}, "stream", "not streamed"),
            ({"stream": "false"}, "stream", "expected a boolean"),
            ({"partial_images": 2}, "partial_images", "not streamed"),
            ({"response_format": "b64"}, "response_format", "valid: b64_json, url"),
            ({"model": ""}, "model", "empty"),
        ],
    )
    def test_what_is_wrong_is_told_with_its_place(self, members, param, words):
        error = refused(read_image, {**DRAW, **members})
        assert error.param == param
        assert words in error.message


@pytest.mark.parametrize(
    ("known", "official", "more"),
    [
        (completions_request.PARAMETERS, CompletionCreateParamsBase, {"stream"}),
        (embeddings_request.PARAMETERS, EmbeddingCreateParams, set()),
        (images_request.PARAMETERS, ImageGenerateParamsBase, {"stream", "seed"}),
    ],
)
def test_every_parameter_of_the_official_client_is_known(known, official, more):
    assert known.names == typing.get_type_hints(official).keys() | more


@pytest.mark.parametrize(("read", "body"), [(read_completion, SAY), (read_embeddings, EMBED), (read_image, DRAW)])
def test_unknown_parameters_follow_the_rules_and_forbidden_ones_never_pass(read, body):
    assert read({**body, "novelty": 1}, RULES).options.extra == {"novelty": 1}
    assert read({**body, "novelty": 1}, Rules(unknown="drop")).options.extra is None
    assert refused(read, {**body, "novelty": 1}, Rules(unknown="reject")).param == "novelty"
    for unknown in ("pass", "drop", "reject"):
        assert refused(read, {**body, "api_key": "x"}, Rules(unknown=unknown)).message.startswith("callers cannot set")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@pytest.mark.parametrize(
    ("read", "body", "known"),
    [
        (read_completion, SAY, completions_request.PARAMETERS),
        (read_embeddings, EMBED, embeddings_request.PARAMETERS),
        (read_image, DRAW, images_request.PARAMETERS),
    ],
)
@given(data=st.data(), value=JSON)
def test_whatever_a_parameter_holds_is_read_or_refused_with_its_place(read, body, known, data, value):
    name = data.draw(st.sampled_from(sorted(known.names)))
    place = name
    try:
        read({**body, name: value}, RULES)
    except ParameterError as error:
        place = error.param
    assert place is not None
    assert place.startswith(name)
