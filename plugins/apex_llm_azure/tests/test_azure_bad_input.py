"""Broken answers, broken connections, broken streams: a typed error or the right answer, and nothing is left behind."""

from __future__ import annotations

import asyncio
import json
import logging
import traceback
from contextlib import suppress

import attrs
import pytest
from apex_llm_mock.emulation import FAULTS
from apex_llm_mock.emulation.fault_forms import concerns
from loguru import logger

from apex_llm_core.errors import (
    AuthenticationError,
    AuthorizationError,
    ContentFilterError,
    ContextLengthExceededError,
    InvalidRequestError,
    LLMError,
    LLMTimeoutError,
    ModelNotFoundError,
    QuotaExceededError,
    RateLimitError,
    ServiceUnavailableError,
)
from apex_llm_core.models import HealthState, ImagePart

PROMPT = "Grüß Gott 👋, das ist eine Antwort."
#: What the first chunk brings, after which most streams break.
BEGINNING = PROMPT[:4]
#: Faults that are over when the client gives up, or that it must wait for.
SILENT = {"hang", "stall"}
#: Answers in the place of the one that was asked for, streamed or not, by the error they are.
REFUSALS = {
    ContentFilterError: """
        content_filter content_filter_500 content_filter_specified content_filter_inner_only content_filter_bare
        content_filter_text content_policy_violation content_filter_image safety_system
    """,
    ContextLengthExceededError: """
        context_length context_length_configured context_length_window context_length_input context_length_embedding
        prompt_above_max_length
    """,
    AuthenticationError: "unauthorized unauthorized_token unauthorized_code",
    AuthorizationError: "permission_denied public_access_disabled firewall key_disabled blocked",
    ModelNotFoundError: """
        deployment_not_found resource_not_found model_not_found operation_not_supported operation_not_supported_404
    """,
    InvalidRequestError: """
        string_above_max_length unsupported_max_tokens unsupported_max_completion_tokens unsupported_value invalid_value
        bad_request unsupported_api_version conflict too_large unsupported_media_type unprocessable string_error
        integer_code top_level_error object_error array_error plain_text_error
    """,
    RateLimitError: """
        rate_limit rate_limit_seconds rate_limit_date rate_limit_reset_requests rate_limit_reset_tokens
        rate_limit_reset_both rate_limit_text rate_limit_try_again rate_limit_wait rate_limit_bare too_many_requests
        rate_limit_exceeded capacity no_capacity
    """,
    QuotaExceededError: "call_volume insufficient_quota quota_exceeded retry_after_day",
    ServiceUnavailableError: """
        server_error internal_error bad_gateway unavailable unavailable_text empty_error truncated_error huge_error
        error_with_200 html_answer drop garbage redirect
    """,
    LLMTimeoutError: "gateway_timeout request_timeout hang",
}
REFUSED = {fault: error for error, faults in REFUSALS.items() for fault in faults.split()}
#: By fault: the error of a whole answer, None where the answer is the usual one.
WHOLE = {
    **REFUSED,
    # Streams are sent once more without it, and so are all that follow: complaint 22.
    "unknown_parameter": InvalidRequestError,
    "empty_answer": ServiceUnavailableError,
    "truncated_json": ServiceUnavailableError,
    "cut_answer": ServiceUnavailableError,
    "wrong_content_type": None,
    "null_answer": ServiceUnavailableError,
    "bom_answer": None,
    "huge_answer": None,
    "no_choices": ServiceUnavailableError,
    "no_usage": None,
    "slow_answer": None,
    "filter_not_run": None,
}
#: By fault: the text that arrives of a stream, and the error after it.
STREAMED = {
    **{fault: ("", error) for fault, error in REFUSED.items()},
    "slow_answer": (PROMPT, None),
    "json_stream": ("", ServiceUnavailableError),
    "html_stream": ("", ServiceUnavailableError),
    "stream_error": (BEGINNING, ServiceUnavailableError),
    "stream_error_content_filter": (BEGINNING, ContentFilterError),
    "stream_error_rate_limit": (BEGINNING, RateLimitError),
    "late_filter": (PROMPT, None),
    "annotations": (PROMPT, None),
    "prompt_annotations": (PROMPT, None),
    "completion_filtered": (BEGINNING, None),
    "filter_not_run": (PROMPT, None),
    "missing_usage": (PROMPT, None),
    "broken_json": (BEGINNING, ServiceUnavailableError),
    "not_an_object": (BEGINNING, ServiceUnavailableError),
    "huge_event": (BEGINNING, ServiceUnavailableError),
    "invalid_utf8": (BEGINNING, ServiceUnavailableError),
    "no_done": (PROMPT, ServiceUnavailableError),
    "no_finish": (PROMPT, ServiceUnavailableError),
    "done_without_finish": (PROMPT, ServiceUnavailableError),
    "truncated": (BEGINNING, ServiceUnavailableError),
    "reset": (BEGINNING, ServiceUnavailableError),
    "stall": (BEGINNING, LLMTimeoutError),
    "empty_stream": ("", ServiceUnavailableError),
    "only_done": ("", ServiceUnavailableError),
    "no_final_newline": (PROMPT, None),
    "unfinished_last_event": (PROMPT, ServiceUnavailableError),
    "crlf": (PROMPT, None),
    "cr": (PROMPT, None),
    "crlf_split": (PROMPT, None),
    "byte_packets": (PROMPT, None),
    "utf8_split": (PROMPT, None),
    "one_packet": (PROMPT, None),
    "many_events": (PROMPT, None),
    "bom": (PROMPT, None),
    "multi_line": (PROMPT, None),
    "comments": (PROMPT, None),
    "other_fields": (PROMPT, None),
    "no_space": (PROMPT, None),
    "slow_stream": (PROMPT, None),
    "mislabelled_stream": ("", ServiceUnavailableError),
}


