"""The Bedrock emulator, seen by AWS's own client."""

from __future__ import annotations

import base64
import json
from contextlib import closing

import boto3
import pytest
from apex_llm_mock import MockSettings
from apex_llm_mock.emulation import BedrockEmulator
from botocore import UNSIGNED
from botocore.config import Config
from botocore.exceptions import ClientError, EventStreamError

HAIKU, SONNET = "anthropic.claude-3-haiku-20240307-v1:0", "us.anthropic.claude-sonnet-4-5-20250929-v1:0"
PROFILE = "arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/chatsupport1"
SYSTEM_PROFILE = f"arn:aws:bedrock:us-east-1:123456789012:inference-profile/{SONNET}"
FOUNDATION = "arn:aws:bedrock:us-east-1::foundation-model/amazon.nova-lite-v1:0"
PROVISIONED = "arn:aws:bedrock:us-east-1:123456789012:provisioned-model/novapro12345"
ASKED = [{"role": "user", "content": [{"text": "hello there"}]}]
PNG = b"\x89PNG\r\n\x1a\n" + bytes(24)


@pytest.fixture(scope="module")
def emulator():
    with BedrockEmulator(chunk_size=5).run_in_thread() as running:
        yield running


def make_client(emulator, service="bedrock-runtime", **more):
    settings = {
        "endpoint_url": emulator.url,
        "region_name": emulator.region,
        "aws_access_key_id": emulator.access_key_id,
        "aws_secret_access_key": emulator.secret_access_key,
        "config": Config(retries={"total_max_attempts": 1}, read_timeout=20),
    }
    return boto3.session.Session().client(service, **(settings | more))


@pytest.fixture
def client(emulator, no_aws):
    return make_client(emulator)


def bearing(emulator, key, service="bedrock-runtime"):
    """Return a client with an API key. botocore refuses to send one without https, so it is put in by hand."""
    client = make_client(
        emulator, service, config=Config(signature_version=UNSIGNED, retries={"total_max_attempts": 1})
    )
    client.meta.events.register(
        f"request-created.{service}", lambda request, **_: request.headers.add_header("Authorization", f"Bearer {key}")
    )
    return client


def refused(call, **arguments):
    with pytest.raises(ClientError) as caught:
        call(**arguments)
    return caught.value


@pytest.mark.parametrize("model", [HAIKU, SONNET, PROFILE, SYSTEM_PROFILE, FOUNDATION, PROVISIONED])
def test_converse(client, emulator, model):
    answer = client.converse(modelId=model, messages=ASKED, system=[{"text": "Be brief."}])
    assert answer["output"]["message"] == {"role": "assistant", "content": [{"text": "hello there"}]}
    assert answer["stopReason"] == "end_turn"
    assert answer["ResponseMetadata"]["RequestId"]
    received = emulator.journal[-1]
    assert (received.operation, received.deployment) == ("converse", model)
    assert received.path.count("/") == 3
    assert ":" not in received.path


def test_everything_at_once(client):
    point = {"cachePoint": {"type": "default"}}
    answer = client.converse(
        modelId=SONNET,
        system=[{"text": "Be brief."}, point],
        messages=[
            {
                "role": "user",
                "content": [
                    {"text": "Look, get_weather"},
                    {"image": {"format": "png", "source": {"bytes": PNG}}},
                    {"document": {"name": "report", "format": "pdf", "source": {"bytes": b"%PDF"}}},
                ],
            }
        ],
        inferenceConfig={"maxTokens": 5000, "temperature": 1, "stopSequences": ["END"]},
        toolConfig={
            "tools": [{"toolSpec": {"name": "get_weather", "inputSchema": {"json": {"type": "object"}}}}],
            "toolChoice": {"auto": {}},
        },
        additionalModelRequestFields={"thinking": {"type": "enabled", "budget_tokens": 1024}},
        additionalModelResponseFieldPaths=["/stop_sequence"],
        requestMetadata={"team": "a"},
        performanceConfig={"latency": "standard"},
        serviceTier={"type": "default"},
    )
    reasoning, used = answer["output"]["message"]["content"]
    assert reasoning["reasoningContent"]["reasoningText"]["signature"]
    assert used["toolUse"]["name"] == "get_weather"
    assert answer["stopReason"] == "tool_use"
    assert answer["additionalModelResponseFields"] == {"stop_sequence": None}


