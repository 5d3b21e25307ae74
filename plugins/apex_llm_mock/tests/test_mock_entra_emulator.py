"""The emulator of Microsoft Entra ID, asked by a plain HTTP client; msal asks it in the tests of the Azure provider."""

from __future__ import annotations

import asyncio
import base64
import datetime as dt
import hashlib
import json
import ssl
import sys
from contextlib import asynccontextmanager

import aiohttp
import pytest
from aiohttp import web
from apex_llm_mock.emulation.certificate import throw_away_certificate
from apex_llm_mock.emulation.entra.assertions import assertion_fault
from apex_llm_mock.emulation.entra.emulator import EntraEmulator, TokenBook
from apex_llm_mock.emulation.entra.errors import ENTRA_ERRORS
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st

from apex_llm_core.testing import FakeClock

RESOURCE = "https://cognitiveservices.azure.com"
SCOPE = f"{RESOURCE}/.default"
CLIENT = {"grant_type": "client_credentials", "client_id": "app", "scope": SCOPE}
TOKEN = "/contoso/oauth2/v2.0/token"
JWT_BEARER = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
ENDPOINT = "https://127.0.0.1/contoso/oauth2/v2.0/token"


class TestTokenBook:
    def test_knows_its_own_tokens(self):
        book = TokenBook()
        assert book.check(book.issue(SCOPE), RESOURCE) == "ok"
        assert book.check(book.issue(RESOURCE), SCOPE) == "ok"
        assert book.check(book.issue(f"{RESOURCE}/"), RESOURCE) == "ok"

    def test_gives_no_token_twice(self):
        book = TokenBook(wall=FakeClock())
        assert book.issue(SCOPE) != book.issue(SCOPE)

    def test_tells_what_became_of_a_token(self):
        clock = FakeClock()
        book = TokenBook(lifetime=60, wall=clock)
        token, short = book.issue(SCOPE), book.issue(SCOPE, lifetime=5)
        assert book.check(token, "https://ai.azure.com") == "wrong_audience"
        clock.advance(5)
        assert (book.check(token, RESOURCE), book.check(short, RESOURCE)) == ("ok", "expired")
        book.revoke_all()
        assert book.check(token, RESOURCE) == "revoked"
        assert book.check(book.issue(SCOPE), RESOURCE) == "ok"
        clock.advance(60)
        assert book.check(token, RESOURCE) == "revoked"

    def test_knows_no_token_of_another_book(self):
        assert TokenBook().check(TokenBook().issue(SCOPE), RESOURCE) == "unknown"

    @given(st.text())
    def test_knows_no_text_that_is_no_token(self, text):
        assert TokenBook(key=b"key").check(text, RESOURCE) == "unknown"

    @given(st.integers(0, 200), st.characters(codec="ascii", categories=["L", "N"]))
    def test_notices_every_change(self, position, character):
        book = TokenBook(key=b"key", wall=FakeClock())
        token = book.issue(SCOPE)
        position %= len(token)
        changed = token[:position] + character + token[position + 1 :]
        assert (book.check(changed, RESOURCE) == "ok") == (changed == token)

    def test_does_not_take_its_identity_tokens_for_access_tokens(self):
        book = TokenBook()
        assert book.check(book.sign({"aud": RESOURCE, "exp": 9e9}), RESOURCE) == "unknown"


class TestCertificate:
    def test_shows_no_key(self):
        certificate = throw_away_certificate()
        assert b"PRIVATE KEY" in certificate.key_pem
        assert "PRIVATE" not in repr(certificate)

    def test_is_trusted_by_whoever_trusts_its_authority_and_nobody_else(self, tmp_path):
        certificate = throw_away_certificate("127.0.0.1")
        path = certificate.write_ca(tmp_path / "ca.pem")

        async def main():
            async with serving(EntraEmulator(TokenBook()), certificate.ssl_context()) as base:
                trusting = ssl.create_default_context(cafile=path)
                status, body = await get(f"{base}/contoso/v2.0/.well-known/openid-configuration", ssl=trusting)
                assert status == 200
                assert body["token_endpoint"] == f"{base}{TOKEN}"
                with pytest.raises(aiohttp.ClientConnectorCertificateError):
                    await get(f"{base}/contoso/v2.0/.well-known/openid-configuration")

        asyncio.run(main())

    def test_says_what_to_install_when_trustme_is_missing(self, monkeypatch):
        monkeypatch.setitem(sys.modules, "trustme", None)
        with pytest.raises(ModuleNotFoundError, match=r"pip install 'apex-llm-mock\[emulate\]'"):
            throw_away_certificate()


