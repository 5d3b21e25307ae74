"""msal itself against a token endpoint on loopback: https, with a certificate that lives as long as the test."""

from __future__ import annotations

import asyncio
import datetime as dt
import logging
import socket
import threading
import time
import traceback
from contextlib import asynccontextmanager

import pytest
from aiohttp import web
from apex_llm_azure.auth import TokenSources, make_authenticator
from apex_llm_mock.emulation.certificate import throw_away_certificate
from apex_llm_mock.emulation.entra.emulator import EntraEmulator, TokenBook
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import pkcs12
from cryptography.x509.oid import NameOID

from apex_llm_core.config import AuthConfig, ProviderConfig
from apex_llm_core.errors import (
    AuthenticationError,
    AuthorizationError,
    LLMError,
    LLMTimeoutError,
    RateLimitError,
    ServiceUnavailableError,
)
from apex_llm_core.testing.runtime import FakeRuntime, make_context

SCOPE = "https://cognitiveservices.azure.com/.default"
RESOURCE = "https://cognitiveservices.azure.com"
APP = {"tenant_id": "contoso", "client_id": "app"}
SECRET = APP | {"client_secret": "app-secret"}
GOVERNMENT, CHINA = "login.microsoftonline.us", "login.partner.microsoftonline.cn"


@pytest.fixture(scope="session")
def certificate():
    return throw_away_certificate("127.0.0.1", GOVERNMENT, CHINA)