def test_converse_stream(client):
    events = list(client.converse_stream(modelId=SONNET, messages=ASKED)["stream"])
    assert [next(iter(event)) for event in events] == [
        "messageStart",
        *["contentBlockDelta"] * 3,
        "contentBlockStop",
        "messageStop",
        "metadata",
    ]
    text = "".join(event["contentBlockDelta"]["delta"]["text"] for event in events[1:4])
    whole = client.converse(modelId=SONNET, messages=ASKED)
    assert text == whole["output"]["message"]["content"][0]["text"]
    assert events[-1]["metadata"]["usage"] == whole["usage"]


def test_invoke_model(client):
    body = {"anthropic_version": "bedrock-2023-05-31", "max_tokens": 100}
    body["messages"] = [{"role": "user", "content": "hello there"}]
    answer = client.invoke_model(modelId=HAIKU, body=json.dumps(body))
    assert answer["contentType"] == "application/json"
    assert json.loads(answer["body"].read())["content"] == [{"type": "text", "text": "hello there"}]
    headers = answer["ResponseMetadata"]["HTTPHeaders"]
    assert headers["x-amzn-bedrock-input-token-count"] == "6"
    stream = client.invoke_model_with_response_stream(modelId=HAIKU, body=json.dumps(body))
    assert stream["contentType"] == "application/json"
    documents = [json.loads(event["chunk"]["bytes"]) for event in stream["body"]]
    assert documents[0]["type"] == "message_start"
    deltas = [document["delta"] for document in documents if document["type"] == "content_block_delta"]
    assert "".join(delta["text"] for delta in deltas) == "hello there"
    assert documents[-1]["amazon-bedrock-invocationMetrics"]["outputTokenCount"] == 3


def test_embeddings_and_images(client):
    answer = client.invoke_model(modelId="amazon.titan-embed-text-v2:0", body=json.dumps({"inputText": "hello"}))
    assert len(json.loads(answer["body"].read())["embedding"]) == 1024
    task = {"taskType": "TEXT_IMAGE", "textToImageParams": {"text": "a cat"}}
    task["imageGenerationConfig"] = {"width": 320, "height": 320, "numberOfImages": 1}
    answer = client.invoke_model(modelId="amazon.nova-canvas-v1:0", body=json.dumps(task))
    [image] = json.loads(answer["body"].read())["images"]
    assert base64.b64decode(image).startswith(b"\x89PNG")


def test_count_tokens(client):
    wanted = {"converse": {"messages": ASKED, "system": [{"text": "Be brief."}]}}
    count = client.count_tokens(modelId=HAIKU, input=wanted)["inputTokens"]
    assert (
        count == client.converse(modelId=HAIKU, messages=ASKED, system=[{"text": "Be brief."}])["usage"]["inputTokens"]
    )


def test_the_control_plane(emulator, no_aws):
    control = make_client(emulator, "bedrock")
    summaries = control.list_foundation_models(byOutputModality="EMBEDDING")["modelSummaries"]
    assert "amazon.titan-embed-text-v2:0" in {summary["modelId"] for summary in summaries}
    listed = control.list_inference_profiles(typeEquals="APPLICATION")["inferenceProfileSummaries"]
    assert PROFILE in {profile["inferenceProfileArn"] for profile in listed}
    found = control.get_inference_profile(inferenceProfileIdentifier=PROFILE)
    assert found["models"][0]["modelArn"].endswith("foundation-model/anthropic.claude-sonnet-4-5-20250929-v1:0")
    assert control.get_foundation_model(modelIdentifier=FOUNDATION)["modelDetails"]["providerName"] == "Amazon"
    assert emulator.journal[-1].operation == "foundation-model"
    assert emulator.journal[-1].deployment == FOUNDATION


def test_all_pages(no_aws):
    with BedrockEmulator(page_size=3).run_in_thread() as emulator:
        pages = list(make_client(emulator, "bedrock").get_paginator("list_inference_profiles").paginate())
        ids = [profile["inferenceProfileId"] for page in pages for profile in page["inferenceProfileSummaries"]]
        assert len(pages) > 3
        assert len(set(ids)) == len(ids)
        assert SONNET in ids


