"""Faults on order: what each sends, who is struck, and how orders change them."""

from __future__ import annotations

import asyncio
from email.utils import parsedate_to_datetime

import aiohttp
import pytest
from apex_llm_mock.emulation import FAULTS
from apex_llm_mock.emulation.fault_forms import ConnectionFault, InsteadFault, StreamFault, UnstreamedFault, WholeFault
from apex_llm_mock.emulation.fault_orders import FaultQueue

#: Status, code and a part of the message of faults in the usual envelope.
ENVELOPES = {
    "content_filter": (400, "content_filter", "triggering Azure OpenAI's content management policy"),
    "content_filter_500": (500, "content_filter", "triggering Azure OpenAI's content management policy"),
    "content_filter_specified": (400, "content_filter", "content management policy"),
    "content_filter_inner_only": (400, "BadRequest", "Bad request."),
    "content_filter_bare": (400, "content_filter", "content management policy"),
    "content_filter_text": (400, "400", "filtered due to the prompt triggering"),
    "content_policy_violation": (400, "content_policy_violation", "rejected as a result of our safety system"),
    "content_filter_image": (400, "contentFilter", "failed as a result of our safety system"),
    "safety_system": (400, None, "rejected as a result of our safety system"),
    "context_length": (400, "context_length_exceeded", "maximum context length is 8192 tokens"),
    "context_length_configured": (400, None, "Input tokens exceed the configured limit of"),
    "context_length_window": (400, None, "input exceeds the context window"),
    "context_length_input": (400, None, "maximum input length is 8192 tokens"),
    "context_length_embedding": (400, None, "maximum context length is 8192 tokens, however you requested"),
    "string_above_max_length": (400, "string_above_max_length", "'user'"),
    "prompt_above_max_length": (400, "string_above_max_length", "'messages[0].content'"),
    "unauthorized": (401, "401", "invalid subscription key or wrong API endpoint"),
    "unauthorized_code": (401, "Unauthorized", "Access token is missing, invalid, audience is incorrect"),
    "permission_denied": (401, "PermissionDenied", "does not have access to API/Operation"),
    "public_access_disabled": (403, "403", "Public access is disabled"),
    "firewall": (403, "403", "Virtual Network/Firewall"),
    "key_disabled": (403, "AuthenticationTypeDisabled", "Key based authentication is disabled"),
    "blocked": (403, "Forbidden", "temporarily blocked"),
    "deployment_not_found": (404, "DeploymentNotFound", "within the last 5 minutes"),
    "resource_not_found": (404, "404", "Resource not found"),
    "model_not_found": (404, "model_not_found", "does not exist"),
    "operation_not_supported": (400, "OperationNotSupported", "does not work with the specified model"),
    "operation_not_supported_404": (404, "OperationNotSupported", "does not work with the specified model"),
    "unknown_parameter": (400, "unknown_parameter", "Unknown parameter: 'stream_options'."),
    "unsupported_max_tokens": (400, "unsupported_parameter", "Use 'max_completion_tokens' instead."),
    "unsupported_max_completion_tokens": (400, "unsupported_parameter", "Use 'max_tokens' instead."),
    "unsupported_value": (400, "unsupported_value", "'temperature' does not support 0.2"),
    "invalid_value": (400, "invalid_value", "Invalid value"),
    "bad_request": (400, "BadRequest", "not valid"),
    "unsupported_api_version": (400, "UnsupportedApiVersion", "API version"),
    "conflict": (409, "Conflict", ""),
    "too_large": (413, "RequestTooLarge", ""),
    "unsupported_media_type": (415, "UnsupportedMediaType", ""),
    "unprocessable": (422, None, "semantic errors"),
    "rate_limit": (429, "429", "token rate limit of your current OpenAI S0 pricing tier. Please retry after 1 second."),
    "rate_limit_seconds": (429, "429", "token rate limit"),
    "rate_limit_date": (429, "429", "token rate limit"),
    "rate_limit_reset_requests": (429, "429", "token rate limit"),
    "rate_limit_reset_tokens": (429, "429", "token rate limit"),
    "rate_limit_reset_both": (429, "429", "token rate limit"),
    "rate_limit_text": (429, "429", "Please retry after 7 seconds."),
    "rate_limit_wait": (429, "429", "Please wait 4 seconds"),
    "rate_limit_bare": (429, "RateLimitReached", ""),
    "too_many_requests": (429, "too_many_requests", ""),
    "rate_limit_exceeded": (429, "rate_limit_exceeded", ""),
    "insufficient_quota": (429, "insufficient_quota", "exceeded your current quota"),
    "quota_exceeded": (429, "quota_exceeded", ""),
    "retry_after_day": (429, "429", "token rate limit"),
    "capacity": (429, "too_many_requests", "experiencing high demand"),
    "no_capacity": (429, "NoCapacity", "temporarily unable to process your request"),
    "server_error": (500, None, "had an error while processing your request"),
    "internal_error": (500, "InternalServerError", ""),
    "unavailable": (503, "ServiceUnavailable", "temporarily unable"),
    "gateway_timeout": (504, "Timeout", "The operation was timeout."),
    "request_timeout": (408, "Timeout", "The operation was timeout."),
    "integer_code": (400, 400, "refused"),
    "error_with_200": (200, "500", "Failed."),
}
#: Status, type and a part of the body of the others.
BODIES = {
    "unauthorized_token": (401, "application/json", b'{"statusCode":401,"message":"Unauthorized. Access token'),
    "call_volume": (403, "application/json", b'{"statusCode":403,"message":"Out of call volume quota.'),
    "rate_limit_try_again": (429, "application/json", b"Try again in 3 seconds."),
    "bad_gateway": (502, "text/html", b"<title>502 Bad Gateway</title>"),
    "unavailable_text": (503, "text/plain", b"upstream connect error"),
    "string_error": (400, "application/json", b'{"error":"The request was refused."}'),
    "top_level_error": (400, "application/json", b'{"code":"BadRequest","message":"The request was refused."}'),
    "object_error": (400, "application/json", b'{"object":"error",'),
    "array_error": (400, "application/json", b'[{"error":'),
    "plain_text_error": (400, "text/plain", b"Bad Request"),
    "empty_error": (500, "application/octet-stream", b""),
    "truncated_error": (500, "application/json", b'{"error":{"code":"InternalServerErr'),
    "huge_error": (500, "text/plain", b"x" * 20 * 2**20),
    "html_answer": (200, "text/html", b"<title>Sign in to your network</title>"),
}
ADVICE = ("retry-after-ms", "retry-after", "x-ratelimit-reset-requests", "x-ratelimit-reset-tokens")
#: All the advice a fault gives about waiting; the others give none.
WAITS = {
    "rate_limit": {"retry-after-ms": "40", "retry-after": "1"},
    "rate_limit_seconds": {"retry-after": "2"},
    "rate_limit_date": {"retry-after": "Tue, 14 Nov 2023 22:13:25 GMT"},
    "rate_limit_reset_requests": {"x-ratelimit-reset-requests": "3"},
    "rate_limit_reset_tokens": {"x-ratelimit-reset-tokens": "6m0s"},
    "rate_limit_reset_both": {"x-ratelimit-reset-requests": "120ms", "x-ratelimit-reset-tokens": "1s"},
    "retry_after_day": {"retry-after": "86400"},
}