@pytest.fixture(scope="session")
def app_key():
    """The key and certificate that an application proves itself with."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "app")])
    now = dt.datetime.now(dt.UTC)
    builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    builder = builder.not_valid_before(now).not_valid_after(now + dt.timedelta(days=1))
    return key, builder.sign(key, hashes.SHA256())


@pytest.fixture
def anyone(certificate, tmp_path, monkeypatch):
    """Make authenticators for the emulator that `serving` runs."""
    for name in ("IDENTITY_ENDPOINT", "IDENTITY_HEADER", "MSI_ENDPOINT", "MSI_SECRET", "IMDS_ENDPOINT"):
        monkeypatch.delenv(name, raising=False)
    return Anyone(certificate, certificate.write_ca(tmp_path / "ca.pem"))


class Anyone:
    def __init__(self, certificate, ca_file):
        self.certificate = certificate
        self.ca_file = str(ca_file)
        self.clock = time.monotonic
        self.now = None
        self.environ = {}
        self.shown = []
        self.waits = []
        self.emulator = EntraEmulator(TokenBook())
        self.timeouts = {}

    def wall(self):
        return time.time() if self.now is None else self.now

    def pass_time(self, seconds):
        self.now = self.wall() + seconds

    async def sleep(self, seconds):
        self.waits.append(seconds)

    @asynccontextmanager
    async def serving(self, *, host="127.0.0.1"):
        runner = web.AppRunner(self.emulator.app(), shutdown_timeout=0.1)
        await runner.setup()
        tls = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=self.certificate.ssl_context())
        plain = web.TCPSite(runner, "127.0.0.1", 0)
        await tls.start()
        await plain.start()
        (_, tls_port), (_, plain_port) = runner.addresses
        self.authority = f"https://{host}:{tls_port}"
        self.plain = f"http://127.0.0.1:{plain_port}"
        self.sources = TokenSources(wall=self.wall, show=self.shown.append, sleep=self.sleep, **self.timeouts)
        self.made = []
        try:
            yield self.emulator
        finally:
            for auth in self.made:
                await auth.close()
            await runner.cleanup()
            # A handshake that the client gave up is closed by the loop, a few turns later; the last one is its own pipe.
            await until(lambda: len(asyncio.get_running_loop()._selector.get_map()) == 1)

    def auth(self, /, *, authority=None, ca_file=None, **credentials):
        auth = make_authenticator(
            ProviderConfig(name="azure", type="azure", auth=AuthConfig(type="azure_ad", credentials=credentials)),
            authority=authority or self.authority,
            ca_file=self.ca_file if ca_file is None else ca_file,
            runtime=FakeRuntime(clock=self.clock, environ=self.environ),
            sources=self.sources,
        )
        self.made.append(auth)
        return auth

    async def token(self, auth, scope=SCOPE):
        headers = await auth.headers(scope, make_context())
        assert set(headers) == {"Authorization"}
        return headers["Authorization"].removeprefix("Bearer ")

    async def failure(self, auth, kind=LLMError, scope=SCOPE):
        with pytest.raises(kind) as caught:
            await auth.headers(scope, make_context())
        return caught.value


def run(coroutine):
    async def bounded():
        async with asyncio.timeout(20):
            await coroutine

    asyncio.run(bounded())


async def until(condition):
    """Let everything go on until *condition* holds; bounded by `run`."""
    while not condition():  # noqa: ASYNC110 - what changes it is in another thread, or is a task of the provider's own
        await asyncio.sleep(0.001)


def token_calls(emulator):
    return [call for call in emulator.calls if call.place == "token"]


class TestApplication:
    def test_with_a_secret(self, anyone):
        async def main():
            async with anyone.serving() as entra:
                auth = anyone.auth(**SECRET)
                token = await anyone.token(auth)
                assert entra.book.check(token, RESOURCE) == "ok"
                assert await anyone.token(auth) == token
                (call,) = token_calls(entra)
                assert (call.grant, call.proof) == ("client_credentials", "secret")
                assert (call.client_id, call.scope) == ("app", SCOPE)

        run(main())

    def test_with_references_that_are_resolved_for_every_token(self, anyone):
        anyone.environ = {"TENANT": "contoso", "CLIENT": "app", "SECRET": "app-secret"}

        async def main():
            async with anyone.serving() as entra:
                auth = anyone.auth(tenant_id="env:TENANT", client_id="env:CLIENT", client_secret="env:SECRET")
                first = await anyone.token(auth)
                entra.client_secret = anyone.environ["SECRET"] = "rotated-secret"
                assert auth.rejected(SCOPE, {"Authorization": f"Bearer {first}"})
                assert entra.book.check(await anyone.token(auth), RESOURCE) == "ok"
                del anyone.environ["SECRET"]
                anyone.pass_time(4000)
                error = await anyone.failure(auth, AuthenticationError)
                assert "env:SECRET" in error.message

        run(main())

    @pytest.mark.parametrize("password", [None, "pfx-password"])
    @pytest.mark.parametrize("form", ["pem", "pfx"])
    def test_with_a_certificate(self, anyone, app_key, tmp_path, form, password):
        key, public = app_key
        path = tmp_path / f"app.{form}"
        lock = serialization.BestAvailableEncryption(password.encode()) if password else serialization.NoEncryption()
        pem = public.public_bytes(serialization.Encoding.PEM)
        if form == "pem":
            encoding = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, lock)
            path.write_bytes(key.private_bytes(*encoding) + pem)
        else:
            path.write_bytes(pkcs12.serialize_key_and_certificates(b"app", key, public, None, lock))
        anyone.emulator.client_certificate = pem
        more = {"certificate_password": password} if password else {}

        async def main():
            async with anyone.serving() as entra:
                token = await anyone.token(anyone.auth(**APP, certificate_path=str(path), **more))
                assert entra.book.check(token, RESOURCE) == "ok"
                assert token_calls(entra)[0].proof == "certificate"

        run(main())

    def test_with_a_certificate_that_is_not_the_registered_one(self, anyone, app_key, certificate, tmp_path):
        key, public = app_key
        path = tmp_path / "app.pem"
        encoding = (
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        path.write_bytes(key.private_bytes(*encoding) + public.public_bytes(serialization.Encoding.PEM))
        anyone.emulator.client_certificate = certificate.chain_pem

        async def main():
            async with anyone.serving():
                error = await anyone.failure(anyone.auth(**APP, certificate_path=str(path)), AuthenticationError)
                assert "AADSTS700027" in error.message
                assert "upload it" in error.message

        run(main())

    @pytest.mark.parametrize(
        ("content", "password", "message"),
        [
            (None, None, "the certificate cannot be read from .*: No such file or directory"),
            (b"-----BEGIN NOTHING-----\nhidden-content\n", None, "the credentials cannot be used"),
            (b"\x00hidden-content", "hidden-password", "the credentials cannot be used"),
        ],
    )
    def test_with_a_certificate_that_is_none(self, anyone, tmp_path, content, password, message):
        path = tmp_path / "app.pem"
        if content is not None:
            path.write_bytes(content)
        more = {"certificate_password": password} if password else {}

        async def main():
            async with anyone.serving() as entra:
                auth = anyone.auth(**APP, certificate_path=str(path), **more)
                error = await anyone.failure(auth, AuthenticationError)
                assert not error.retryable
                assert entra.token_requests == 0
                with pytest.raises(AuthenticationError, match=message):
                    raise error
                assert "hidden" not in "".join(traceback.format_exception(error))

        run(main())

    def test_with_a_federated_token_whose_file_is_read_for_every_token(self, anyone, tmp_path):
        path = tmp_path / "token"
        path.write_text("eyJraWQiOiJrIn0.e30.first\n")
        anyone.emulator.federated_tokens = {"eyJraWQiOiJrIn0.e30.first"}

        async def main():
            async with anyone.serving() as entra:
                auth = anyone.auth(**APP, federated_token_file=str(path))
                assert entra.book.check(await anyone.token(auth), RESOURCE) == "ok"
                assert token_calls(entra)[0].proof == "federated"

                path.write_text("eyJraWQiOiJrIn0.e30.second")
                entra.federated_tokens = {"eyJraWQiOiJrIn0.e30.second"}
                anyone.pass_time(4000)
                await anyone.token(auth)
                assert entra.token_requests == 2

                path.unlink()
                anyone.pass_time(4000)
                error = await anyone.failure(auth, AuthenticationError)
                assert "the federated token cannot be read from" in error.message
                path.write_text(" \n")
                error = await anyone.failure(auth, AuthenticationError)
                assert "is empty" in error.message

        run(main())


class TestDeviceCode:
    def test_shows_the_message_and_polls_until_the_human_has_finished(self, anyone):
        anyone.emulator.device_polls = 3
        anyone.emulator.device_interval = 1

        async def main():
            async with anyone.serving() as entra:
                auth = anyone.auth(**APP, device_code=True)
                token = await anyone.token(auth)
                assert entra.book.check(token, RESOURCE) == "ok"
                assert "/device and enter the code CODE00001" in anyone.shown[0]
                assert anyone.waits == [1, 1, 1, 1]
                assert [call.status for call in token_calls(entra)] == [400, 400, 400, 200]

        run(main())

    def test_renews_the_token_without_the_human(self, anyone):
        anyone.emulator.device_interval = 1

        async def main():
            async with anyone.serving() as entra:
                auth = anyone.auth(**APP, device_code=True)
                first = await anyone.token(auth)
                assert auth.rejected(SCOPE, {"Authorization": f"Bearer {first}"})
                assert await anyone.token(auth) != first
                assert token_calls(entra)[-1].grant == "refresh_token"
                anyone.pass_time(4000)
                await anyone.token(auth)
                assert len(anyone.shown) == 1

        run(main())

    def test_asks_the_human_again_when_the_refresh_token_is_over(self, anyone):
        anyone.emulator.device_interval = 1

        async def main():
            async with anyone.serving() as entra:
                auth = anyone.auth(**APP, device_code=True)
                await anyone.token(auth)
                entra.fail("invalid_grant")
                anyone.pass_time(4000)
                await anyone.token(auth)
                assert len(anyone.shown) == 2

        run(main())

    def test_keeps_the_human_out_of_an_outage(self, anyone):
        anyone.emulator.device_interval = 1

        async def main():
            async with anyone.serving() as entra:
                auth = anyone.auth(**APP, device_code=True)
                await anyone.token(auth)
                anyone.pass_time(4000)
                for fault, kind in ((503, ServiceUnavailableError), ("throttled", RateLimitError)):
                    entra.fail(fault)
                    await anyone.failure(auth, kind)
                assert len(anyone.shown) == 1

        run(main())

    @pytest.mark.parametrize(
        ("error", "message"), [("authorization_declined", "declined"), ("expired_token", "nobody entered")]
    )
    def test_ends_when_it_cannot_be_granted_any_more(self, anyone, error, message):
        anyone.emulator.device_interval = 1

        async def main():
            async with anyone.serving() as entra:
                entra.fail(error)
                failure = await anyone.failure(anyone.auth(**APP, device_code=True), AuthenticationError)
                assert message in failure.message

        run(main())

    def test_goes_on_when_the_one_who_waited_gave_up_and_ends_with_the_provider(self, anyone):
        anyone.emulator.device_polls = 1000
        polled = asyncio.Event()
        more = asyncio.Event()

        async def sleep(_seconds):
            polled.set()
            await more.wait()

        anyone.sleep = sleep

        async def main():
            async with anyone.serving() as entra:
                auth = anyone.auth(**APP, device_code=True)
                impatient = asyncio.create_task(anyone.token(auth))
                await polled.wait()
                impatient.cancel()
                patient = asyncio.create_task(anyone.token(auth))
                await asyncio.wait([impatient])
                await auth.close()
                with pytest.raises(ServiceUnavailableError, match="shut down"):
                    await patient
                assert len(anyone.shown) == 1
                assert entra.token_requests == 0

        run(main())


class TestManagedIdentity:
    @pytest.mark.parametrize("kind", ["client_id", "resource_id", "object_id", None])
    def test_of_app_service(self, anyone, monkeypatch, kind):
        anyone.emulator.identity.identities = {"mine"}

        async def main():
            async with anyone.serving() as entra:
                monkeypatch.setenv("IDENTITY_ENDPOINT", f"{anyone.plain}/msi/token")
                monkeypatch.setenv("IDENTITY_HEADER", "identity-secret")
                auth = anyone.auth(managed_identity=True, **({kind: "mine"} if kind else {}))
                assert entra.book.check(await anyone.token(auth), RESOURCE) == "ok"
                (call,) = entra.calls
                assert (call.path, call.scope) == ("/msi/token", RESOURCE)

        run(main())

    @pytest.mark.parametrize("kind", ["client_id", "resource_id", "object_id", None])
    def test_of_a_virtual_machine(self, anyone, monkeypatch, kind):
        anyone.emulator.identity.identities = {"mine"}

        async def main():
            async with anyone.serving() as entra:
                monkeypatch.setenv("AZURE_POD_IDENTITY_AUTHORITY_HOST", anyone.plain)
                auth = anyone.auth(managed_identity=True, **({kind: "mine"} if kind else {}))
                assert entra.book.check(await anyone.token(auth), RESOURCE) == "ok"
                (call,) = entra.calls
                assert (call.path, call.scope) == ("/metadata/identity/oauth2/token", RESOURCE)

        run(main())

    def test_asks_no_proxy(self, anyone, monkeypatch):
        async def main():
            async with anyone.serving():
                monkeypatch.setenv("AZURE_POD_IDENTITY_AUTHORITY_HOST", anyone.plain)
                for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
                    monkeypatch.setenv(name, "http://127.0.0.1:9")
                await anyone.token(anyone.auth(managed_identity=True))

        run(main())

    def test_is_renewed_in_the_middle_of_a_long_life(self, anyone, monkeypatch):
        anyone.emulator.book.lifetime = 86400

        async def main():
            async with anyone.serving() as entra:
                monkeypatch.setenv("AZURE_POD_IDENTITY_AUTHORITY_HOST", anyone.plain)
                auth = anyone.auth(managed_identity=True)
                first = await anyone.token(auth)
                anyone.pass_time(43_000)
                assert await anyone.token(auth) == first
                assert entra.token_requests == 1
                anyone.pass_time(300)
                assert await anyone.token(auth) == first
                await until(lambda: entra.token_requests == 2 and auth._source(SCOPE).fresh())
                assert await anyone.token(auth) != first

        run(main())

    @pytest.mark.parametrize(
        ("fault", "credentials", "kind", "message"),
        [
            (None, {"client_id": "another"}, AuthenticationError, "is the identity assigned to this machine"),
            (404, {}, ServiceUnavailableError, ""),
            (410, {}, ServiceUnavailableError, ""),
            (429, {}, RateLimitError, ""),
            (500, {}, ServiceUnavailableError, ""),
        ],
    )
    def test_says_what_is_wrong(self, anyone, monkeypatch, fault, credentials, kind, message):
        async def main():
            async with anyone.serving() as entra:
                monkeypatch.setenv("AZURE_POD_IDENTITY_AUTHORITY_HOST", anyone.plain)
                if fault is not None:
                    entra.fail(fault, at="identity")
                error = await anyone.failure(anyone.auth(managed_identity=True, **credentials), kind)
                assert message in error.message
                if fault is not None:
                    assert error.status_code == fault

        run(main())

    def test_of_app_service_says_what_is_wrong(self, anyone, monkeypatch):
        async def main():
            async with anyone.serving():
                monkeypatch.setenv("IDENTITY_ENDPOINT", f"{anyone.plain}/msi/token")
                monkeypatch.setenv("IDENTITY_HEADER", "wrong-header-secret")
                error = await anyone.failure(anyone.auth(managed_identity=True), AuthenticationError)
                assert error.status_code == 401
                assert "Unauthorized" in error.message
                assert "wrong-header-secret" not in error.message

        run(main())

    def test_where_there_is_none(self, anyone, monkeypatch):
        async def main():
            async with anyone.serving():
                monkeypatch.setenv("AZURE_POD_IDENTITY_AUTHORITY_HOST", "http://127.0.0.1:9")
                error = await anyone.failure(anyone.auth(managed_identity=True), ServiceUnavailableError)
                assert "does this program run on Azure" in error.message

        run(main())


class TestRefusals:
    @pytest.mark.parametrize(
        ("fault", "kind", "number", "advice"),
        [
            ("invalid_client", AuthenticationError, 7000215, "not its id"),
            ("expired_secret", AuthenticationError, 7000222, "create a new one"),
            ("unauthorized_client", AuthenticationError, 700016, "check client_id and tenant_id"),
            ("expired_assertion", AuthenticationError, 700024, "check the federated token file and the clock"),
            ("unknown_federated_identity", AuthenticationError, 700213, "no federated credential"),
            ("invalid_grant", AuthenticationError, 70008, "sign in again"),
            ("invalid_scope", AuthorizationError, 1002012, "must end with /.default"),
            ("invalid_resource", AuthorizationError, 500011, "check scope and authority"),
            ("consent_required", AuthorizationError, 65001, "consent"),
            ("access_denied", AuthorizationError, 53003, "Conditional Access"),
        ],
    )
    def test_are_typed_and_advise(self, anyone, fault, kind, number, advice):
        async def main():
            async with anyone.serving() as entra:
                entra.fail(fault)
                error = await anyone.failure(anyone.auth(**SECRET), kind)
                assert type(error) is kind
                assert not error.retryable
                assert f"AADSTS{number}" in error.message
                assert advice in error.message
                assert "Trace ID" not in error.message
                assert error.status_code in {400, 401}
                assert error.details["aadsts"] == [number]
                assert error.request_id == error.details["correlation_id"]
                assert "app-secret" not in f"{error} {error!r} {error.details}"

        run(main())

    def test_of_an_unknown_tenant(self, anyone):
        async def main():
            async with anyone.serving() as entra:
                error = await anyone.failure(anyone.auth(**SECRET | {"tenant_id": "fabrikam"}), AuthenticationError)
                assert "AADSTS90002" in error.message
                assert "no such tenant" in error.message
                assert entra.token_requests == 0

        run(main())

    def test_of_a_scope_nobody_knows(self, anyone):
        async def main():
            async with anyone.serving():
                error = await anyone.failure(
                    anyone.auth(**SECRET), AuthorizationError, scope="https://example.com/.default"
                )
                assert "AADSTS500011" in error.message

        run(main())

    def test_of_throttling_keep_the_wish_to_wait(self, anyone):
        async def main():
            async with anyone.serving() as entra:
                entra.fail("throttled", headers={"Retry-After": "7"})
                auth = anyone.auth(**SECRET)
                error = await anyone.failure(auth, RateLimitError)
                assert (error.status_code, error.retry_after, error.retryable) == (429, 7.0, True)
                await anyone.failure(auth, RateLimitError)
                assert entra.token_requests == 1

        run(main())

    @pytest.mark.parametrize("fault", [500, 502, 503, "temporarily_unavailable"])
    @pytest.mark.parametrize("at", ["token", "discovery"])
    def test_of_a_broken_authority_are_an_outage(self, anyone, fault, at):
        async def main():
            async with anyone.serving() as entra:
                entra.fail(fault, at=at)
                auth = anyone.auth(**SECRET)
                error = await anyone.failure(auth)
                assert type(error) is ServiceUnavailableError
                assert error.retryable
                assert error.status_code == (fault if isinstance(fault, int) else 503)
                assert "html" not in error.message
                await anyone.token(auth)

        run(main())

    @pytest.mark.parametrize("status", [200, 204])
    def test_of_what_is_no_answer_are_an_outage(self, anyone, status):
        async def main():
            async with anyone.serving() as entra:
                entra.fail(status)
                error = await anyone.failure(anyone.auth(**SECRET), ServiceUnavailableError)
                assert "no JSON" in error.message

        run(main())

    @pytest.mark.parametrize("at", ["token", "discovery"])
    @pytest.mark.parametrize("status", [302, 307, 308])
    def test_follow_no_redirect_with_the_secret(self, anyone, status, at):
        async def main():
            async with anyone.serving() as entra:
                entra.fail(status, at=at, headers={"Location": f"{anyone.plain}/contoso/oauth2/v2.0/token"})
                error = await anyone.failure(anyone.auth(**SECRET), ServiceUnavailableError)
                assert error.status_code == status
                assert len(entra.calls) == (2 if at == "token" else 1)

        run(main())

    def test_of_a_silent_authority_are_a_timeout(self, anyone):
        anyone.timeouts = {"timeout": 0.1}

        async def main():
            async with anyone.serving() as entra:
                entra.gate = asyncio.Event()
                error = await anyone.failure(anyone.auth(**SECRET), LLMTimeoutError)
                assert "did not answer in time" in error.message
                entra.gate.set()

        run(main())

    def test_of_an_authority_that_takes_too_long_altogether_are_a_timeout(self, anyone):
        anyone.timeouts = {"limit": 0.05}

        async def main():
            async with anyone.serving() as entra:
                entra.gate = asyncio.Event()
                error = await anyone.failure(anyone.auth(**SECRET), LLMTimeoutError)
                assert "no token within 0.05 s" in error.message
                entra.gate.set()

        run(main())

    def test_of_an_untrusted_certificate_name_the_option(self, anyone, monkeypatch):
        monkeypatch.delenv("REQUESTS_CA_BUNDLE", raising=False)
        monkeypatch.delenv("CURL_CA_BUNDLE", raising=False)

        async def main():
            async with anyone.serving() as entra:
                error = await anyone.failure(anyone.auth(**SECRET, ca_file=""), ServiceUnavailableError)
                assert "'ca_file'" in error.message
                assert not error.retryable
                assert entra.calls == []

        run(main())

    def test_of_nobody_listening_say_so(self, anyone):
        async def main():
            async with anyone.serving():
                auth = anyone.auth(authority="https://127.0.0.1:9", **SECRET)
                error = await anyone.failure(auth, ServiceUnavailableError)
                assert "127.0.0.1:9 cannot be asked: Connection refused" in error.message

        run(main())

    def test_a_ca_file_counts_more_than_the_environment(self, anyone, monkeypatch, tmp_path):
        other = throw_away_certificate().write_ca(tmp_path / "other.pem")
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(other))

        async def main():
            async with anyone.serving():
                await anyone.token(anyone.auth(**SECRET))

        run(main())


class TestComplaints:
    def test_13_a_retry_never_carries_an_expired_token(self, anyone):
        async def main():
            async with anyone.serving() as entra:
                auth = anyone.auth(**SECRET)
                first = await anyone.token(auth)
                anyone.pass_time(3600)
                assert await anyone.token(auth) != first
                assert entra.token_requests == 2

        run(main())

    def test_14_a_token_is_refreshed_ahead_without_a_request_that_waits(self, anyone):
        async def main():
            async with anyone.serving() as entra:
                auth = anyone.auth(**SECRET)
                first = await anyone.token(auth)
                anyone.pass_time(3100)
                gate = entra.gate = asyncio.Event()
                assert await anyone.token(auth) == first
                gate.set()
                await until(lambda: entra.token_requests == 2 and auth._source(SCOPE).fresh())
                assert await anyone.token(auth) != first

        run(main())

    def test_15_tokens_are_kept_by_scope(self, anyone):
        other = "https://ai.azure.com/.default"

        async def main():
            async with anyone.serving() as entra:
                auth = anyone.auth(**SECRET)
                assert entra.book.check(await anyone.token(auth), RESOURCE) == "ok"
                token = await anyone.token(auth, other)
                assert entra.book.check(token, "https://ai.azure.com") == "ok"
                assert entra.book.check(token, RESOURCE) == "wrong_audience"
                assert [call.scope for call in token_calls(entra)] == [SCOPE, other]

        run(main())

    def test_16_17_the_event_loop_goes_on_while_msal_waits(self, anyone):
        threads = set()
        wall = anyone.wall

        async def main():
            loop_thread = threading.current_thread()
            async with anyone.serving() as entra:
                gate = entra.gate = asyncio.Event()
                waiting = asyncio.create_task(anyone.token(anyone.auth(**SECRET)))
                # The emulator lives in this very loop: it could not be asked if msal stood in its way.
                await until(lambda: entra.calls)
                threads.update(t for t in threading.enumerate() if t.name.startswith("apex-llm-azure-token"))
                assert threads
                assert loop_thread not in threads
                gate.set()
                await waiting
            assert wall() > 0

        run(main())

    def test_20_requests_at_once_are_one_token_request(self, anyone):
        async def main():
            async with anyone.serving() as entra:
                one, other = anyone.auth(**SECRET), anyone.auth(**SECRET)
                tokens = await asyncio.gather(*(anyone.token(auth) for auth in (one, other) * 10))
                assert len(set(tokens)) == 1
                assert entra.token_requests == 1

        run(main())

    def test_a_valid_token_serves_while_the_authority_is_down(self, anyone):
        anyone.emulator.refresh_in = 1800

        async def main():
            async with anyone.serving() as entra:
                auth = anyone.auth(**SECRET)
                token = await anyone.token(auth)
                entra.fail(503, times=100)
                anyone.pass_time(1800)
                for _ in range(3):
                    assert await anyone.token(auth) == token
                await until(lambda: auth._source(SCOPE)._flight is None)
                assert token_calls(entra)[-1].status == 503
                assert await anyone.token(auth) == token
                entra.faults.clear()
                anyone.pass_time(1800)
                assert await anyone.token(auth) != token

        run(main())

    def test_a_corrected_secret_works_at_once(self, anyone):
        anyone.environ = {"SECRET": "wrong-secret"}

        async def main():
            async with anyone.serving() as entra:
                auth = anyone.auth(**APP, client_secret="env:SECRET")
                for _ in range(3):
                    await anyone.failure(auth, AuthenticationError)
                anyone.environ["SECRET"] = "app-secret"
                assert entra.book.check(await anyone.token(auth), RESOURCE) == "ok"

        run(main())

    def test_an_error_400_is_not_remembered_either(self, anyone):
        async def main():
            async with anyone.serving() as entra:
                auth = anyone.auth(**SECRET)
                entra.client_id = "not-yet-there"
                await anyone.failure(auth, AuthenticationError)
                entra.client_id = "app"
                await anyone.token(auth)

        run(main())

    def test_a_revoked_token_is_replaced(self, anyone):
        async def main():
            async with anyone.serving() as entra:
                auth = anyone.auth(**SECRET)
                headers = await auth.headers(SCOPE, make_context())
                entra.book.revoke_all()
                assert auth.rejected(SCOPE, headers)
                token = await anyone.token(auth)
                assert entra.book.check(token, RESOURCE) == "ok"
                assert not auth.rejected(SCOPE, {"Authorization": f"Bearer {token}"})

        run(main())

    @pytest.mark.parametrize(
        ("host", "scope"),
        [
            (GOVERNMENT, "https://cognitiveservices.azure.us/.default"),
            (CHINA, "https://cognitiveservices.azure.cn/.default"),
        ],
    )
    def test_28_sovereign_clouds_are_asked_at_their_authority_for_their_audience(
        self, anyone, monkeypatch, host, scope
    ):
        resolve = socket.getaddrinfo
        asked = set()

        def loopback(name, *more, **options):
            asked.add(name)
            return resolve("127.0.0.1" if name == host else name, *more, **options)

        async def main():
            async with anyone.serving(host=host) as entra:
                monkeypatch.setattr(socket, "getaddrinfo", loopback)
                token = await anyone.token(anyone.auth(**SECRET), scope)
                assert entra.book.check(token, scope.removesuffix("/.default")) == "ok"
                assert {call.host for call in entra.calls} == {anyone.authority.removeprefix("https://")}
                assert [call.scope for call in token_calls(entra)] == [scope]
                assert asked == {host}

        run(main())


class TestTheAuthorityWithTheTenant:
    def test_serves_without_tenant_id(self, anyone):
        async def main():
            async with anyone.serving():
                await anyone.token(
                    anyone.auth(authority=f"{anyone.authority}/contoso", client_id="app", client_secret="app-secret")
                )

        run(main())


class TestWaiting:
    def test_counts_as_a_sign_of_life(self, anyone):
        signs = []

        async def main():
            async with anyone.serving():
                auth = anyone.auth(**SECRET)
                context = make_context(touch=lambda: signs.append(1))
                await auth.headers(SCOPE, context)
                await auth.headers(SCOPE, context)

        run(main())
        assert len(signs) == 1

    def test_can_be_cancelled_and_the_threads_end_with_the_provider(self, anyone):
        async def main():
            async with anyone.serving() as entra:
                entra.gate = asyncio.Event()
                auth = anyone.auth(**SECRET)
                waiting = asyncio.create_task(anyone.token(auth))
                await until(lambda: entra.calls)
                waiting.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await waiting
                entra.gate.set()
                await auth.close()

        run(main())
        workers = [t for t in threading.enumerate() if t.name.startswith("apex-llm-azure-token")]
        for worker in workers:
            worker.join(5)
            assert not worker.is_alive()


def test_a_secret_that_an_answer_repeats_is_masked(anyone, monkeypatch):
    from apex_llm_azure import msal_flows

    def repeating(_directory, _scope, secret):
        raise AuthenticationError(f"{secret} is not the secret")

    monkeypatch.setattr(msal_flows, "by_secret", repeating)

    async def main():
        async with anyone.serving():
            assert (await anyone.failure(anyone.auth(**SECRET))).message == "*** is not the secret"

    run(main())


def test_no_log_and_no_error_shows_a_secret(anyone, caplog, tmp_path):
    caplog.set_level(logging.DEBUG)
    path = tmp_path / "token"
    path.write_text("eyJraWQiOiJrIn0.e30.hidden-assertion")
    errors = []

    async def main():
        async with anyone.serving() as entra:
            secret = APP | {"client_secret": "hidden-secret"}
            entra.client_secret = "hidden-secret"
            tokens = [await anyone.token(anyone.auth(**secret))]
            for fault in ("invalid_client", 503, 302, 200):
                entra.fail(fault)
                errors.append(await anyone.failure(anyone.auth(**secret), scope="https://ai.azure.com/.default"))
            errors.append(await anyone.failure(anyone.auth(**APP, federated_token_file=str(path))))
            errors.append(await anyone.failure(anyone.auth(authority="https://127.0.0.1:9", **secret)))
            return tokens

    tokens = []

    async def keeping():
        tokens.extend(await main())

    run(keeping())
    text = caplog.text + "".join("".join(traceback.format_exception(error)) + repr(error) for error in errors)
    assert len(text) > 1000
    for hidden in ("hidden-secret", "hidden-assertion", tokens[0]):
        assert hidden not in text
    for error in errors:
        cause = error.__cause__
        while cause is not None:
            assert getattr(cause, "request", None) is None
            cause = cause.__cause__ or cause.__context__