def test_an_api_key(emulator, no_aws):
    client = bearing(emulator, emulator.api_key)
    for model in (SONNET, PROFILE):
        assert client.converse(modelId=model, messages=ASKED)["stopReason"] == "end_turn"
    assert len(list(client.converse_stream(modelId=SONNET, messages=ASKED)["stream"])) == 7
    control = bearing(emulator, emulator.api_key, "bedrock")
    assert control.list_inference_profiles()["inferenceProfileSummaries"]


def test_a_wrong_api_key(emulator, no_aws):
    error = refused(bearing(emulator, "wrong").converse, modelId=SONNET, messages=ASKED)
    assert error.response["ResponseMetadata"]["HTTPStatusCode"] == 403
    # There is no code, so that botocore takes the status for it.
    assert error.response["Error"]["Code"] == "403"
    assert error.response["Error"]["Message"].startswith("Authentication failed")


@pytest.mark.parametrize(
    ("wrong", "code"),
    [
        ({"aws_secret_access_key": "wrong"}, "InvalidSignatureException"),
        ({"aws_access_key_id": "AKIDNOBODY"}, "UnrecognizedClientException"),
        ({"aws_session_token": "made up"}, "UnrecognizedClientException"),
        ({"region_name": "eu-west-1"}, "InvalidSignatureException"),
    ],
)
def test_wrong_credentials(emulator, no_aws, wrong, code):
    error = refused(make_client(emulator, **wrong).converse, modelId=SONNET, messages=ASKED)
    assert error.response["Error"]["Code"] == code
    assert error.response["ResponseMetadata"]["HTTPStatusCode"] == 403


def test_temporary_credentials(emulator, no_aws):
    key = emulator.keys.issue(lifetime=3600.0)
    credentials = {
        "aws_access_key_id": key.access_key_id,
        "aws_secret_access_key": key.secret_access_key,
        "aws_session_token": key.session_token,
    }
    client = make_client(emulator, **credentials)
    assert client.converse(modelId=PROFILE, messages=ASKED)["stopReason"] == "end_turn"
    headers = emulator.journal[-1].headers
    assert key.session_token not in str(headers)
    assert "Credential=ASIA" in headers["authorization"]
    emulator.keys.revoke(key.access_key_id)
    assert refused(client.converse, modelId=PROFILE, messages=ASKED).response["Error"]["Code"] == (
        "UnrecognizedClientException"
    )


def test_a_role_of_the_same_emulator(emulator, no_aws):
    sts = make_client(emulator, "sts")
    assumed = sts.assume_role(RoleArn="arn:aws:iam::123456789012:role/apex-llm", RoleSessionName="test")["Credentials"]
    client = make_client(
        emulator,
        aws_access_key_id=assumed["AccessKeyId"],
        aws_secret_access_key=assumed["SecretAccessKey"],
        aws_session_token=assumed["SessionToken"],
    )
    assert client.converse(modelId=SONNET, messages=ASKED)["stopReason"] == "end_turn"


def test_models_that_are_not_there(client):
    error = refused(client.converse, modelId="anthropic.claude-sonnet-4-5-20250929-v1:0", messages=ASKED)
    assert "with on-demand throughput isn\u2019t supported. Retry your request" in error.response["Error"]["Message"]
    error = refused(client.converse, modelId="no.such-model", messages=ASKED)
    assert error.response["Error"]["Message"] == "The provided model identifier is invalid."
    error = refused(client.converse, modelId="fault-nothing", messages=ASKED)
    assert error.response["Error"]["Message"] == "The provided model identifier is invalid."


def test_declared_models(no_aws):
    with BedrockEmulator(models={"prod": HAIKU}, replies=MockSettings(reply="Noon.")).run_in_thread() as emulator:
        client = make_client(emulator)
        answer = client.converse(modelId="prod", messages=ASKED)
        assert answer["output"]["message"]["content"] == [{"text": "Noon."}]
        assert (
            refused(client.converse, modelId=HAIKU, messages=ASKED).response["Error"]["Code"] == "ValidationException"
        )
        listed = make_client(emulator, "bedrock").list_foundation_models()["modelSummaries"]
        assert [summary["modelId"] for summary in listed] == ["prod"]
        assert refused(client.converse, modelId="fault-throttling", messages=ASKED).response["Error"]["Code"] == (
            "ThrottlingException"
        )


