from __future__ import annotations

import attrs
import pytest
from apex_llm_azure.families import FAMILIES, UNKNOWN, family_of
from hypothesis import given
from hypothesis import strategies as st

from apex_llm_core.models.requests import CAPABILITIES


@pytest.mark.parametrize(
    ("base_model", "family"),
    [
        ("gpt-4o", "gpt-4o"),
        ("gpt-4o-2024-08-06", "gpt-4o"),
        ("GPT-4o", "gpt-4o"),
        ("azure/gpt-4o-2024-11-20", "gpt-4o"),
        ("gpt-4o:2024-08-06", "gpt-4o"),
        ("gpt-4o-2024-05-13", "gpt-4o-2024-05-13"),
        ("gpt-4o-mini-2024-07-18.ft-0f1e2d", "gpt-4o-mini"),
        ("gpt-35-turbo-0125", "gpt-35-turbo"),
        ("gpt-3.5-turbo-0125", "gpt-35-turbo"),
        ("gpt-35-turbo-16k-0613", "gpt-35-turbo"),
        ("gpt-4-0613", "gpt-4"),
        ("gpt-4-1106-preview", "gpt-4-turbo"),
        ("gpt-4-turbo-2024-04-09", "gpt-4-turbo"),
        ("gpt-4.1-mini-2025-04-14", "gpt-4.1-mini"),
        ("o1-2024-12-17", "o1"),
        ("o4-mini-2025-04-16", "o4-mini"),
        ("gpt-5-2025-08-07", "gpt-5"),
        ("gpt-5-chat-latest", "gpt-5-chat"),
        ("gpt-5.1-2025-11-13", "gpt-5.1"),
        ("text-embedding-3-large", "text-embedding-3-large"),
        ("gpt-image-1", "gpt-image-1"),
    ],
)
def test_base_model_with_or_without_a_version_finds_its_family(base_model, family):
    assert family_of(base_model).name == family


@pytest.mark.parametrize(
    "base_model",
    [None, "", "prod", "my-gpt-4o", "gpt-4o-prod", "o1-preview", "o10", "gpt-5.9", "gpt-4o-", "DeepSeek-R1"],
)
def test_name_that_only_looks_like_a_model_is_unknown(base_model):
    assert family_of(base_model) is UNKNOWN


@pytest.mark.parametrize(
    ("model", "window", "output"),
    [
        ("gpt-35-turbo", 16_385, 4_096),
        ("gpt-4", None, None),
        ("gpt-4o", 128_000, 16_384),
        ("gpt-4o-2024-05-13", 128_000, 4_096),
        ("gpt-4.1", 1_047_576, 32_768),
        ("o3-mini", 200_000, 100_000),
        ("gpt-5-nano", 400_000, 128_000),
        ("gpt-5.1-chat", 128_000, 16_384),
        ("gpt-5.4", 1_050_000, 128_000),
        ("text-embedding-3-small", 8_192, None),
        ("gpt-image-1", None, None),
    ],
)
def test_sizes_are_the_documented_ones(model, window, output):
    family = FAMILIES[model]

    assert (family.max_tokens, family.max_output_tokens) == (window, output)


def test_reasoning_models_are_the_o_series_and_gpt_5_without_its_chat_variant():
    reasoning = {name for name, family in FAMILIES.items() if family.reasoning}

    assert {"o1", "o3", "o3-mini", "o4-mini", "gpt-5", "gpt-5-mini", "gpt-5.1", "gpt-5.4-nano"} <= reasoning
    assert reasoning.isdisjoint({"gpt-4o", "gpt-4.1", "gpt-5-chat", "gpt-35-turbo", "text-embedding-3-large"})


def test_capabilities_of_the_exceptions():
    assert "stream" not in FAMILIES["o1"].capabilities
    assert "vision" not in FAMILIES["o3-mini"].capabilities
    assert "tools" not in FAMILIES["gpt-5-chat"].capabilities
    assert FAMILIES["text-embedding-3-large"].capabilities == {"embed"}
    assert FAMILIES["gpt-image-1"].capabilities == {"image"}


@pytest.mark.parametrize(
    "model", ["o3-pro", "gpt-5-codex", "gpt-5-pro", "gpt-5.1-codex-max", "gpt-5.4-pro", "codex-mini"]
)
def test_models_of_the_responses_api_alone_offer_nothing_to_chat_completions(model):
    assert FAMILIES[model].capabilities == frozenset()


def test_embedding_dimensions():
    assert FAMILIES["text-embedding-3-small"].dimensions_adjustable
    assert not FAMILIES["text-embedding-ada-002"].dimensions_adjustable


def test_table_uses_the_core_words_and_knows_its_own_names():
    for name, family in FAMILIES.items():
        assert family.name == name
        assert family_of(name) is family
        assert family.capabilities <= set(CAPABILITIES)


def test_families_cannot_be_changed():
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        FAMILIES["gpt-4o"].reasoning = True
    with pytest.raises(TypeError):
        FAMILIES["mine"] = UNKNOWN


@given(st.text(max_size=40))
def test_any_text_has_a_family_or_none(base_model):
    assert family_of(base_model) in {*FAMILIES.values(), UNKNOWN}
