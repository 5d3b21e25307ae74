"""The emulated identity services of AWS, asked by a plain HTTP client; botocore's chain asks them in the tests of Bedrock."""

from __future__ import annotations

import asyncio
import datetime as dt
import json
import subprocess
import sys
import time
from contextlib import asynccontextmanager
from urllib.parse import urlencode
from xml.etree import ElementTree as ET

import aiohttp
import pytest
from aiohttp import web
from apex_llm_mock.emulation.aws_identity.emulator import DEFAULT_ROLE, IdentityEmulator, IssuedKey, KeyBook, Role
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from hypothesis import given
from hypothesis import strategies as st

from apex_llm_core.testing import FakeClock

PARTNER = Role(arn="arn:aws:iam::210987654321:role/team/partner", external_id="shared-word", longest=7200)
NAMES = "/latest/meta-data/iam/security-credentials/"
NAMESPACE = "{https://sts.amazonaws.com/doc/2011-06-15/}"


class TestKeyBook:
    def test_knows_what_it_issued(self):
        book = KeyBook()
        key = book.issue()
        assert book.find(key.access_key_id) == key
        assert book.check(key.access_key_id, key.session_token) == "ok"
        assert key.access_key_id.startswith("ASIA")

    def test_issues_keys_that_last(self):
        clock = FakeClock()
        book = KeyBook(wall=clock)
        key = book.issue(session=False)
        assert (key.session_token, key.expires_on, key.access_key_id[:4]) == ("", None, "AKIA")
        clock.advance(1e9)
        assert book.check(key.access_key_id) == "ok"

    def test_gives_no_key_twice_and_the_same_ones_by_the_same_seed(self):
        book = KeyBook(wall=FakeClock(), seed=7)
        keys = [book.issue() for _ in range(50)]
        assert len({key.access_key_id for key in keys}) == len({key.session_token for key in keys}) == 50
        again = KeyBook(wall=FakeClock(), seed=7)
        assert [again.issue() for _ in range(50)] == keys

    def test_tells_what_became_of_a_key(self):
        clock = FakeClock()
        book = KeyBook(lifetime=60, wall=clock)
        key, short, other = book.issue(), book.issue(lifetime=5), book.issue()
        clock.advance(5)
        state = lambda key: book.check(key.access_key_id, key.session_token)  # noqa: E731
        assert (state(key), state(short)) == ("ok", "expired")
        assert book.check(key.access_key_id) == "wrong_token"
        assert book.check(key.access_key_id, other.session_token) == "wrong_token"
        assert book.check("AKIDNOBODY") == "unknown"
        book.revoke(key.access_key_id)
        assert (state(key), state(other)) == ("revoked", "ok")
        book.revoke_all()
        assert state(other) == "revoked"
        assert state(book.issue()) == "ok"

    def test_knows_keys_chosen_elsewhere(self):
        book = KeyBook()
        book.add("AKIDMINE", "secret")
        assert book.find("AKIDMINE").secret_access_key == "secret"
        assert book.check("AKIDMINE") == "ok"
        book.revoke_all()
        book.add("AKIDMINE", "new-secret")
        assert book.check("AKIDMINE") == "ok"

    @given(st.text(), st.text())
    def test_knows_no_key_that_is_none(self, access_key_id, token):
        assert KeyBook().check(access_key_id, token) == "unknown"

    def test_shows_no_secret(self):
        key = KeyBook().issue()
        assert key.secret_access_key not in repr(key)
        assert key.session_token not in repr(key)