@asynccontextmanager
async def serving(entra, context=None):
    runner = web.AppRunner(entra.app(), shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context)
    await site.start()
    try:
        yield f"http{'s' if context else ''}://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()
        # A handshake that the client gave up is closed by the loop, a few turns later; the last one is its own pipe.
        while len(asyncio.get_running_loop()._selector.get_map()) > 1:  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0)


async def get(url, **options):
    async with aiohttp.ClientSession() as session, session.get(url, **options) as response:
        text = await response.text()
        return response.status, json.loads(text) if response.content_type == "application/json" else text


async def post(url, form):
    async with aiohttp.ClientSession() as session, session.post(url, data=form) as response:
        text = await response.text()
        return response.status, json.loads(text) if response.content_type == "application/json" else text


def ask(entra, form, *, path=TOKEN):
    async def main():
        async with serving(entra) as base:
            return await post(base + path, form)

    return asyncio.run(main())


def emulator(**settings):
    return EntraEmulator(TokenBook(), **settings)


class TestGrants:
    def test_by_secret(self):
        entra = emulator()
        status, answer = ask(entra, CLIENT | {"client_secret": "app-secret"})
        assert status == 200
        assert entra.book.check(answer["access_token"], RESOURCE) == "ok"
        assert (answer["token_type"], answer["expires_in"]) == ("Bearer", 3599)
        assert "refresh_in" not in answer

    def test_say_when_to_refresh_if_told_to(self):
        assert ask(emulator(refresh_in=1800), CLIENT | {"client_secret": "app-secret"})[1]["refresh_in"] == 1800

    def test_by_federated_token(self):
        form = CLIENT | {"client_assertion": "a.b.c", "client_assertion_type": JWT_BEARER}
        assert ask(emulator(federated_tokens={"a.b.c"}), form)[0] == 200
        assert ask(emulator(), form)[1]["error_codes"] == [700024]

    @pytest.mark.parametrize(
        ("form", "status", "error", "number"),
        [
            ({"client_secret": "wrong"}, 401, "invalid_client", 7000215),
            ({}, 401, "invalid_client", 7000218),
            ({"client_assertion": "x"}, 401, "invalid_client", 7000218),
            ({"client_id": "other", "client_secret": "app-secret"}, 400, "unauthorized_client", 700016),
            ({"client_secret": "app-secret", "scope": RESOURCE}, 400, "invalid_scope", 1002012),
            ({"client_secret": "app-secret", "scope": ""}, 400, "invalid_scope", 1002012),
            ({"client_secret": "app-secret", "scope": "https://x/.default"}, 400, "invalid_resource", 500011),
            ({"grant_type": "password"}, 400, "unsupported_grant_type", 70003),
            ({"grant_type": "refresh_token", "refresh_token": "x"}, 400, "invalid_grant", 70008),
            ({"grant_type": "device_code", "device_code": "x"}, 400, "bad_verification_code", 70019),
        ],
    )
    def test_are_refused_in_the_words_of_entra(self, form, status, error, number):
        entra = emulator()
        got, answer = ask(entra, CLIENT | form)
        assert (got, answer["error"], answer["error_codes"]) == (status, error, [number])
        assert answer["error_description"].startswith(f"AADSTS{number}: ")
        assert answer["correlation_id"] in answer["error_description"]
        assert entra.calls[0].status == status
        assert ENTRA_ERRORS[entra.calls[0].error].number == number

    def test_are_given_to_one_tenant_only(self):
        _, answer = ask(emulator(), CLIENT, path="/fabrikam/oauth2/v2.0/token")
        assert answer["error_codes"] == [90002]

    def test_by_device_code_after_some_polls_and_again_by_refresh_token(self):
        entra = emulator(device_polls=2, device_interval=1)

        async def main():
            async with serving(entra) as base:
                begin = {"client_id": "app", "scope": f"{SCOPE} openid offline_access"}
                _, flow = await post(f"{base}/contoso/oauth2/v2.0/devicecode", begin)
                assert flow["user_code"] in flow["message"]
                assert flow["interval"] == 1
                poll = {"grant_type": "device_code", "client_id": "app", "device_code": flow["device_code"]}
                answers = [await post(base + TOKEN, poll) for _ in range(4)]
                assert [answer.get("error") for _, answer in answers] == [
                    "authorization_pending",
                    "authorization_pending",
                    None,
                    "bad_verification_code",
                ]
                granted = answers[2][1]
                again = {"grant_type": "refresh_token", "client_id": "app", "refresh_token": granted["refresh_token"]}
                return granted, (await post(base + TOKEN, again))[1]

        for answer in asyncio.run(main()):
            assert entra.book.check(answer["access_token"], RESOURCE) == "ok"
            assert len(answer["id_token"].split(".")) == 3

    def test_leave_no_credential_in_the_journal(self):
        entra = emulator()
        ask(entra, CLIENT | {"client_secret": "app-secret"})
        (call,) = entra.calls
        assert (call.place, call.grant, call.proof, call.scope) == ("token", "client_credentials", "secret", SCOPE)
        assert "app-secret" not in repr(call)
        assert entra.token_requests == 1