def test_limits(no_aws):
    now = 0.0
    with BedrockEmulator(requests_per_minute=2, clock=lambda: now).run_in_thread() as emulator:
        client = make_client(emulator)
        for _ in range(2):
            client.converse(modelId=SONNET, messages=ASKED)
        error = refused(client.converse, modelId=SONNET, messages=ASKED)
        assert isinstance(error, client.exceptions.ThrottlingException)
        assert error.response["Error"]["Message"] == "Too many requests, please wait before trying again."
        client.converse(modelId=HAIKU, messages=ASKED)
        now = 60.0
        client.converse(modelId=SONNET, messages=ASKED)
    with BedrockEmulator(tokens_per_minute=5).run_in_thread() as emulator:
        client = make_client(emulator)
        client.converse(modelId=SONNET, messages=ASKED)
        error = refused(client.converse, modelId=SONNET, messages=ASKED)
        assert error.response["Error"]["Message"] == "Too many tokens, please wait before trying again."


#: Errors of the service model, by the faults that bring them.
CLASSES = {
    "access_denied": "AccessDeniedException",
    "caching_not_allowed": "AccessDeniedException",
    "resource_not_found": "ResourceNotFoundException",
    "validation": "ValidationException",
    "conflict": "ConflictException",
    "throttling": "ThrottlingException",
    "code_in_body": "ThrottlingException",
    "code_in_type": "ThrottlingException",
    "code_with_uri": "ThrottlingException",
    "service_quota": "ServiceQuotaExceededException",
    "model_not_ready": "ModelNotReadyException",
    "model_timeout": "ModelTimeoutException",
    "model_error": "ModelErrorException",
    "model_stream_error": "ModelStreamErrorException",
    "internal_server": "InternalServerException",
    "service_unavailable": "ServiceUnavailableException",
}


@pytest.mark.parametrize("fault", CLASSES)
def test_errors_of_the_service_model(client, fault):
    error = refused(client.converse, modelId=f"fault-{fault.replace('_', '-')}", messages=ASKED)
    assert type(error) is getattr(client.exceptions, CLASSES[fault])
    shape = client.meta.service_model.shape_for(CLASSES[fault])
    status = error.response["ResponseMetadata"]["HTTPStatusCode"]
    assert status == shape.metadata["error"]["httpStatusCode"]
    if fault in ("model_error", "model_stream_error"):
        assert error.response["originalStatusCode"] == 500


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        ("exception_throttling", "throttlingException"),
        ("exception_internal_server", "internalServerException"),
        ("exception_model_stream", "modelStreamErrorException"),
        ("exception_validation", "validationException"),
        ("exception_service_unavailable", "serviceUnavailableException"),
        ("error_message", "InternalFailure"),
        # botocore has no name for what the service model does not list.
        ("exception_unknown", ""),
    ],
)
@pytest.mark.parametrize("operation", ["converse", "invoke"])
def test_exceptions_within_streams(client, emulator, fault, code, operation):
    emulator.faults.add(fault, after_chunks=1)
    read = []
    if operation == "converse":
        stream = client.converse_stream(modelId=SONNET, messages=ASKED)["stream"]
    else:
        body = json.dumps({"prompt": "hello there"})
        stream = client.invoke_model_with_response_stream(modelId="meta.llama3-8b-instruct-v1:0", body=body)["body"]
    with closing(stream), pytest.raises(EventStreamError) as caught:
        read.extend(stream)
    assert caught.value.response["Error"]["Code"] == code
    assert len(read) == (2 if operation == "converse" else 1)


def test_a_fault_of_one_call_is_over_with_it(client, emulator):
    emulator.faults.add("expired_token")
    assert refused(client.converse, modelId=SONNET, messages=ASKED).response["Error"]["Code"] == "ExpiredTokenException"
    assert client.converse(modelId=SONNET, messages=ASKED)["stopReason"] == "end_turn"


def test_the_client_itself_retries_what_the_service_says(emulator, no_aws, monkeypatch):
    waits = []
    monkeypatch.setattr("time.sleep", waits.append)
    client = make_client(emulator, config=Config(retries={"total_max_attempts": 2, "mode": "standard"}))
    emulator.faults.add("throttling_milliseconds", headers={"x-amz-retry-after": "1500"})
    assert client.converse(modelId=SONNET, messages=ASKED)["stopReason"] == "end_turn"
    assert [received.fault for received in emulator.journal[-2:]] == ["throttling_milliseconds", None]
    assert waits
    assert waits[-1] >= 1.5