def struck(emulated, name, **settings):
    """Return the answer of the deployment that is named after the fault."""

    async def main(caller):
        answer = await caller.v1(model=f"fault-{name.replace('_', '-')}")
        assert caller.emulator.journal[-1].fault == name
        assert answer.headers["apim-request-id"]
        return answer

    return emulated(main, wall=lambda: 1_700_000_000.0, **settings)


def test_every_fault_is_tested():
    told = {name for name, fault in FAULTS.items() if isinstance(fault, InsteadFault)}
    assert told == ENVELOPES.keys() | BODIES.keys()
    assert not ENVELOPES.keys() & BODIES.keys()
    changed = {name for name, fault in FAULTS.items() if isinstance(fault, WholeFault)}
    assert changed == WHOLE.keys() | {"cut_answer"}
    connections = {name for name, fault in FAULTS.items() if isinstance(fault, ConnectionFault)}
    assert connections == {"drop", "garbage", "hang", "slow_answer", "redirect"}
    forms = (InsteadFault, WholeFault, ConnectionFault, StreamFault, UnstreamedFault)
    assert all(isinstance(fault, forms) and fault.doc for fault in FAULTS.values())


@pytest.mark.parametrize("name", ENVELOPES)
def test_errors_in_the_usual_envelope(emulated, name):
    status, code, message = ENVELOPES[name]
    answer = struck(emulated, name)
    assert (answer.status, answer.error["code"]) == (status, code)
    assert message in answer.error["message"]
    assert answer.headers["Content-Type"] == "application/json; charset=utf-8"
    assert {header: answer.headers[header] for header in ADVICE if header in answer.headers} == WAITS.get(name, {})