@pytest.fixture(scope="module")
def resource(opened):
    with opened(chunk_size=4) as azure:
        yield azure


@pytest.fixture(scope="module")
def client(resource):
    with resource.unopened() as client:
        yield client


@pytest.fixture
def azure(resource):
    """The resource of the module; its client stays open."""
    yield resource
    resource.forget()


def patience(fault):
    return 0.05 if fault in SILENT else 10


def check_settled(azure, client):
    """Nothing of the last call is left, and the next ones of the same client are answered."""
    assert client.connections_in_use == 0
    azure.quiet()
    assert (azure.counts.open_streams, azure.faults.pending()) == (0, [])
    assert client.stream(PROMPT).text == PROMPT
    assert client.chat(PROMPT).message.text == PROMPT
    # Both went over one connection.
    assert (client.connections_in_use, client.connections_kept) == (0, 1)


# -- every fault -------------------------------------------------------------------------------------------------------


def test_no_fault_is_missing_in_the_tables():
    tables = ((False, WHOLE.keys() | {"completion_filtered"}), (True, STREAMED.keys() | {"unknown_parameter"}))
    for streamed, table in tables:
        assert {name for name, fault in FAULTS.items() if concerns(fault, streamed=streamed)} == table


@pytest.mark.parametrize("fault", WHOLE)
def test_a_whole_answer_is_right_or_a_typed_error(azure, client, fault):
    azure.faults.add(fault)
    expected = WHOLE[fault]
    if expected is None:
        assert client.chat(PROMPT, timeout=patience(fault)).message.text == PROMPT
    else:
        with pytest.raises(LLMError) as caught:
            client.chat(PROMPT, timeout=patience(fault))
        assert type(caught.value) is expected
        assert (caught.value.provider, caught.value.model) == ("azure", "gpt-4o")
        assert len(caught.value.message) < 1000
    check_settled(azure, client)