class TestFaults:
    def test_are_answered_as_often_as_ordered_and_where_ordered(self):
        entra = emulator()
        entra.fail("invalid_client", times=2)
        entra.fail(503, headers={"Retry-After": "7"})
        entra.fail(500, at="discovery")
        form = CLIENT | {"client_secret": "app-secret"}

        async def main():
            async with serving(entra) as base:
                statuses = [(await post(base + TOKEN, form))[0] for _ in range(4)]
                discovery = f"{base}/contoso/v2.0/.well-known/openid-configuration"
                return statuses, [(await get(discovery))[0] for _ in range(2)]

        assert asyncio.run(main()) == ([401, 401, 503, 200], [500, 200])
        assert entra.faults == []

    def test_with_a_status_are_a_page_for_humans_with_headers(self):
        entra = emulator()
        entra.fail(503, headers={"Retry-After": "7"})

        async def main():
            async with serving(entra) as base, aiohttp.ClientSession() as session, session.post(base + TOKEN) as answer:
                return answer.content_type, answer.headers["Retry-After"]

        assert asyncio.run(main()) == ("text/html", "7")

    def test_that_do_not_exist_are_refused(self):
        with pytest.raises(ValueError, match="no error called 'invalid_clint'; valid: access_denied"):
            emulator().fail("invalid_clint")

    def test_hold_answers_back_behind_the_gate(self):
        entra = emulator()

        async def main():
            entra.gate = asyncio.Event()
            async with serving(entra) as base:
                asking = asyncio.create_task(post(base + TOKEN, CLIENT))
                while not entra.calls:  # noqa: ASYNC110 - the request travels through sockets
                    await asyncio.sleep(0)
                assert not asking.done()
                entra.gate.set()
                return await asking

        assert asyncio.run(main())[0] == 401


class TestManagedIdentity:
    @pytest.mark.parametrize(
        ("query", "header", "status"),
        [
            ({"resource": RESOURCE}, "identity-secret", 200),
            ({"resource": RESOURCE, "client_id": "mine"}, "identity-secret", 200),
            ({"resource": RESOURCE, "mi_res_id": "mine"}, "identity-secret", 200),
            ({"resource": RESOURCE, "client_id": "yours"}, "identity-secret", 400),
            ({"resource": RESOURCE}, "wrong", 401),
            ({"resource": "https://x"}, "identity-secret", 500),
        ],
    )
    def test_of_app_service(self, query, header, status):
        entra = emulator(identities={"mine"})

        async def main():
            async with serving(entra) as base:
                return await get(f"{base}/msi/token", params=query, headers={"X-IDENTITY-HEADER": header})

        got, answer = asyncio.run(main())
        assert got == status
        if status == 200:
            assert entra.book.check(answer["access_token"], RESOURCE) == "ok"
            assert answer["expires_on"].isdecimal()
        else:
            assert answer["statusCode"] == status
        assert entra.token_requests == 1

    @pytest.mark.parametrize(
        ("query", "headers", "status"),
        [
            ({"resource": RESOURCE}, {"Metadata": "true"}, 200),
            ({"resource": RESOURCE, "msi_res_id": "mine"}, {"Metadata": "true"}, 200),
            ({"resource": RESOURCE, "object_id": "yours"}, {"Metadata": "true"}, 400),
            ({"resource": RESOURCE}, {}, 400),
            ({"resource": "https://x"}, {"Metadata": "true"}, 400),
        ],
    )
    def test_of_a_virtual_machine(self, query, headers, status):
        entra = emulator(identities={"mine"})

        async def main():
            async with serving(entra) as base:
                return await get(f"{base}/metadata/identity/oauth2/token", params=query, headers=headers)

        got, answer = asyncio.run(main())
        assert got == status
        if status == 200:
            assert entra.book.check(answer["access_token"], RESOURCE) == "ok"
            assert answer["expires_in"] == "3599"
        else:
            assert set(answer) == {"error", "error_description"}


