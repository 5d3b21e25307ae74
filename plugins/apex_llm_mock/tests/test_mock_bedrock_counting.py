"""CountTokens of the Bedrock emulator."""

from __future__ import annotations

import json
from base64 import b64encode

import pytest
from apex_llm_mock.emulation.answers import RefusedError
from apex_llm_mock.emulation.bedrock.counting import count_tokens
from apex_llm_mock.emulation.bedrock.invoke import serve_invoke
from apex_llm_mock.emulation.bedrock.models import find
from apex_llm_mock.replies import Replier
from apex_llm_mock.settings import MockSettings

HAIKU = "anthropic.claude-3-haiku-20240307-v1:0"
SONNET = "anthropic.claude-sonnet-4-20250514-v1:0"
MESSAGES = [{"role": "user", "content": [{"text": "hello there"}]}]
INVALID = "The provided model identifier is invalid."


def converse(**more):
    return {"input": {"converse": {"messages": MESSAGES, **more}}}


def invoke_model(**more):
    body = {"anthropic_version": "bedrock-2023-05-31", "max_tokens": 10, **more}
    return {"input": {"invokeModel": {"body": b64encode(json.dumps(body).encode()).decode()}}}


def count(body, model=HAIKU):
    answer = count_tokens(model, body)
    assert answer.keys() == {"inputTokens"}
    return answer["inputTokens"]


def refused(body, model=HAIKU, declared=None):
    with pytest.raises(RefusedError) as caught:
        count_tokens(model, body, declared)
    answer = caught.value.answer
    assert (answer.status, answer.headers["x-amzn-errortype"].split(":")[0]) == (400, "ValidationException")
    return json.loads(answer.body)["message"]


def test_a_conversation_is_counted_with_all_that_belongs_to_it():
    bare = count(converse())
    with_system = count(converse(system=[{"text": "be kind to everybody"}]))
    tool = {"toolSpec": {"name": "get_weather", "inputSchema": {"json": {"type": "object"}}}}
    with_tools = count(converse(toolConfig={"tools": [tool]}))
    assert 0 < bare < with_system
    assert bare < with_tools


def test_the_count_is_what_the_request_itself_is_charged():
    messages = [{"role": "user", "content": "hello there"}]
    body = {"anthropic_version": "bedrock-2023-05-31", "max_tokens": 10, "messages": messages}
    answer = serve_invoke(find(HAIKU), body, key="k", replier=Replier(MockSettings()))
    assert count(invoke_model(messages=messages)) == answer.input_tokens == count(converse())


def test_models_that_only_profiles_reach_are_counted_by_their_own_id():
    assert count(converse(), SONNET) == count(converse(), HAIKU)


@pytest.mark.parametrize(
    "given",
    [
        f"us.{SONNET}",
        f"arn:aws:bedrock:us-east-1:123456789012:inference-profile/us.{SONNET}",
        "arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/chatsupport1",
        "arn:aws:bedrock:us-east-1:123456789012:provisioned-model/haiku1234567",
        "no.such-model",
    ],
)
def test_only_foundation_models_count(given):
    assert refused(converse(), given) == INVALID


def test_not_every_model_counts():
    assert refused(converse(), "amazon.nova-lite-v1:0") == "The provided model doesn't support counting tokens."
    assert refused(converse(), "amazon.titan-embed-text-v2:0") == "The provided model doesn't support counting tokens."


def test_declared_ids_count_like_their_model():
    assert count_tokens("mine", converse(), {"mine": HAIKU}) == count_tokens(HAIKU, converse())
    assert refused(converse(), HAIKU, {"mine": HAIKU}) == INVALID


@pytest.mark.parametrize("body", [None, [], {}, {"input": {}}, {"input": "x"}, {"input": {"other": {}}}])
def test_one_of_two_inputs_is_needed(body):
    assert "exactly one of" in refused(body)


def test_both_inputs_are_one_too_many():
    assert "exactly one of" in refused({"input": converse()["input"] | invoke_model()["input"]})


@pytest.mark.parametrize("body", [None, 1, "%%%", b64encode(b"no json").decode(), json.dumps({"messages": []})])
def test_a_body_is_json_in_base64(body):
    assert "base64" in refused({"input": {"invokeModel": {"body": body}}})


def test_requests_are_checked_as_if_they_were_made():
    assert refused(invoke_model()) == "messages: Field required"
    refused({"input": {"converse": {"messages": []}}})


def test_more_than_the_window_is_not_counted():
    long = [{"role": "user", "content": [{"text": "x" * 4 * 200_001}]}]
    assert refused({"input": {"converse": {"messages": long}}}).endswith("tokens > 200000 maximum")