@pytest.mark.parametrize("fault", STREAMED)
def test_a_stream_is_right_or_ends_with_a_typed_error(azure, client, fault):
    azure.faults.add(fault)
    text, expected = STREAMED[fault]
    stream = client.read(PROMPT, timeout=patience(fault))
    assert stream.text == text
    if expected is None:
        assert stream.error is None
        assert stream.finish_reason == ("content_filter" if fault in {"late_filter", "completion_filtered"} else "stop")
        assert (stream.whole.usage is None) is (fault == "missing_usage")
    else:
        assert type(stream.error) is expected
        assert (stream.error.provider, stream.error.model) == ("azure", "gpt-4o")
        assert all(chunk.finish_reason is None for chunk in stream.chunks)
        assert len(stream.error.message) < 1000
    check_settled(azure, client)


def test_a_connection_is_used_again_although_the_end_of_its_stream_comes_late(azure, resource):
    with resource.unopened() as client:
        azure.faults.add("slow_stream")
        assert client.stream("Hi").text == "Hi"
        assert (client.connections_in_use, client.connections_kept) == (0, 1)


def test_a_filtered_answer_is_half_an_answer(azure, client):
    azure.faults.add("completion_filtered")
    result = client.chat(PROMPT)
    assert PROMPT.startswith(result.message.text)
    assert len(result.message.text) < len(PROMPT)
    assert result.finish_reason == "content_filter"
    check_settled(azure, client)


# A catalogue that cannot be read is told by a warning.
@pytest.mark.filterwarnings("ignore::apex_llm_core.errors.ConfigurationWarning")
@pytest.mark.parametrize(
    "fault", ["empty_answer", "null_answer", "truncated_json", "cut_answer", "html_answer", "error_with_200", "drop"]
)
def test_other_operations_have_typed_errors_too(azure, client, fault):
    for operation, ask in (
        ("embeddings", client.embed),
        ("images/generations", client.image),
        ("images/generations", lambda: client.image(model="dall-e-3")),
    ):
        azure.faults.add(fault, operation=operation)
        with pytest.raises(ServiceUnavailableError):
            ask()
    azure.faults.add(fault, times=2, operation="models")
    status = client.health()["azure"]
    assert status.status is HealthState.UNAVAILABLE
    assert status.message
    assert "gpt-4o" in {model.id for model in client.models()}
    check_settled(azure, client)


@pytest.mark.parametrize("fault", ["bom_answer", "wrong_content_type", "huge_answer", "slow_answer"])
def test_other_operations_read_what_can_be_read(azure, client, fault):
    azure.faults.add(fault, operation="embeddings")
    assert client.embed(dimensions=8).usage.prompt_tokens
    azure.faults.add(fault, operation="images/generations")
    assert client.image().images
    check_settled(azure, client)


# -- answers of unknown form -------------------------------------------------------------------------------------------


def with_choice(**changes):
    choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "Hello"}}
    return {"choices": [{**choice, **changes}]}


def with_message(**message):
    return with_choice(message={"role": "assistant", **message})


def with_call(**call):
    return with_message(tool_calls=[{"id": "call-1", "type": "function", **call}])


def with_vectors(*entries):
    return {"data": list(entries), "usage": {"prompt_tokens": 2}}


CHAT_FORMS = {
    "a list": [1, 2],
    "a number": 7,
    "nothing": {},
    "choices that are none": {"choices": {"0": "Hello"}},
    "a choice that is none": {"choices": ["Hello"]},
    "an index that is none": with_choice(index="0"),
    "no finish reason": with_choice(finish_reason=None),
    "a finish reason that is none": with_choice(finish_reason={"type": "stop"}),
    "a message that is none": with_choice(message=["Hello"]),
    "text that is none": with_message(content={"text": "Hello"}),
    "reasoning that is none": with_message(content="Hello", reasoning_content=["thoughts"]),
    "calls that are none": with_message(tool_calls=7),
    "a call without a function": with_call(),
    "a call without an id": with_message(tool_calls=[{"function": {"name": "f", "arguments": "{}"}}]),
    "a call whose id is none": with_call(id=7, function={"name": "f", "arguments": "{}"}),
    "a call without a name": with_call(function={"arguments": "{}"}),
    "a call whose name is none": with_call(function={"name": None, "arguments": "{}"}),
    "a call whose arguments are no text": with_call(function={"name": "f", "arguments": {"city": "Oslo"}}),
    "an older call without a name": with_message(function_call={"arguments": "{}"}),
    "an older call whose arguments are no text": with_message(function_call={"name": "f", "arguments": {"a": 1}}),
}


