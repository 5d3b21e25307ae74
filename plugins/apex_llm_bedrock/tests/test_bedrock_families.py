from __future__ import annotations

import attrs
import pytest
from apex_llm_bedrock.families import FAMILIES, UNKNOWN, family_of
from apex_llm_bedrock.model_ids import GEOGRAPHIES
from hypothesis import given
from hypothesis import strategies as st

from apex_llm_core.models.requests import CAPABILITIES


@pytest.mark.parametrize(
    ("base", "family"),
    [
        ("anthropic.claude-3-haiku-20240307-v1:0", "anthropic.claude-3-haiku"),
        ("anthropic.claude-3-5-sonnet-20240620-v1:0", "anthropic.claude-3-5-sonnet"),
        ("anthropic.claude-3-5-sonnet-20241022-v2:0", "anthropic.claude-3-5-sonnet-20241022"),
        ("anthropic.claude-v2:1:200k", "anthropic.claude-v2"),
        ("anthropic.claude-opus-4-20250514-v1:0", "anthropic.claude-opus-4-20250514"),
        ("anthropic.claude-opus-4-1-20250805-v1:0", "anthropic.claude-opus-4-1"),
        ("anthropic.claude-sonnet-4-5-20250929-v1:0", "anthropic.claude-sonnet-4-5"),
        ("anthropic.claude-opus-4-6-v1", "anthropic.claude-opus-4-6"),
        ("us.anthropic.claude-sonnet-4-20250514-v1:0", "anthropic.claude-sonnet-4-20250514"),
        ("us-gov.anthropic.claude-3-haiku-20240307-v1:0", "anthropic.claude-3-haiku"),
        ("Anthropic.Claude-V2", "anthropic.claude-v2"),
        ("amazon.nova-micro-v1:0", "amazon.nova-micro"),
        ("amazon.nova-2-lite-v1:0", "amazon.nova-2"),
        ("amazon.nova-2-sonic-v1:0", "amazon.nova-2-sonic"),
        ("amazon.nova-2-multimodal-embeddings-v1:0", "amazon.nova-2-multimodal-embeddings"),
        ("amazon.titan-embed-text-v2:0", "amazon.titan-embed-text-v2"),
        ("amazon.titan-image-generator-v2:0", "amazon.titan-image-generator"),
        ("meta.llama3-8b-instruct-v1:0", "meta.llama3"),
        ("meta.llama3-1-70b-instruct-v1:0", "meta.llama3-1"),
        ("us.meta.llama3-2-1b-instruct-v1:0", "meta.llama3-2-1b"),
        ("meta.llama4-maverick-17b-instruct-v1:0", "meta.llama4-maverick"),
        ("mistral.mistral-large-2407-v1:0", "mistral.mistral-large-2407"),
        ("mistral.mixtral-8x7b-instruct-v0:1", "mistral.mixtral-8x7b"),
        ("cohere.command-r-plus-v1:0", "cohere.command-r"),
        ("cohere.command-text-v14", "cohere.command-text"),
        ("cohere.embed-v4:0", "cohere.embed-v4"),
        ("ai21.jamba-1-5-mini-v1:0", "ai21.jamba-1-5"),
        ("deepseek.v3.2", "deepseek.v3"),
        ("openai.gpt-oss-20b-1:0", "openai.gpt-oss"),
        ("qwen.qwen3-32b-v1:0", "qwen.qwen3"),
        ("qwen.qwen3-coder-30b-a3b-v1:0", "qwen.qwen3-coder"),
        ("writer.palmyra-x5-v1:0", "writer.palmyra-x5"),
        ("stability.sd3-5-large-v1:0", "stability.sd3-5"),
        ("stability.stable-image-inpaint-v1:0", "stability"),
    ],
)
def test_longest_known_prefix_decides(base, family):
    assert family_of(base).name == family


@pytest.mark.parametrize(
    "base",
    [
        None,
        "",
        "a1b2c3d4e5f6",
        "amazon.nova-20-v1:0",
        "amazon.novax",
        "acme.claude-3-haiku",
        "arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/a1",
    ],
)
def test_what_only_looks_like_a_model_is_unknown(base):
    assert family_of(base) is UNKNOWN