@pytest.mark.parametrize("name", BODIES)
def test_errors_of_other_forms(emulated, name):
    status, content_type, part = BODIES[name]
    answer = struck(emulated, name)
    assert answer.status == status
    assert answer.headers.get("Content-Type", "application/octet-stream").partition(";")[0] == content_type
    assert part in answer.body
    assert not [header for header in ADVICE if header in answer.headers]


@pytest.mark.parametrize(
    ("name", "inner", "code", "verdicts"),
    [
        ("content_filter", "innererror", "ResponsibleAIPolicyViolation", "content_filter_result"),
        ("content_filter_500", "innererror", "ResponsibleAIPolicyViolation", "content_filter_result"),
        ("content_filter_specified", "inner_error", "ResponsibleAIPolicyViolation", "content_filter_results"),
        ("content_filter_inner_only", "innererror", "ContentFiltered", "content_filter_result"),
        ("content_policy_violation", "inner_error", "ResponsibleAIPolicyViolation", "content_filter_results"),
    ],
)
def test_filters_tell_what_they_found(emulated, name, inner, code, verdicts):
    error = struck(emulated, name).error
    assert error[inner]["code"] == code
    assert error[inner][verdicts]["violence"] == {"filtered": True, "severity": "high"}
    assert ("revised_prompt" in error[inner]) == (name == "content_policy_violation")


def same(document, usual):
    """Whether a document is the usual one but for its id."""
    return {**document, "id": None} == {**usual, "id": None}


#: What becomes of a whole answer: a check of the answer with the usual document.
WHOLE = {
    "empty_answer": lambda answer, usual: answer.body == b"",
    "truncated_json": lambda answer, usual: answer.body.startswith(b'{"choices":') and not answer.body.endswith(b"}"),
    "wrong_content_type": lambda answer, usual: (
        answer.headers["Content-Type"].startswith("text/html") and same(answer.json, usual)
    ),
    "null_answer": lambda answer, usual: answer.json is None,
    "bom_answer": lambda answer, usual: answer.body.startswith(b"\xef\xbb\xbf{"),
    "huge_answer": lambda answer, usual: len(answer.body) > 20 * 2**20 and same(answer.json, usual),
    "no_choices": lambda answer, usual: same(answer.json, {**usual, "choices": []}),
    "no_usage": lambda answer, usual: "usage" not in answer.json and answer.text == "hello",
}


@pytest.mark.parametrize("name", WHOLE)
def test_answers_of_odd_form(emulated, name):
    async def main(caller):
        usual = (await caller.v1()).json
        caller.emulator.faults.add(name)
        answer = await caller.v1()
        assert answer.status == 200
        assert WHOLE[name](answer, usual)
        # It is not about streams.
        caller.emulator.faults.add(name)
        assert (await caller.v1(stream=True)).text == "hello"
        assert len(caller.emulator.faults) == 1

    emulated(main, wall=lambda: 0.0)