def with_delta(**delta):
    return {"choices": [{"index": 0, "delta": delta, "finish_reason": None}]}


def with_piece(**call):
    return with_delta(tool_calls=[{"index": 0, "id": "call-1", "function": {"name": "f", "arguments": ""}, **call}])


STREAM_FORMS = {
    "a list": [1, 2],
    "text": "Hello",
    "choices that are none": {"choices": 7},
    "a choice that is none": {"choices": ["Hello"]},
    "an index that is none": {"choices": [{"index": "0", "delta": {"content": "Hello"}}]},
    "a finish reason that is none": {"choices": [{"index": 0, "delta": {}, "finish_reason": {"type": "stop"}}]},
    "a delta that is none": {"choices": [{"index": 0, "delta": ["Hello"]}]},
    "text that is none": with_delta(content={"text": "Hello"}),
    "reasoning that is none": with_delta(reasoning_content=7),
    "calls that are none": with_delta(tool_calls=7),
    "a call that is none": with_delta(tool_calls=["f"]),
    "a call whose index is none": with_piece(index="0"),
    "a call whose id is none": with_piece(id=7),
    "a call whose function is none": with_piece(function="f"),
    "a call whose name is none": with_piece(function={"name": 7}),
    "a call whose arguments are no text": with_piece(function={"arguments": {"city": "Oslo"}}),
    "an older call whose arguments are no text": with_delta(function_call={"name": "f", "arguments": {"a": 1}}),
}
FLOATS = "AACAPwAAAEA="
EMBEDDING_FORMS = {
    "nothing": {},
    "data that are none": {"data": {"embedding": FLOATS}},
    "too few": with_vectors({"index": 0, "embedding": FLOATS}),
    "too many": with_vectors(*({"index": index, "embedding": FLOATS} for index in range(3))),
    "twice the same": with_vectors({"index": 0, "embedding": FLOATS}, {"index": 0, "embedding": FLOATS}),
    "an index that is none": with_vectors({"index": 0, "embedding": FLOATS}, {"index": [1], "embedding": FLOATS}),
    "an entry that is none": with_vectors({"index": 0, "embedding": FLOATS}, FLOATS),
    "no vector": with_vectors({"index": 0, "embedding": FLOATS}, {"index": 1}),
    "an empty vector": with_vectors({"index": 0, "embedding": FLOATS}, {"index": 1, "embedding": ""}),
    "a vector that is none": with_vectors({"index": 0, "embedding": FLOATS}, {"index": 1, "embedding": {"a": 1}}),
    "words": with_vectors({"index": 0, "embedding": [1, 2]}, {"index": 1, "embedding": ["one", "two"]}),
    "no base64": with_vectors({"index": 0, "embedding": FLOATS}, {"index": 1, "embedding": "~~~~"}),
    "half a number": with_vectors({"index": 0, "embedding": FLOATS}, {"index": 1, "embedding": "AACAPwAA"}),
    "vectors of several lengths": with_vectors({"index": 0, "embedding": FLOATS}, {"index": 1, "embedding": [1.0]}),
}
IMAGE_FORMS = {
    "nothing": {},
    "no image": {"data": []},
    "data that are none": {"data": "image"},
    "an entry that is none": {"data": ["image"]},
    "an entry without an image": {"data": [{"revised_prompt": "a cat"}]},
    "an image that is none": {"data": [{"b64_json": {"data": "AAAA"}}]},
    "an address that is none": {"data": [{"url": 7}]},
}


USAGE_FORMS = {
    "none": "much",
    "without counts": {"tokens": 7},
    "of text": {"prompt_tokens": "6", "completion_tokens": "1", "input_tokens": "6", "output_tokens": "1"},
    "of nothing": {"prompt_tokens": None, "completion_tokens": 1, "input_tokens": None, "output_tokens": 1},
    "of fractions": {"prompt_tokens": 3.0, "completion_tokens": 1, "input_tokens": 3.0, "output_tokens": 1},
    "with details that are none": {"prompt_tokens": 6, "completion_tokens": 1, "prompt_tokens_details": 7},
    "with details of text": {
        "prompt_tokens": 6,
        "completion_tokens": 1,
        "prompt_tokens_details": {"cached_tokens": "6"},
    },
}