def segment(content):
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


@pytest.fixture(scope="module")
def signer():
    return Signer()


class Signer:
    """An application with a certificate."""

    def __init__(self):
        self.key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "app")])
        now = dt.datetime.now(dt.UTC)
        builder = x509.CertificateBuilder(name, name, self.key.public_key(), x509.random_serial_number())
        builder = builder.not_valid_before(now).not_valid_after(now + dt.timedelta(days=1))
        self.certificate = builder.sign(self.key, hashes.SHA256())
        self.pem = self.certificate.public_bytes(serialization.Encoding.PEM)

    def assertion(self, *, head=None, **claims):
        der = self.certificate.public_bytes(serialization.Encoding.DER)
        head = {"alg": "PS256", "x5t#S256": segment(hashlib.sha256(der).digest())} | (head or {})
        claims = {"iss": "app", "sub": "app", "aud": ENDPOINT, "exp": 2000} | claims
        signed = f"{segment(json.dumps(head).encode())}.{segment(json.dumps(claims).encode())}"
        scheme = padding.PKCS1v15()
        if head["alg"] == "PS256":
            scheme = padding.PSS(padding.MGF1(hashes.SHA256()), hashes.SHA256.digest_size)
        return f"{signed}.{segment(self.key.sign(signed.encode(), scheme, hashes.SHA256()))}"


def fault_of(assertion, certificate):
    return assertion_fault(assertion, client_id="app", audience=ENDPOINT, certificate=certificate, now=1000.0)


class TestAssertions:
    @pytest.mark.parametrize("algorithm", ["PS256", "RS256"])
    def test_signed_by_the_certificate_are_in_order(self, signer, algorithm):
        assert fault_of(signer.assertion(head={"alg": algorithm}), signer.pem) is None

    @pytest.mark.parametrize(
        ("change", "fault"),
        [
            ({"iss": "other"}, "malformed_assertion"),
            ({"sub": "other"}, "malformed_assertion"),
            ({"aud": "https://elsewhere"}, "malformed_assertion"),
            ({"head": {"alg": "HS256"}}, "malformed_assertion"),
            ({"head": {"x5t#S256": None}}, "malformed_assertion"),
            ({"head": {"x5t#S256": "other"}}, "invalid_assertion_signature"),
            ({"exp": 1000}, "expired_assertion"),
            ({"exp": "soon"}, "expired_assertion"),
            ({"nbf": 1001}, "expired_assertion"),
        ],
    )
    def test_are_refused_for_what_is_wrong(self, signer, change, fault):
        assert fault_of(signer.assertion(**change), signer.pem) == fault

    def test_signed_by_another_key_are_refused(self, signer):
        other = Signer()
        other.certificate = signer.certificate
        assert fault_of(other.assertion(), signer.pem) == "invalid_assertion_signature"
        assert fault_of(other.assertion(), None) is None

    @given(st.text())
    def test_that_are_any_text_are_malformed(self, text):
        assert fault_of(text, None) == "malformed_assertion"

    @pytest.mark.parametrize("text", ["e30.e30.", "W10.W10.AA", "e30.bm90IGpzb24.AA", "..", "e30.e30.e30.AA"])
    def test_that_only_look_like_one_are_malformed(self, text):
        assert fault_of(text, None) == "malformed_assertion"