def test_unknown_model_is_tried_with_everything_and_promised_nothing():
    assert UNKNOWN.capabilities == frozenset()
    assert UNKNOWN.system
    assert UNKNOWN.converse
    assert UNKNOWN.tools_in_streams
    assert UNKNOWN.stop_sequences
    assert UNKNOWN.sampling_both
    assert UNKNOWN.tool_choices == {"auto", "any", "tool"}
    # A hint is worth no refusal.
    assert UNKNOWN.cache_points == frozenset()
    assert not UNKNOWN.tool_results_alone


def test_claude_that_is_newer_than_the_table_is_still_a_claude():
    family = family_of("anthropic.claude-opus-9-20300101-v1:0")

    assert (family.vendor, family.reasoning, family.media_beside_tool_results) == ("anthropic", "adaptive", False)
    assert family.temperature


@pytest.mark.parametrize(
    ("family", "window", "output"),
    [
        ("anthropic.claude-3-haiku", 200_000, 4_096),
        ("anthropic.claude-3-7-sonnet", 200_000, 64_000),
        ("anthropic.claude-opus-4-1", 200_000, 32_000),
        ("amazon.nova-micro", 128_000, 10_000),
        ("amazon.nova-pro", 300_000, 10_000),
        ("amazon.titan-text-express", 8_192, 8_192),
        ("meta.llama3", 8_192, None),
        ("mistral.mistral-large-2407", 128_000, None),
        ("ai21.jamba-1-5", 256_000, 4_096),
        ("amazon.titan-embed-text-v2", 8_192, None),
        ("qwen.qwen3", None, None),
    ],
)
def test_sizes_are_the_documented_ones_or_unknown(family, window, output):
    found = FAMILIES[family]

    assert (found.max_tokens, found.max_output_tokens) == (window, output)


def test_complaint_3_only_tool_results_stand_in_a_message_of_llama_mistral_and_writer():
    alone = {family.vendor for family in FAMILIES.values() if family.tool_results_alone}

    assert alone == {"meta", "mistral", "writer"}


def test_complaint_3_documents_beside_tool_results_are_refused_by_claude_alone():
    refusing = {family.vendor for family in FAMILIES.values() if not family.media_beside_tool_results}

    assert refusing == {"anthropic"}


def test_complaint_9_tools_are_asked_without_stream_where_streams_take_none():
    assert not family_of("us.meta.llama4-scout-17b-instruct-v1:0").tools_in_streams
    assert not family_of("meta.llama3-1-70b-instruct-v1:0").tools_in_streams
    assert family_of("amazon.nova-lite-v1:0").tools_in_streams
    assert family_of("anthropic.claude-haiku-4-5-20251001-v1:0").tools_in_streams


def test_complaint_9_forced_tools_only_where_they_are_taken():
    assert FAMILIES["amazon.nova-lite"].tool_choices == {"auto", "any", "tool"}
    assert FAMILIES["mistral.mistral-large-2402"].tool_choices == {"auto", "any"}
    assert FAMILIES["meta.llama3-1"].tool_choices == {"auto"}
    assert FAMILIES["cohere.command-r"].tool_choices == frozenset()
    assert not FAMILIES["anthropic.claude-3-7-sonnet"].forces_while_reasoning


def test_complaint_20_reasoning_goes_back_signed_unsigned_or_not_at_all():
    assert FAMILIES["anthropic.claude-3-7-sonnet"].reasoning_back == "signed"
    assert FAMILIES["openai.gpt-oss"].reasoning_back == "text"
    assert FAMILIES["deepseek.r1"].reasoning_back == "none"
    assert FAMILIES["meta.llama3-3"].reasoning_back == "none"


def test_complaint_21_schemas_are_native_where_the_service_knows_them():
    assert FAMILIES["anthropic.claude-sonnet-4-5"].json == "native"
    assert FAMILIES["anthropic.claude-3-haiku"].json == "tool"
    assert FAMILIES["anthropic.claude-opus-4-1"].json == "tool"
    assert FAMILIES["meta.llama3-1"].json == "none"


def test_complaint_22_cache_points_stand_where_they_are_taken():
    assert FAMILIES["anthropic.claude-3-7-sonnet"].cache_points == {"system", "messages", "tools"}
    assert FAMILIES["amazon.nova-pro"].cache_points == {"system", "messages"}
    assert FAMILIES["anthropic.claude-3-haiku"].cache_points == frozenset()
    assert FAMILIES["meta.llama4"].cache_points == frozenset()


