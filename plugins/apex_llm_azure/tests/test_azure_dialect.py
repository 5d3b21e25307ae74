from __future__ import annotations

import pytest
from apex_llm_azure.dialect import corrected, dialect_of
from apex_llm_azure.endpoints import LATEST_DATED, parse_endpoint
from apex_llm_azure.families import FAMILIES, UNKNOWN, family_of
from hypothesis import given
from hypothesis import strategies as st

V1 = parse_endpoint("https://r.openai.azure.com")


def dated(version=LATEST_DATED):
    return parse_endpoint("https://r.openai.azure.com", api_version=version)


@pytest.mark.parametrize("endpoint", [V1, dated(), dated("2025-04-01-preview")], ids=["v1", "ga", "preview"])
@pytest.mark.parametrize(
    ("base_model", "key"),
    [
        ("gpt-4o", "max_tokens"),
        ("gpt-35-turbo", "max_tokens"),
        ("gpt-4.1", "max_tokens"),
        ("o1", "max_completion_tokens"),
        ("o3-mini", "max_completion_tokens"),
        ("gpt-5", "max_completion_tokens"),
    ],
)
def test_max_tokens_key_follows_the_declared_base_model(endpoint, base_model, key):
    assert dialect_of(endpoint, family_of(base_model)).max_tokens_key == key


def test_max_completion_tokens_is_not_forced_on_gpt_4o_deployments_that_reject_it():
    assert dialect_of(V1, family_of("gpt-4o-2024-08-06")).max_tokens_key == "max_tokens"
    assert dialect_of(dated(), family_of("gpt-4o-2024-08-06")).max_tokens_key == "max_tokens"


def test_max_tokens_key_of_an_undeclared_model_follows_the_surface_only():
    assert dialect_of(dated(), UNKNOWN).max_tokens_key == "max_tokens"
    assert dialect_of(V1, UNKNOWN).max_tokens_key == "max_completion_tokens"


@pytest.mark.parametrize(
    ("feature", "since", "base_model"),
    [
        ("structured_outputs", "2024-08-01-preview", "gpt-4o"),
        ("stream_options", "2024-09-01-preview", "gpt-4o"),
        ("parallel_tool_calls", "2024-09-01-preview", "gpt-4o"),
        ("reasoning_effort", "2024-12-01-preview", "o1"),
        ("developer_role", "2024-12-01-preview", "o1"),
        ("image_edits", "2025-04-01-preview", "gpt-image-1"),
    ],
)
def test_feature_is_gated_by_the_changelog_of_api_versions(feature, since, base_model):
    family = FAMILIES[base_model]

    assert getattr(dialect_of(dated(since), family), feature)
    assert getattr(dialect_of(dated("2025-04-01-preview"), family), feature)
    assert getattr(dialect_of(V1, family), feature)
    assert not getattr(dialect_of(dated("2024-07-01-preview"), family), feature)
    assert not getattr(dialect_of(dated("2023-05-15"), family), feature)


def test_stream_usage_is_asked_for_only_where_stream_options_are_known():
    assert not dialect_of(dated("2024-06-01"), UNKNOWN).stream_options
    assert dialect_of(dated("2024-10-21"), UNKNOWN).stream_options
    assert dialect_of(V1, UNKNOWN).stream_options


def test_images_edits_need_the_last_preview_or_v1():
    assert not dialect_of(dated(LATEST_DATED), FAMILIES["gpt-image-1"]).image_edits
    assert dialect_of(dated("2025-04-01-preview"), FAMILIES["gpt-image-1"]).image_edits


@pytest.mark.parametrize("base_model", ["o1", "o3", "o4-mini", "gpt-5", "gpt-5.1"])
def test_reasoning_models_take_no_sampling_parameters(base_model):
    dialect = dialect_of(V1, FAMILIES[base_model])

    assert not dialect.sampling
    assert not dialect.logprobs
    assert dialect.reasoning_effort
    assert dialect.developer_role


def test_other_models_take_no_reasoning_effort():
    dialect = dialect_of(V1, FAMILIES["gpt-4o"])

    assert dialect.sampling
    assert dialect.logprobs
    assert not dialect.reasoning_effort
    assert not dialect.developer_role