class Client:
    """Asks an emulator; signs as botocore does."""

    def __init__(self, identity, url, session):
        self.identity = identity
        self.url = url
        self._session = session

    async def ask(self, method, path, *, headers=None, data=None):
        async with self._session.request(method, f"{self.url}{path}", headers=headers, data=data) as response:
            return response.status, await response.text()

    async def sts(self, action, *, key=None, service="sts", ahead=0.0, **parameters):
        body = urlencode({"Action": action, "Version": "2011-06-15", **parameters})
        headers = {"Content-Type": "application/x-www-form-urlencoded; charset=utf-8"}
        if key is not None:
            request = AWSRequest(method="POST", url=f"{self.url}/", data=body, headers=headers)
            signer = SigV4Auth(
                Credentials(key.access_key_id, key.secret_access_key, key.session_token or None), service, "us-east-1"
            )
            with pytest.MonkeyPatch.context() as patch:
                now = dt.datetime.now(dt.UTC) + dt.timedelta(seconds=ahead)
                patch.setattr("botocore.auth.get_current_datetime", lambda: now)
                signer.add_auth(request)
            headers = dict(request.headers.items())
        status, text = await self.ask("POST", "/", headers=headers, data=body)
        answer = ET.fromstring(text)  # noqa: S314 - our own emulator wrote it
        return status, {element.tag.removeprefix(NAMESPACE): element.text for element in answer.iter()}

    def state(self, found):
        token = found.get("SessionToken") or found["Token"]
        return self.identity.book.check(found["AccessKeyId"], token)