def test_whole_answers_are_filtered_too(emulated):
    [choice] = struck(emulated, "completion_filtered").json["choices"]
    assert (choice["finish_reason"], choice["message"]["content"]) == ("content_filter", "he")
    assert choice["content_filter_results"]["violence"]["filtered"] is True


def test_a_filter_that_did_not_run(emulated):
    [choice] = struck(emulated, "filter_not_run").json["choices"]
    assert (choice["finish_reason"], choice["message"]["content"]) == ("stop", "hello")
    assert choice["content_filter_results"]["error"]["code"] == "content_filter_error"


class TestConnections:
    @pytest.mark.parametrize("name", ["drop", "garbage", "cut_answer"])
    @pytest.mark.parametrize("path", ["/openai/v1/chat/completions", "/openai/v1/embeddings"])
    def test_that_break(self, emulated, name, path):
        async def main(caller):
            body = {"messages": [{"role": "user", "content": "x"}], "model": "gpt-4o"}
            if path.endswith("embeddings"):
                body = {"input": "x", "model": "text-embedding-3-small"}
            caller.emulator.faults.add(name)
            with pytest.raises(aiohttp.ClientError):
                await caller.ask("POST", path, json=body)
            assert (await caller.ask("POST", path, json=body)).status == 200
            assert caller.emulator.traffic.counts.disconnects == 0

        emulated(main)

    def test_silence_ends_when_the_client_leaves(self, emulated):
        async def main(caller):
            asking = asyncio.create_task(caller.v1(model="fault-hang"))
            await caller.emulator.traffic.until(lambda counts: counts.open_requests == 1)
            asking.cancel()
            await caller.emulator.traffic.until(lambda counts: counts.open_requests == 0)
            assert caller.emulator.traffic.counts.disconnects == 1

        emulated(main)

    def test_silence_ends_when_the_emulator_stops(self, emulated):
        async def main(caller):
            asking = asyncio.create_task(caller.v1(model="fault-hang"))
            await caller.emulator.traffic.until(lambda counts: counts.open_requests == 1)
            await caller.emulator.stop()
            with pytest.raises(aiohttp.ClientError):
                await asking
            assert caller.emulator.traffic.counts.disconnects == 0

        emulated(main)

    def test_a_slow_answer_is_an_answer(self, emulated):
        async def main(caller):
            assert (await caller.v1(model="fault-slow-answer")).text == "hello"

        emulated(main, slow_pause=0.001)

    @pytest.mark.parametrize("status", [301, 302, 307, 308, None])
    def test_a_redirect_leads_to_another_origin_which_tells_what_came_along(self, emulated, status):
        async def main(caller):
            caller.emulator.faults.add("redirect", status=status)
            answer = await caller.v1()
            assert answer.status == (status or 307)
            assert answer.headers["location"] == f"{caller.emulator.elsewhere}/openai/v1/chat/completions"
            assert caller.emulator.elsewhere != caller.emulator.url
            async with caller._session.post(answer.headers["location"], headers={"api-key": "carried"}) as followed:
                assert followed.status == 401
            first, second = caller.emulator.journal
            assert (first.origin, second.origin) == (caller.emulator.url, caller.emulator.elsewhere)
            assert "api-key" in second.headers

        emulated(main)