def test_exceptions_among_the_models():
    assert not dialect_of(V1, FAMILIES["o3-mini"]).parallel_tool_calls
    assert not dialect_of(V1, FAMILIES["o4-mini"]).stop
    assert dialect_of(V1, FAMILIES["o1"]).stop
    assert not dialect_of(V1, FAMILIES["gpt-35-turbo"]).structured_outputs
    assert not dialect_of(V1, FAMILIES["gpt-4o-2024-05-13"]).structured_outputs


def test_undeclared_model_may_be_sent_everything():
    dialect = dialect_of(V1, UNKNOWN)

    assert all(
        getattr(dialect, name)
        for name in (
            "stream_options",
            "reasoning_effort",
            "parallel_tool_calls",
            "sampling",
            "logprobs",
            "stop",
            "structured_outputs",
            "developer_role",
            "image_edits",
        )
    )


USE_OTHER = {
    "code": "unsupported_parameter",
    "param": "max_tokens",
    "type": "invalid_request_error",
    "message": "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead.",
}


def test_max_tokens_refused_by_a_reasoning_model_becomes_max_completion_tokens():
    body = {"messages": [], "max_tokens": 10, "n": 1}

    better = corrected(body, USE_OTHER)

    assert better == {"messages": [], "max_completion_tokens": 10, "n": 1}
    assert list(better) == ["messages", "max_completion_tokens", "n"]
    assert body == {"messages": [], "max_tokens": 10, "n": 1}


@pytest.mark.parametrize(
    "said",
    [
        {"code": "unknown_parameter", "param": "max_completion_tokens", "message": "Unknown parameter."},
        {"code": "unknown_parameter", "message": "Unknown parameter: 'max_completion_tokens'."},
        {
            "code": None,
            "type": "invalid_request_error",
            "message": "Unrecognized request argument supplied: max_completion_tokens",
        },
        {"refused_parameter": "max_completion_tokens"},
    ],
)
def test_max_completion_tokens_refused_by_an_older_deployment_becomes_max_tokens(said):
    assert corrected({"max_completion_tokens": 5}, said) == {"max_tokens": 5}


@pytest.mark.parametrize(
    "said",
    [
        {"code": "unknown_parameter", "param": "stream_options", "message": "Unknown parameter: 'stream_options'."},
        {"code": "unknown_parameter", "param": "stream_options.include_usage", "message": "Unknown parameter."},
        {"code": None, "message": "Unrecognized request argument supplied: stream_options"},
    ],
)
def test_stream_options_refused_by_an_older_version_are_dropped(said):
    body = {"stream": True, "stream_options": {"include_usage": True}}

    assert corrected(body, said) == {"stream": True}


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"max_tokens": 5}, None),
        ({"max_tokens": 5}, {}),
        ({"max_tokens": 5}, {"code": "invalid_value", "param": "max_tokens", "message": "max_tokens is too large"}),
        ({"n": 5}, USE_OTHER),
        ({"max_tokens": 5, "max_completion_tokens": 5}, USE_OTHER),
        ({"max_tokens": 5}, {"code": "unsupported_parameter", "param": "temperature", "message": "no"}),
        ({"max_tokens": 5}, {"code": ["unsupported_parameter"], "param": 7, "message": None}),
        ({"stream": True}, {"code": "unknown_parameter", "param": "stream_options", "message": ""}),
    ],
)
def test_nothing_is_resent_when_nothing_would_change(body, said):
    assert corrected(body, said) is None


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20), lambda inner: st.lists(inner, max_size=3)
)


@given(
    st.fixed_dictionaries(
        {},
        optional={
            "max_tokens": st.integers(),
            "max_completion_tokens": st.integers(),
            "stream_options": st.just({"include_usage": True}),
            "n": st.integers(),
        },
    ),
    st.fixed_dictionaries(
        {},
        optional={
            "code": st.sampled_from(["unsupported_parameter", "unknown_parameter"]) | _json,
            "param": st.sampled_from(["max_tokens", "max_completion_tokens", "stream_options"]) | _json,
            "message": st.sampled_from([USE_OTHER["message"], "Unknown parameter: 'stream_options'."]) | _json,
        },
    ),
)
def test_correction_changes_one_parameter_and_is_not_needed_twice(body, said):
    better = corrected(body, said)

    if better is not None:
        assert sum(name not in body for name in better) <= 1
        assert sum(name not in better for name in body) == 1
        assert corrected(better, said) is None