def test_complaint_25_stop_sequences_only_where_they_are_taken():
    assert not FAMILIES["openai.gpt-oss"].stop_sequences
    assert not FAMILIES["meta.llama3-1"].stop_sequences
    assert FAMILIES["amazon.nova-lite"].stop_limit == 4
    assert FAMILIES["anthropic.claude-3-haiku"].stop_limit is None


def test_newer_claudes_take_one_way_of_sampling_and_the_newest_none():
    assert FAMILIES["anthropic.claude-sonnet-4-20250514"].sampling_both
    assert not FAMILIES["anthropic.claude-opus-4-1"].sampling_both
    assert FAMILIES["anthropic.claude-sonnet-4-5"].temperature
    assert not FAMILIES["anthropic.claude-opus-4-7"].temperature
    assert not FAMILIES["anthropic.claude-opus-4-7"].top_p


@pytest.mark.parametrize(
    ("family", "form", "dimensions"),
    [
        ("amazon.titan-embed-text-v1", "titan_v1", (1_536,)),
        ("amazon.titan-embed-text-v2", "titan_v2", (1_024, 512, 256)),
        ("amazon.titan-embed-image", "titan_image", (1_024, 384, 256)),
        ("cohere.embed-multilingual-v3", "cohere_v3", (1_024,)),
        ("cohere.embed-v4", "cohere_v4", (1_536, 1_024, 512, 256)),
        ("amazon.nova-2-multimodal-embeddings", "nova", (3_072, 1_024, 384, 256)),
    ],
)
def test_embedding_models_name_form_and_sizes(family, form, dimensions):
    found = FAMILIES[family]

    assert (found.embedding, found.dimensions) == (form, dimensions)


def test_image_models_name_their_form():
    drawing = {name: family.image for name, family in FAMILIES.items() if family.image}

    assert drawing == {
        "amazon.nova-canvas": "amazon",
        "amazon.titan-image-generator": "amazon",
        "stability.sd3": "stability",
        "stability.sd3-5": "stability",
        "stability.stable-image-core": "stability",
        "stability.stable-image-ultra": "stability",
    }


@pytest.mark.parametrize("family", FAMILIES.values(), ids=FAMILIES)
def test_entry_of_the_table_contradicts_itself_nowhere(family):
    words = family.capabilities

    assert family_of(family.name) is family
    assert family.name == family.name.lower()
    assert words <= CAPABILITIES
    assert family.tool_choices <= {"auto", "any", "tool"}
    assert family.cache_points <= {"system", "messages", "tools"}
    assert ("embed" in words) == bool(family.embedding) == bool(family.dimensions)
    assert ("image" in words) == bool(family.image)
    assert not family.converse or "chat" in words
    assert ("json" in words) == (family.converse and family.json != "none")
    assert family.json != "tool" or not family.converse or family.tool_choices & {"any", "tool"}
    assert (family.reasoning in {"adaptive", "nova", "effort", "qwen", "openai"}) == bool(family.efforts)
    assert family.reasoning == "none" or "reasoning" in words
    assert family.converse or "chat" not in words
    assert (
        family.max_output_tokens is None or family.max_tokens is None or family.max_output_tokens <= family.max_tokens
    )


def test_families_cannot_be_changed():
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        FAMILIES["amazon.nova-lite"].system = False
    with pytest.raises(TypeError):
        FAMILIES["mine"] = UNKNOWN


@given(st.text(max_size=40) | st.from_regex(r"[a-z0-9.:-]{0,40}", fullmatch=True))
def test_any_text_has_a_family_or_none(base):
    assert family_of(base) in {*FAMILIES.values(), UNKNOWN}


@given(
    st.sampled_from(sorted(FAMILIES)),
    st.sampled_from(GEOGRAPHIES),
    st.from_regex(r"(-v[0-9](:[0-9])?)?", fullmatch=True),
)
def test_geography_and_version_change_no_family(name, geo, version):
    if "." in name:
        assert family_of(f"{geo}.{name}{version}") is family_of(f"{name}{version}")