class TestOrders:
    def test_an_order_strikes_so_often(self, emulated):
        async def main(caller):
            caller.emulator.faults.add("unavailable", times=2)
            assert [(await caller.v1()).status for _ in range(3)] == [503, 503, 200]
            caller.emulator.faults.add("unavailable", times=None)
            assert {(await caller.v1()).status for _ in range(5)} == {503}
            caller.emulator.faults.clear()
            assert (await caller.v1()).status == 200

        emulated(main)

    def test_orders_strike_one_after_the_other(self, emulated):
        async def main(caller):
            for name in ("rate_limit", "server_error", "conflict"):
                caller.emulator.faults.add(name)
            assert [(await caller.v1()).status for _ in range(4)] == [429, 500, 409, 200]

        emulated(main)

    @pytest.mark.parametrize(
        "body", [{"error": {"code": "mine"}}, '{"error":{"code":"mine"}}', b'{"error":{"code":"mine"}}']
    )
    def test_status_headers_and_body_can_be_changed(self, emulated, body):
        async def main(caller):
            headers = {"Retry-After-Ms": "5", "x-more": "1"}
            caller.emulator.faults.add("rate_limit", status=418, headers=headers, body=body)
            answer = await caller.v1()
            assert (answer.status, answer.error["code"]) == (418, "mine")
            assert answer.headers.getall("retry-after-ms") == ["5"]
            assert (answer.headers["retry-after"], answer.headers["x-more"]) == ("1", "1")

        emulated(main)

    def test_headers_go_with_good_answers_too(self, emulated):
        async def main(caller):
            caller.emulator.faults.add("crlf", headers={"X-Ratelimit-Remaining-Requests": "0"})
            answer = await caller.v1(stream=True)
            assert answer.headers.getall("x-ratelimit-remaining-requests") == ["0"]

        emulated(main)

    def test_an_order_can_be_for_one_deployment_or_operation(self, emulated):
        async def main(caller):
            caller.emulator.faults.add("server_error", deployment="gpt-4o-mini")
            caller.emulator.faults.add("unavailable", operation="models")
            assert (await caller.v1()).status == 200
            assert (await caller.v1(model="gpt-4o-mini")).status == 500
            assert (await caller.ask("GET", "/openai/v1/models")).status == 503
            assert len(caller.emulator.faults) == 0

        emulated(main)

    def test_refused_credentials_use_up_no_order(self, emulated):
        async def main(caller):
            caller.emulator.faults.add("server_error")
            assert (await caller.v1(headers={"api-key": "wrong"})).status == 401
            assert (await caller.v1()).status == 500

        emulated(main)

    def test_a_deployment_of_that_name_can_have_a_base_model(self, emulated):
        async def main(caller):
            answer = await caller.v1(model="fault-crlf", max_tokens=5)
            assert answer.error["param"] == "max_tokens"
            assert answer.headers["apim-request-id"]

        emulated(main, deployments={"fault-crlf": "o1"})

    @pytest.mark.parametrize(
        ("name", "arguments", "message"),
        [
            ("rate_limi", {}, "there is no fault 'rate_limi'; did you mean 'rate_limit'"),
            ("drop", {"times": 0}, "times is 0"),
            ("drop", {"status": 99}, "status is 99"),
            ("drop", {"after_chunks": -1}, "after_chunks is -1"),
        ],
    )
    def test_orders_that_make_no_sense(self, name, arguments, message):
        with pytest.raises(ValueError, match=message):
            FaultQueue(FAULTS).add(name, **arguments)

    def test_the_date_is_ahead_of_the_clock(self, emulated):
        answer = struck(emulated, "rate_limit_date")
        assert parsedate_to_datetime(answer.headers["retry-after"]).timestamp() == 1_700_000_005


class TestSpillover:
    def spill(self, emulated, fault, *, to="gpt-4o-mini", **settings):
        async def main(caller):
            caller.emulator.faults.add(fault, deployment="gpt-4o")
            headers = {"api-key": caller.emulator.api_key, "x-ms-spillover-deployment": to}
            return await caller.v1(headers=headers)

        return emulated(main, **settings)

    @pytest.mark.parametrize("fault", ["rate_limit", "server_error", "unavailable"])
    def test_another_deployment_serves(self, emulated, fault):
        answer = self.spill(emulated, fault)
        assert (answer.status, answer.json["model"]) == (200, "gpt-4o-mini-2024-07-18")
        assert answer.headers["x-ms-spillover-from-deployment"] == "gpt-4o"
        assert answer.headers["x-ms-deployment-name"] == "gpt-4o-mini"

    def test_other_errors_stay(self, emulated):
        assert self.spill(emulated, "content_filter").status == 400

    def test_a_deployment_that_is_not_there(self, emulated):
        answer = self.spill(emulated, "rate_limit", to="nobody")
        assert answer.status == 429
        assert "does not exist" in answer.headers["x-ms-spillover-error"]

    def test_one_that_is_full_as_well(self, emulated):
        assert self.spill(emulated, "rate_limit", to="fault-unavailable").status == 503

    def test_real_limits_spill_too(self, emulated):
        async def main(caller):
            headers = {"api-key": caller.emulator.api_key, "x-ms-spillover-deployment": "gpt-4o-mini"}
            return [(await caller.v1(headers=headers)).headers["x-ms-deployment-name"] for _ in range(2)]

        assert emulated(main, requests_per_minute=1) == ["gpt-4o", "gpt-4o-mini"]