@pytest.mark.parametrize("form", USAGE_FORMS)
def test_an_answer_that_was_paid_for_stands_though_its_usage_cannot_be_read(azure, client, form):
    usage = USAGE_FORMS[form]
    azure.faults.add("bad_request", status=200, body={**with_choice(), "usage": usage})
    assert client.chat(PROMPT).usage is None
    end = {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
    events = [with_delta(content="Hello"), end, {"choices": [], "usage": usage}]
    body = "".join(f"data: {json.dumps(event)}\n\n" for event in events) + "data: [DONE]\n\n"
    azure.faults.add("empty_error", status=200, headers={"content-type": "text/event-stream"}, body=body)
    stream = client.read(PROMPT)
    assert (stream.text, stream.error) == ("Hello", None)
    azure.faults.add("bad_request", status=200, body={"data": [{"b64_json": "AAAA"}], "usage": usage})
    assert client.image().usage is None


@pytest.mark.parametrize("form", CHAT_FORMS)
def test_a_chat_completion_of_unknown_form_is_a_typed_error(azure, client, form):
    azure.faults.add("bad_request", status=200, body=CHAT_FORMS[form])
    with pytest.raises(ServiceUnavailableError) as caught:
        client.chat(PROMPT)
    assert (caught.value.status_code, caught.value.request_id is not None) == (200, True)
    assert client.connections_in_use == 0


@pytest.mark.parametrize("form", STREAM_FORMS)
def test_an_event_of_unknown_form_is_a_typed_error(azure, client, form):
    events = [with_delta(content="Hello"), STREAM_FORMS[form], with_delta(content=" there"), "[DONE]"]
    body = "".join(f"data: {event if event == '[DONE]' else json.dumps(event)}\n\n" for event in events)
    azure.faults.add("empty_error", status=200, headers={"content-type": "text/event-stream"}, body=body)
    stream = client.read(PROMPT)
    assert stream.text == "Hello"
    assert type(stream.error) is ServiceUnavailableError
    assert stream.error.request_id
    assert client.connections_in_use == 0


@pytest.mark.parametrize("form", EMBEDDING_FORMS)
def test_embeddings_of_unknown_form_are_a_typed_error(azure, client, form):
    azure.faults.add("bad_request", status=200, body=EMBEDDING_FORMS[form])
    with pytest.raises(ServiceUnavailableError):
        client.embed(["a", "b"])
    assert client.connections_in_use == 0


@pytest.mark.parametrize("form", IMAGE_FORMS)
def test_images_of_unknown_form_are_a_typed_error(azure, client, form):
    azure.faults.add("bad_request", status=200, body=IMAGE_FORMS[form])
    with pytest.raises(ServiceUnavailableError):
        client.image()
    assert client.connections_in_use == 0


def test_vectors_are_put_in_the_order_of_the_texts(azure, client):
    body = with_vectors({"index": 1, "embedding": [3, 4]}, {"index": 0, "embedding": FLOATS})
    azure.faults.add("bad_request", status=200, body=body)
    assert client.embed(["a", "b"]).embeddings == ((1.0, 2.0), (3.0, 4.0))


def test_an_image_that_a_filter_held_back_says_so(azure, client):
    verdict = {"violence": {"filtered": True, "severity": "high"}}
    azure.faults.add("bad_request", status=200, body={"data": [{"content_filter_results": verdict}]})
    with pytest.raises(ContentFilterError) as caught:
        client.image()
    assert caught.value.details == {"content_filter_results": verdict}


# A catalogue that cannot be read is told by a warning.
@pytest.mark.filterwarnings("ignore::apex_llm_core.errors.ConfigurationWarning")
def test_a_catalogue_of_unknown_form_hides_no_deployment(azure, client):
    for body in ({"data": 7}, {}, [1], {"data": [7, {"id": 7}, {"id": "new-model", "capabilities": "all"}]}):
        azure.faults.add("bad_request", status=200, body=body, operation="models")
        assert "gpt-4o" in {model.id for model in client.models()}


# -- requests that cannot be sent, and unusual ones --------------------------------------------------------------------


def test_half_of_a_character_is_sent_where_it_has_a_form(azure, client):
    half = "half a pair: \ud83d"
    assert client.chat(half).message.text == client.stream(half).text == half
    [picture] = client.image(half).images
    # A form has none for it.
    with pytest.raises(InvalidRequestError, match="prompt cannot be written"):
        client.image(half, images=[ImagePart(data=picture, media_type="image/png")])


@pytest.mark.parametrize("surface", ["v1", "dated"])
def test_deployments_may_have_any_name(opened, surface):
    names = ("my deployment", "gpt-4o/eu", "100%41", "größe", "a?b#c&d", "..gpt", "a+b")
    with opened(deployments=dict.fromkeys(names, "gpt-4o")) as azure:
        client = azure.client(surface=surface, models=[])
        for name in names:
            assert client.chat(PROMPT, model=name, provider="azure").message.text == PROMPT
        assert [received.deployment for received in azure.journal] == list(names)
        for name in (".", "..", "another", "chat/completions?api-version=1"):
            with pytest.raises(ModelNotFoundError):
                client.chat(PROMPT, model=name, provider="azure")


# -- redirects ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("by", ["key", "entra"])
def test_no_redirect_is_followed(resource, azure, status, by):
    elsewhere = azure.emulator.elsewhere
    with resource.unopened(by=by) as client:
        calls = (client.chat, client.stream, client.embed, client.image, client.health)
        for call in calls:
            azure.faults.add("redirect", status=status)
            if call == client.health:
                assert elsewhere in call()["azure"].message
                continue
            with pytest.raises(ServiceUnavailableError) as caught:
                call()
            assert caught.value.status_code == status
            assert not caught.value.retryable
            assert f"redirects to {elsewhere}; correct options.endpoint" in caught.value.message
    assert len(azure.journal) == len(calls)
    assert {received.origin for received in azure.journal} == {azure.emulator.url}


# -- leaving early -----------------------------------------------------------------------------------------------------


async def cancelled(task):
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
    assert task.cancelled()


def test_a_cancelled_call_hangs_up(azure, client):
    async def leave():
        until = azure.emulator.traffic.until
        before = azure.counts.disconnects
        azure.faults.add("hang")
        task = asyncio.create_task(client.manager.generate_chat(PROMPT, model="gpt-4o"))
        await until(lambda counts: counts.open_requests == 1)
        await cancelled(task)
        await until(lambda counts: counts.disconnects == before + 1)

    azure.run(leave())
    check_settled(azure, client)


@pytest.mark.parametrize("how", ["cancelled", "closed", "left"])
def test_a_stream_left_in_the_middle_hangs_up(azure, client, how):
    async def leave():
        until = azure.emulator.traffic.until
        before = azure.counts.disconnects
        azure.faults.add("stall")
        stream = client.manager.generate_chat_stream(PROMPT, model="gpt-4o")
        assert (await anext(stream)).text == BEGINNING
        assert azure.counts.open_streams == 1
        if how == "cancelled":
            task = asyncio.create_task(anext(stream))
            await asyncio.sleep(0)
            await cancelled(task)
        elif how == "closed":
            await stream.aclose()
        else:
            async with stream:
                pass
        await until(lambda counts: counts.disconnects == before + 1 and not counts.open_streams)
        with pytest.raises(StopAsyncIteration):
            await anext(stream)

    azure.run(leave())
    check_settled(azure, client)


def test_cancelled_embeddings_hang_up_all_their_calls(resource, azure):
    async def leave(client):
        until = azure.emulator.traffic.until
        before = azure.counts.disconnects
        azure.faults.add("hang", times=None, operation="embeddings")
        texts = [f"text {number}" for number in range(10)]
        task = asyncio.create_task(client.manager.generate_embedding(texts, model="text-embedding-3-small"))
        await until(lambda counts: counts.open_requests == 3)
        await cancelled(task)
        await until(lambda counts: counts.disconnects == before + 3 and not counts.open_requests)

    with resource.unopened(options={"embedding_batch": 1, "embedding_concurrency": 3}) as client:
        azure.run(leave(client))
        assert client.connections_in_use == 0
        azure.faults.clear()
        assert len(client.embed(["a", "b"], dimensions=8).embeddings) == 2


def test_one_failed_batch_of_embeddings_ends_the_others(resource, azure):
    with resource.unopened(options={"embedding_batch": 1, "embedding_concurrency": 3}) as client:
        azure.faults.add("hang", times=2, operation="embeddings")
        azure.faults.add("rate_limit", operation="embeddings")
        with pytest.raises(RateLimitError):
            client.embed(["a", "b", "c"])
        azure.quiet()
        assert client.connections_in_use == 0
        assert len(client.embed(["a", "b", "c"], dimensions=8).embeddings) == 3


@pytest.mark.parametrize("fault", ["hang", "stall", "slow_stream"])
def test_a_deadline_hangs_up(azure, client, fault):
    azure.faults.add(fault, after_chunks=1)
    before = azure.counts.disconnects
    stream = client.read("A longer text. " * 20, deadline=0.05)
    assert type(stream.error) is LLMTimeoutError
    assert "deadline" in stream.error.message
    azure.run(azure.emulator.traffic.until(lambda counts: counts.disconnects == before + 1))
    check_settled(azure, client)


@pytest.mark.parametrize("kind", ["Content-Type: text/event-stream", "content-type: Text/Event-Stream", "X: y"])
def test_the_answer_is_complete_although_the_connection_stays_silent_after_it(azure, monkeypatch, kind):
    monkeypatch.setattr("apex_llm_azure.provider._DRAIN", 0.01)
    chunk = {"choices": [{"index": 0, "delta": {"content": "Hello"}, "finish_reason": "stop"}], "model": "gpt-4o"}
    events = f"data: {json.dumps(chunk)}\n\ndata: [DONE]\n\n".encode()
    answer = f"HTTP/1.1 200 OK\r\n{kind}\r\nContent-Length: 100000\r\n\r\n".encode() + events
    hung_up = asyncio.Event()

    async def connected(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        # Nothing more comes, neither events nor an end, until the client leaves.
        await reader.read(-1)
        writer.close()
        hung_up.set()

    async def ask():
        async with await asyncio.start_server(connected, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            with_address = azure.unopened(options={"endpoint": f"http://127.0.0.1:{port}"})
            async with with_address.opened() as client:
                stream = await client.reading(PROMPT)
                assert client.connections_in_use == 0
                await hung_up.wait()
        return stream

    stream = azure.run(ask())
    assert (stream.error, stream.text, stream.finish_reason) == (None, "Hello", "stop")


def test_256_streams_at_once_lose_nothing(opened):
    count = 256
    prompts = [f"stream {number:03d}, " * 4 for number in range(count)]
    at_once = []

    async def read(client, prompt, all_begun):
        stream = client.manager.generate_chat_stream(prompt, model="gpt-4o")
        text = ""
        async for chunk in stream:
            if not text and await all_begun.wait() == 0:
                # Every stream has brought something, none has ended.
                at_once.append(client.manager.stats()["candidates"][0]["in_flight"])
            text += chunk.text
        return text, stream.usage.completion_tokens

    async def read_all(client):
        all_begun = asyncio.Barrier(count)
        return await asyncio.gather(*(read(client, prompt, all_begun) for prompt in prompts))

    with opened(chunk_size=4, read_pause=0.001) as azure, azure.unopened() as client:
        assert azure.run(read_all(client)) == [(prompt, len(prompt) // 4) for prompt in prompts]
        assert at_once == [count]
        azure.quiet()
        assert (client.connections_in_use, azure.counts.disconnects, azure.counts.streams) == (0, 0, count)


# -- secrets -----------------------------------------------------------------------------------------------------------


class Overheard:
    """Everything that anybody could read of a client's calls: errors, events, log lines."""

    def __init__(self, client):
        self.client = client
        self.said = []

    def note(self, where, text):
        self.said.append((where, text))

    def note_error(self, where, error):
        facts = {name: repr(value) for name, value in vars(error).items()}
        shown = "".join(traceback.format_exception(error))
        for text in (str(error), repr(error), repr(error.args), repr(facts), shown):
            self.note(f"the error of {where}", text)

    def naming(self, secrets):
        """Return where one of *secrets* was said."""
        for event in self.client.events:
            self.note(f"the event {type(event).__name__}", repr(attrs.asdict(event)) + repr(event))
        return sorted({where for where, text in self.said for secret in secrets if secret in text})


@pytest.fixture
def lines():
    """What is logged, with all that a sink gets to see."""
    heard = []
    sink = logger.add(lambda message: heard.append(f"{message} {message.record}"), level="TRACE")

    class Handler(logging.Handler):
        def emit(self, record):
            heard.append(f"{record.getMessage()} {record.args!r} {record.exc_info!r}")

    root, handler = logging.getLogger(), Handler(level=logging.DEBUG)
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    yield heard
    root.setLevel(level)
    root.removeHandler(handler)
    logger.remove(sink)


@pytest.mark.parametrize("by", ["key", "entra"])
def test_no_fault_makes_a_secret_show(resource, azure, monkeypatch, lines, by):
    secrets = {azure.emulator.api_key, azure.emulator.entra.client_secret}
    issue = azure.emulator.book.issue

    def issued(*arguments, **keywords):
        token = issue(*arguments, **keywords)
        secrets.add(token)
        return token

    monkeypatch.setattr(azure.emulator.book, "issue", issued)
    tables = {"logging": {"enabled": True, "level": "TRACE"}}
    with resource.unopened(by=by, tables=tables) as client:
        overheard = Overheard(client)
        failed = set()
        for fault in FAULTS:
            azure.faults.add(fault, times=2)
            stream = client.read(PROMPT, timeout=patience(fault))
            if stream.error is not None:
                failed.add(fault)
                overheard.note_error(f"the stream with {fault}", stream.error)
            overheard.note(f"the stream with {fault}", repr(stream.chunks))
            azure.faults.clear()
            azure.faults.add(fault, times=2)
            try:
                overheard.note(f"the answer with {fault}", repr(client.chat(PROMPT, timeout=patience(fault))))
            except LLMError as error:
                failed.add(fault)
                overheard.note_error(f"the answer with {fault}", error)
            azure.faults.clear()
    assert len(failed) > 80
    # A token that is not taken is replaced once.
    assert len(secrets) == (2 if by == "key" else 4)
    assert any("AttemptFinished" in line for line in lines)
    overheard.said += [("a log line", line) for line in lines]
    assert overheard.naming(secrets) == []


@pytest.mark.parametrize("form", ["text/plain", "text/html", "application/json"])
def test_a_service_that_repeats_the_key_is_not_quoted(resource, azure, lines, form):
    key = azure.emulator.api_key
    said = f"The key '{key}' is not known here. Headers: api-key: {key}, Authorization: Bearer {key}"
    body = {
        "text/plain": said,
        "text/html": f"<html><head><title>{said}</title></head></html>",
        "application/json": {"error": {"code": key, "type": key, "param": f"api-key={key}", "message": said}},
    }[form]
    with resource.unopened(tables={"logging": {"enabled": True, "level": "TRACE"}}) as client:
        overheard = Overheard(client)
        azure.faults.add("unauthorized", body=body)
        with pytest.raises(AuthenticationError) as caught:
            client.chat(PROMPT)
        assert "is not known here" in caught.value.message
        overheard.note_error("the answer", caught.value)
        azure.faults.add("unauthorized", body=body)
        stream = client.read(PROMPT)
        overheard.note_error("the stream", stream.error)
        overheard.said += [("a log line", line) for line in lines]
        assert overheard.naming({key}) == []