@asynccontextmanager
async def asking(identity):
    runner = web.AppRunner(identity.app(), shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        async with aiohttp.ClientSession() as session:
            yield Client(identity, f"http://127.0.0.1:{runner.addresses[0][1]}", session)
    finally:
        await runner.cleanup()


def run(main, **settings):
    """Run *main* with a client of an emulator, and a key that may do everything."""
    identity = IdentityEmulator(KeyBook(), **settings)

    async def bounded():
        async with asyncio.timeout(30), asking(identity) as client:
            return await main(client, identity.book.issue(session=False))

    return asyncio.run(bounded())


class TestSts:
    def assume(self, key, **more):
        return {"key": key, "RoleArn": DEFAULT_ROLE.arn, "RoleSessionName": "me", **more}

    def test_role_is_assumed(self):
        async def main(client, key):
            status, found = await client.sts("AssumeRole", **self.assume(key))
            assert status == 200
            assert client.state(found) == "ok"
            assert found["Arn"] == "arn:aws:sts::123456789012:assumed-role/apex-llm/me"
            expires = dt.datetime.fromisoformat(found["Expiration"]).timestamp()
            assert 3590 < expires - time.time() <= 3600
            (call,) = client.identity.calls
            assert (call.operation, call.access_key_id, call.error) == ("AssumeRole", key.access_key_id, "")

        run(main)

    def test_role_is_assumed_with_a_session_token(self):
        async def main(client, _key):
            status, _ = await client.sts("AssumeRole", **self.assume(client.identity.book.issue()))
            assert status == 200

        run(main)

    def test_external_id_is_asked_for(self):
        async def main(client, key):
            wanted = self.assume(key, RoleArn=PARTNER.arn)
            for more in ({}, {"ExternalId": "wrong"}):
                status, found = await client.sts("AssumeRole", **wanted, **more)
                assert (status, found["Code"]) == (403, "AccessDenied")
                assert PARTNER.arn in found["Message"]
            status, found = await client.sts("AssumeRole", **wanted, ExternalId="shared-word", DurationSeconds="7200")
            assert status == 200
            assert found["Arn"].endswith(":assumed-role/team/partner/me")

        run(main, roles=(PARTNER,))

    def test_only_whom_the_role_trusts(self):
        async def main(client, key):
            client.identity.sts.roles[DEFAULT_ROLE.arn] = Role(arn=DEFAULT_ROLE.arn, trusts={"AKIDOTHER"})
            assert (await client.sts("AssumeRole", **self.assume(key)))[1]["Code"] == "AccessDenied"

        run(main)

    @pytest.mark.parametrize(
        ("more", "message"),
        [
            ({"DurationSeconds": "43200"}, "MaxSessionDuration"),
            ({"DurationSeconds": "60"}, "durationSeconds"),
            ({"DurationSeconds": "long"}, "durationSeconds"),
            ({"RoleSessionName": "no blanks"}, "roleSessionName"),
        ],
    )
    def test_parameters_are_checked(self, more, message):
        async def main(client, key):
            status, found = await client.sts("AssumeRole", **self.assume(key, **more))
            assert (status, found["Code"]) == (400, "ValidationError")
            assert message in found["Message"]

        run(main)

    @pytest.mark.parametrize(
        ("change", "code"),
        [
            (lambda key: None, "MissingAuthenticationToken"),
            (lambda key: IssuedKey(access_key_id="AKIDNOBODY", secret_access_key="s"), "InvalidClientTokenId"),
            (
                lambda key: IssuedKey(access_key_id=key.access_key_id, secret_access_key="wrong"),
                "SignatureDoesNotMatch",
            ),
            (
                lambda key: IssuedKey(
                    access_key_id=key.access_key_id, secret_access_key=key.secret_access_key, session_token="more"
                ),
                "InvalidClientTokenId",
            ),
        ],
    )
    def test_signatures_are_checked(self, change, code):
        async def main(client, key):
            assert (await client.sts("AssumeRole", **self.assume(change(key))))[1]["Code"] == code

        run(main)

    @pytest.mark.parametrize("how", [{"service": "bedrock"}, {"ahead": 400.0}, {"ahead": -400.0}])
    def test_signatures_for_another_service_or_time_do_not_match(self, how):
        async def main(client, key):
            assert (await client.sts("AssumeRole", **self.assume(key), **how))[1]["Code"] == "SignatureDoesNotMatch"

        run(main)

    def test_expired_and_revoked_keys_are_told_apart(self):
        async def main(client, _key):
            book = client.identity.book
            expired, revoked = book.issue(lifetime=-1), book.issue()
            book.revoke(revoked.access_key_id)
            assert (await client.sts("AssumeRole", **self.assume(expired)))[1]["Code"] == "ExpiredToken"
            assert (await client.sts("AssumeRole", **self.assume(revoked)))[1]["Code"] == "InvalidClientTokenId"

        run(main)

    def test_web_identity_needs_no_signature(self):
        async def main(client, _key):
            wanted = self.assume(None)
            status, found = await client.sts(
                "AssumeRoleWithWebIdentity", **wanted, WebIdentityToken="web-identity-token"
            )
            assert status == 200
            assert client.state(found) == "ok"
            _, found = await client.sts("AssumeRoleWithWebIdentity", **wanted, WebIdentityToken="another")
            assert found["Code"] == "InvalidIdentityToken"
            assert "another" not in str(client.identity.calls)

        run(main)

    def test_caller_is_told_who_they_are(self):
        async def main(client, key):
            assert (await client.sts("GetCallerIdentity", key=key))[1]["Account"] == "123456789012"
            assert (await client.sts("DoSomethingElse", key=key))[1]["Code"] == "InvalidAction"

        run(main)


class TestSso:
    PATH = "/federation/credentials?account_id=123456789012&role_name=Developer"

    def test_gives_credentials(self):
        async def main(client, _key):
            status, text = await client.ask("GET", self.PATH, headers={"x-amz-sso_bearer_token": "sso-token"})
            found = json.loads(text)["roleCredentials"]
            assert status == 200
            assert client.identity.book.check(found["accessKeyId"], found["sessionToken"]) == "ok"
            assert found["expiration"] > time.time() * 1000
            assert client.identity.count("GetRoleCredentials") == 1

        run(main)

    def test_refuses_unknown_tokens_and_roles(self):
        async def main(client, _key):
            assert (await client.ask("GET", self.PATH))[0] == 401
            other = self.PATH.replace("Developer", "Administrator")
            assert (await client.ask("GET", other, headers={"x-amz-sso_bearer_token": "sso-token"}))[0] == 403

        run(main)

    def test_renews_a_token_once(self):
        async def main(client, _key):
            body = json.dumps({"grantType": "refresh_token", "refreshToken": "sso-refresh-token"})
            headers = {"Content-Type": "application/json"}
            status, text = await client.ask("POST", "/token", headers=headers, data=body)
            token = json.loads(text)["accessToken"]
            assert status == 200
            assert (await client.ask("GET", self.PATH, headers={"x-amz-sso_bearer_token": token}))[0] == 200
            status, text = await client.ask("POST", "/token", headers=headers, data=body)
            assert (status, json.loads(text)["error"]) == (400, "invalid_grant")
            assert "sso-refresh-token" not in str(client.identity.calls)

        run(main)


class TestInstance:
    async def session(self, client):
        headers = {"x-aws-ec2-metadata-token-ttl-seconds": "60"}
        status, token = await client.ask("PUT", "/latest/api/token", headers=headers)
        assert status == 200
        return {"x-aws-ec2-metadata-token": token}

    def test_gives_credentials_within_a_session_only(self):
        async def main(client, _key):
            for headers in ({}, {"x-aws-ec2-metadata-token": "guessed"}):
                assert (await client.ask("GET", NAMES, headers=headers))[0] == 401
            headers = await self.session(client)
            assert await client.ask("GET", NAMES, headers=headers) == (200, "emulated-instance")
            status, text = await client.ask("GET", f"{NAMES}emulated-instance", headers=headers)
            assert status == 200
            assert client.state(json.loads(text)) == "ok"

        run(main)

    @pytest.mark.parametrize("lifetime", ["", "0", "21601", "long"])
    def test_session_needs_a_lifetime(self, lifetime):
        async def main(client, _key):
            headers = {"x-aws-ec2-metadata-token-ttl-seconds": lifetime}
            assert (await client.ask("PUT", "/latest/api/token", headers=headers))[0] == 400

        run(main)

    def test_without_a_role_has_none(self):
        async def main(client, _key):
            headers = await self.session(client)
            assert (await client.ask("GET", NAMES, headers=headers))[0] == 404
            assert (await client.ask("GET", f"{NAMES}other", headers=headers))[0] == 404

        run(main, instance_role="")

    def test_keeps_its_credentials_until_shortly_before_their_end(self):
        clock = FakeClock(start=time.time())
        identity = IdentityEmulator(KeyBook(wall=clock), wall=clock)

        async def main():
            async with asking(identity) as client:
                headers = await self.session(client)
                keys = []
                for seconds in (0, 3299, 2, 10):
                    clock.advance(seconds)
                    text = (await client.ask("GET", f"{NAMES}emulated-instance", headers=headers))[1]
                    keys.append(json.loads(text)["AccessKeyId"])
                assert keys[0] == keys[1] != keys[2] == keys[3]

        asyncio.run(main())


class TestContainer:
    def test_gives_credentials(self):
        async def main(client, _key):
            client.identity.live(90)
            status, text = await client.ask("GET", "/container/credentials")
            found = json.loads(text)
            assert status == 200
            assert client.state(found) == "ok"
            assert dt.datetime.fromisoformat(found["Expiration"]).timestamp() - time.time() <= 90

        run(main)

    def test_asks_for_its_token(self):
        async def main(client, _key):
            assert (await client.ask("GET", "/container/credentials"))[0] == 401
            headers = {"Authorization": "pod-secret"}
            assert (await client.ask("GET", "/container/credentials", headers=headers))[0] == 200
            assert "pod-secret" not in str(client.identity.calls)

        run(main, container_token="pod-secret")


class TestFaults:
    def test_strike_their_place_in_order_and_then_no_more(self):
        async def main(client, key):
            client.identity.fail("Throttling", times=2)
            client.identity.fail(502, at="container")
            statuses = [(await client.sts("GetCallerIdentity", key=key))[0] for _ in range(3)]
            assert statuses == [400, 400, 200]
            assert [(await client.ask("GET", "/container/credentials"))[0] for _ in range(2)] == [502, 200]
            assert [call.error for call in client.identity.calls] == ["Throttling", "Throttling", "", "", ""]

        run(main)

    def test_of_unknown_names_are_refused(self):
        with pytest.raises(ValueError, match="no error called 'Nonsense'"):
            IdentityEmulator(KeyBook()).fail("Nonsense")

    def test_answers_wait_for_the_gate(self):
        async def main(client, key):
            client.identity.gate = asyncio.Event()
            asked = asyncio.create_task(client.sts("GetCallerIdentity", key=key))
            while not client.identity.calls:  # noqa: ASYNC110 - nobody tells
                await asyncio.sleep(0)
            assert not asked.done()
            client.identity.gate.set()
            assert (await asked)[0] == 200

        run(main)


def test_needs_no_botocore():
    script = "import sys; import apex_llm_mock.emulation.aws_identity.emulator; assert 'botocore' not in sys.modules"
    done = subprocess.run([sys.executable, "-W", "error", "-c", script], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