class TestControl:
    def test_faults_are_ordered_over_http(self, emulated):
        async def main(caller):
            order = {"fault": "rate-limit", "times": 2, "headers": {"retry-after-ms": "7"}, "body": {"error": "mine"}}
            answer = await caller.ask("POST", "/emulator/faults", json=order, headers={})
            assert (answer.status, answer.json["fault"], answer.json["times"]) == (201, "rate_limit", 2)
            struck = await caller.v1()
            assert (struck.json, struck.headers["retry-after-ms"]) == ({"error": "mine"}, "7")
            [waiting] = (await caller.ask("GET", "/emulator/faults")).json["faults"]
            assert waiting["times"] == 1
            assert (await caller.ask("DELETE", "/emulator/faults")).status == 204
            assert (await caller.v1()).status == 200

        emulated(main)

    @pytest.mark.parametrize(
        ("order", "message"),
        [
            ({"fault": "dropp"}, "did you mean 'drop'"),
            ({"fault": "drop", "time": 1}, "unknown field 'time'; did you mean 'times'"),
            ({"fault": "drop", "times": "often"}, "not supported between"),
            ({"fault": "drop", "headers": 3}, "int"),
            ({}, "expected"),
            ([], "expected"),
        ],
    )
    def test_orders_over_http_that_make_no_sense(self, emulated, order, message):
        async def main(caller):
            answer = await caller.ask("POST", "/emulator/faults", json=order, headers={})
            assert answer.status == 400
            assert message in answer.error
            assert len(caller.emulator.faults) == 0

        emulated(main)

    def test_the_state(self, emulated):
        async def main(caller):
            await caller.v1()
            await caller.v1(stream=True)
            caller.emulator.faults.add("drop")
            state = (await caller.ask("GET", "/emulator/state", headers={})).json
            assert (state["requests"], state["streams"], state["open_requests"], state["open_streams"]) == (2, 1, 0, 0)
            assert [order["fault"] for order in state["faults"]] == ["drop"]

        emulated(main)

    def test_the_journal_masks_credentials_but_tells_equal_ones(self, emulated):
        async def main(caller):
            emulator = caller.emulator
            token = emulator.book.issue("https://cognitiveservices.azure.com")
            for headers in (
                {"api-key": emulator.api_key},
                {"api-key": emulator.api_key},
                {"Authorization": f"Bearer {token}"},
            ):
                await caller.chat(headers=headers)
            text = (await caller.ask("GET", "/emulator/requests", headers={})).body.decode()
            assert emulator.api_key not in text
            assert token not in text
            first, second, third = (await caller.ask("GET", "/emulator/requests", headers={})).json["requests"]
            assert first["headers"]["api-key"] == second["headers"]["api-key"].replace(" ", "")
            assert first["headers"]["api-key"].startswith("***")
            assert third["headers"]["authorization"].startswith("Bearer ***")
            assert (first["method"], first["operation"], first["deployment"]) == ("POST", "chat/completions", "gpt-4o")
            assert first["query"] == {"api-version": "2024-10-21"}
            assert first["body"]["messages"][0]["content"] == "hello"
            assert (await caller.ask("DELETE", "/emulator/requests")).status == 204
            assert len(emulator.journal) == 0

        emulated(main)

    def test_other_control_routes_are_none(self, emulated):
        async def main(caller):
            assert (await caller.ask("POST", "/emulator/state")).status == 404

        emulated(main)
