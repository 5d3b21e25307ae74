"""Routes, versions, credentials, headers, the catalogue, limits."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest
from apex_llm_mock import MockSettings, Reply
from apex_llm_mock.emulation import AzureEmulator
from apex_llm_mock.emulation.azure.limits import RateLimit
from apex_llm_mock.emulation.azure.routes import Route, parse_route

from apex_llm_core.testing import FakeClock

CHAT = {"messages": [{"role": "user", "content": "hello"}]}
NOT_FOUND = {"error": {"code": "404", "message": "Resource not found"}}
DATED = "/openai/deployments/gpt-4o/chat/completions"


def test_importing_the_mock_or_the_package_imports_no_server():
    code = (
        "import sys, apex_llm_mock, apex_llm_mock.plugin, apex_llm_mock.emulation, apex_llm_mock.emulation.command;"
        "sys.exit(bool({'aiohttp', 'trustme', 'msal'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_an_unknown_name_of_the_package_is_an_attribute_error():
    from apex_llm_mock import emulation

    assert set(emulation.__all__) <= set(dir(emulation))
    with pytest.raises(AttributeError, match="BedrockEmulater"):
        _ = emulation.BedrockEmulater


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/openai/deployments/d/embeddings", Route(surface="dated", operation="embeddings", deployment="d")),
        (
            "/openai/deployments/a%2Fb%20c/images/edits/",
            Route(surface="dated", operation="images/edits", deployment="a/b c"),
        ),
        ("/openai/v1/chat/completions", Route(surface="v1", operation="chat/completions")),
        ("/openai/v1/models/o3%2Dx", Route(surface="v1", operation="models", model="o3-x")),
        ("/openai/models", Route(surface="dated", operation="models")),
        ("/openai/deployments/d/responses", None),
        ("/openai/deployments", None),
        ("/openai/chat/completions", None),
        ("/openai/v1/responses", None),
        ("/v1/chat/completions", None),
        ("/openai/deployments//chat/completions", None),
    ],
)
def test_paths(path, expected):
    assert parse_route(path, {}) == expected


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        (f"{DATED}?api-version=2024-10-21", 200, None),
        (f"{DATED}?api-version=2025-04-01-preview", 200, None),
        (DATED, 404, "404"),
        (f"{DATED}?api-version=", 404, "404"),
        (f"{DATED}?api-version=2024-10-22", 404, "404"),
        (f"{DATED}?api-version=preview", 404, "DeploymentNotFound"),
        (f"{DATED}?api-version=v1", 404, "DeploymentNotFound"),
        ("/openai/deployments/nobody/chat/completions?api-version=2024-10-21", 404, "DeploymentNotFound"),
        ("/openai/deployments/fault-nonsense/chat/completions?api-version=2024-10-21", 404, "DeploymentNotFound"),
        ("/openai/deployments/gpt-4o/completions?api-version=2024-10-21", 404, "404"),
        ("/openai/v1/chat/completions", 200, None),
        ("/openai/v1/chat/completions?api-version=preview", 200, None),
        ("/openai/v1/chat/completions?api-version=v1", 200, None),
        ("/openai/v1/chat/completions?api-version=2024-10-21", 400, "BadRequest"),
        ("/openai/v1/chat/completions?api-version=nonsense", 400, "BadRequest"),
        ("/openai/v1/responses", 404, "404"),
        ("/", 404, "404"),
    ],
)
def test_versions_and_deployments(emulated, path, status, code):
    async def main(caller):
        answer = await caller.ask("POST", path, json={"model": "gpt-4o", **CHAT})
        assert answer.status == status
        if code is not None:
            assert answer.error["code"] == code
        if "2024-10-21" in path and code == "BadRequest":
            assert answer.error["message"] == "API version not supported"

    emulated(main)


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
def test_another_method_finds_nothing(emulated, method):
    async def main(caller):
        answer = await caller.ask(method, "/openai/v1/chat/completions")
        assert (answer.status, answer.json) == (404, NOT_FOUND)

    emulated(main)


@pytest.mark.parametrize(("model", "code"), [("nobody", "DeploymentNotFound"), (None, "missing_required_parameter")])
def test_on_v1_the_body_names_the_deployment(emulated, model, code):
    async def main(caller):
        body = CHAT if model is None else {"model": model, **CHAT}
        answer = await caller.ask("POST", "/openai/v1/chat/completions", json=body)
        assert answer.error["code"] == code

    emulated(main)


def test_a_deployment_has_a_name_of_its_own(emulated):
    async def main(caller):
        answer = await caller.chat(deployment="blue", model="ignored")
        assert answer.json["model"] == "gpt-4o-mini-2024-07-18"
        assert (await caller.chat(deployment="gpt-4o")).error["code"] == "DeploymentNotFound"

    emulated(main, deployments={"blue": "gpt-4o-mini-2024-07-18"})


def test_an_unknown_base_model_is_an_error_with_the_nearest():
    with pytest.raises(ValueError, match="did you mean 'gpt-4o'"):
        AzureEmulator(deployments={"blue": "gpt-4oo"})


def test_errors_in_a_script_are_refused():
    script = (Reply(text="x", error="rate_limit_error"),)
    with pytest.raises(ValueError, match="order a fault instead"):
        AzureEmulator(replies=MockSettings(script=script))


@pytest.mark.parametrize("data", [b"", b"{", b"[1]", b'"x"', b"\xff\xfe"])
def test_a_body_that_is_no_object(emulated, data):
    async def main(caller):
        answer = await caller.ask("POST", f"{DATED}?api-version=2024-10-21", data=data)
        assert answer.status == 400
        assert "could not parse the JSON body" in answer.error["message"]

    emulated(main)


class TestCredentials:
    """Keys everywhere, tokens by their audience."""

    COGNITIVE = "https://cognitiveservices.azure.com/.default"
    FOUNDRY = "https://ai.azure.com/.default"

    def statuses(self, emulated, headers_of, **settings):
        async def main(caller):
            headers = headers_of(caller.emulator)
            return [await caller.chat(headers=headers), await caller.v1(headers=headers)]

        return emulated(main, **settings)

    def test_a_key_in_its_header_opens_both(self, emulated):
        answers = self.statuses(emulated, lambda emulator: {"api-key": emulator.api_key})
        assert [answer.status for answer in answers] == [200, 200]

    def test_a_key_as_bearer_opens_v1_only(self, emulated):
        answers = self.statuses(emulated, lambda emulator: {"Authorization": f"Bearer {emulator.api_key}"})
        assert [answer.status for answer in answers] == [401, 200]

    @pytest.mark.parametrize("headers", [{}, {"api-key": "wrong"}, {"api-key": ""}, {"Authorization": "Basic eDp5"}])
    def test_no_key_or_a_wrong_one(self, emulated, headers):
        for answer in self.statuses(emulated, lambda _emulator: headers):
            assert answer.status == 401
            assert answer.error["code"] == "401"
            assert answer.error["message"].startswith("Access denied due to invalid subscription key")
            assert answer.headers["apim-request-id"]

    @pytest.mark.parametrize(
        ("scope", "expected"),
        [(COGNITIVE, [200, 200]), (FOUNDRY, [401, 200]), ("https://graph.microsoft.com", [401, 401])],
    )
    def test_tokens_open_by_audience(self, emulated, scope, expected):
        answers = self.statuses(emulated, lambda emulator: {"Authorization": f"Bearer {emulator.book.issue(scope)}"})
        assert [answer.status for answer in answers] == expected
        for answer in answers:
            if answer.status == 401:
                assert answer.json.keys() == {"statusCode", "message"}
                assert "Access token is missing, invalid, audience is incorrect" in answer.json["message"]

    def test_expired_revoked_and_forged_tokens_open_nothing(self, emulated):
        async def main(caller):
            book = caller.emulator.book
            expired = book.issue(self.COGNITIVE, lifetime=0)
            revoked = book.issue(self.COGNITIVE)
            book.revoke_all()
            good = book.issue(self.COGNITIVE)
            for token in (expired, revoked, f"{good}x", "nonsense"):
                assert (await caller.chat(headers={"Authorization": f"Bearer {token}"})).status == 401
            assert (await caller.chat(headers={"Authorization": f"Bearer {good}"})).status == 200

        emulated(main)

    @pytest.mark.parametrize(("entra_embeddings", "status"), [(False, 401), (True, 200)])
    def test_embeddings_on_v1_take_tokens_only_when_told_to(self, emulated, entra_embeddings, status):
        async def main(caller):
            headers = {"Authorization": f"Bearer {caller.emulator.book.issue(self.COGNITIVE)}"}
            body = {"model": "text-embedding-3-small", "input": "x"}
            assert (await caller.ask("POST", "/openai/v1/embeddings", json=body, headers=headers)).status == status
            dated = "/openai/deployments/text-embedding-3-small/embeddings?api-version=2024-10-21"
            assert (await caller.ask("POST", dated, json=body, headers=headers)).status == 200

        emulated(main, entra_embeddings=entra_embeddings)

    def test_managed_identity_gives_tokens_at_the_same_address(self, emulated):
        async def main(caller):
            path = "/metadata/identity/oauth2/token?api-version=2018-02-01&resource=https://cognitiveservices.azure.com"
            token = (await caller.ask("GET", path, headers={"Metadata": "true"})).json["access_token"]
            assert (await caller.chat(headers={"Authorization": f"Bearer {token}"})).status == 200

        emulated(main)

    def test_the_token_port_speaks_https(self, emulated):
        pytest.importorskip("trustme")
        import ssl

        async def main(caller):
            emulator = caller.emulator
            context = ssl.create_default_context(cadata=emulator.certificate.ca_pem.decode())
            form = {
                "grant_type": "client_credentials",
                "client_id": "app",
                "client_secret": "app-secret",
                "scope": self.COGNITIVE,
            }
            url = f"{emulator.authority}/oauth2/v2.0/token"
            async with caller._session.post(url, data=form, ssl=context) as response:
                token = (await response.json())["access_token"]
            assert (await caller.v1(headers={"Authorization": f"Bearer {token}"})).status == 200

        emulated(main, token_port=0)


class TestHeaders:
    def test_of_an_answer(self, emulated):
        async def main(caller):
            answer = await caller.chat(headers={"api-key": caller.emulator.api_key, "x-ms-client-request-id": "mine"})
            headers = answer.headers
            identifier = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
            assert identifier.fullmatch(headers["apim-request-id"])
            assert identifier.fullmatch(headers["x-request-id"])
            assert headers["apim-request-id"] != headers["x-request-id"]
            assert headers["x-ms-region"] == "Sweden Central"
            assert headers["x-ms-deployment-name"] == "gpt-4o"
            assert headers["x-ms-client-request-id"] == "mine"
            assert headers["x-ratelimit-limit-requests"] == "100"
            assert headers["x-ratelimit-remaining-requests"] == "99"
            assert int(headers["x-ratelimit-remaining-tokens"]) == 1000 - answer.json["usage"]["total_tokens"]
            assert 0 < int(headers["x-ratelimit-reset-requests"]) <= 60
            assert headers["x-ratelimit-reset-tokens"] == headers["x-ratelimit-reset-requests"]

        emulated(main, region="Sweden Central", requests_per_minute=100, tokens_per_minute=1000)

    def test_every_request_has_ids_of_its_own_and_the_seed_repeats_them(self, emulated):
        async def main(caller):
            return [
                (answer.headers["apim-request-id"], answer.json["id"]) for answer in [await caller.chat() for _ in "ab"]
            ]

        first, again, other = emulated(main), emulated(main), emulated(main, seed=1)
        assert first == again
        assert len({*first, *other}) == 4


class TestLimits:
    def test_requests_are_refused_when_the_minute_is_used_up_and_served_in_the_next(self, emulated):
        clock = FakeClock()

        async def main(caller):
            assert (await caller.chat()).status == 200
            clock.advance(15)
            refused = await caller.chat()
            assert refused.status == 429
            assert refused.error["code"] == "429"
            assert "have exceeded call rate limit" in refused.error["message"]
            assert refused.headers["retry-after-ms"] == "45000"
            assert refused.headers["retry-after"] == "45"
            assert (await caller.chat(deployment="gpt-4o-mini")).status == 200
            clock.advance(45)
            assert (await caller.chat()).status == 200

        emulated(main, requests_per_minute=1, clock=clock)

    def test_tokens_are_counted_when_they_are_known(self):
        clock = FakeClock()
        rate = RateLimit(requests=10, tokens=5, clock=clock)
        assert rate.exceeded() is None
        rate.spend(7)
        assert rate.headers()["x-ratelimit-remaining-tokens"] == "0"
        assert rate.exceeded() == "token rate"
        clock.advance(60)
        assert rate.exceeded() is None
        assert rate.headers()["x-ratelimit-remaining-requests"] == "9"


class TestModels:
    @pytest.mark.parametrize("path", ["/openai/models?api-version=2024-10-21", "/openai/v1/models"])
    def test_the_catalogue_is_that_of_the_resource_not_its_deployments(self, emulated, path):
        async def main(caller):
            models = (await caller.ask("GET", path)).json["data"]
            assert "blue" not in {model["id"] for model in models}
            [embedding] = [model for model in models if model["id"] == "text-embedding-3-large-1"]
            assert embedding["capabilities"] == {
                "fine_tune": False,
                "inference": True,
                "completion": False,
                "chat_completion": False,
                "embeddings": True,
            }
            assert embedding["status"] == "succeeded"
            assert embedding["lifecycle_status"] == "generally-available"
            assert embedding["deprecation"]["inference"] > embedding["created_at"]
            assert not {"owned_by", "created"} & embedding.keys()

        emulated(main, deployments={"blue": "gpt-4o"})

    def test_one_model_and_one_that_is_none(self, emulated):
        async def main(caller):
            assert (await caller.ask("GET", "/openai/v1/models/o1-2024-12-17")).json["object"] == "model"
            answer = await caller.ask("GET", "/openai/v1/models/gpt-9")
            assert (answer.status, answer.error["code"]) == (404, "model_not_found")

        emulated(main)
