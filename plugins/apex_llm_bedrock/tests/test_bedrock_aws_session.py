"""The real botocore against emulated identity services on loopback, in an environment made for each test."""

from __future__ import annotations

import asyncio
import datetime as dt
import hashlib
import json
import logging
import os
import sys
import threading
import time
from contextlib import contextmanager

import attrs
import pytest
from aiohttp import web
from apex_llm_bedrock.acquisition import Acquisition
from apex_llm_bedrock.aws_session import acquire, read_surroundings
from apex_llm_bedrock.credentials import AssumedRole, DefaultChain, Profile
from apex_llm_bedrock.surroundings import Keys, Surroundings, Wanted, environment_surroundings
from apex_llm_bedrock.workers import Workers
from apex_llm_mock.emulation.aws_identity.emulator import DEFAULT_ROLE, IdentityEmulator, KeyBook, Role
from botocore.credentials import SSOProvider
from botocore.session import Session
from botocore.tokens import SSOTokenProvider

from apex_llm_core.errors import AuthenticationError, LLMTimeoutError, ServiceUnavailableError
from apex_llm_core.redaction import Secret
from apex_llm_core.testing.runtime import FakeRuntime

OTHER_ROLE = Role(arn="arn:aws:iam::210987654321:role/team/partner", external_id="shared-word", longest=7200)


@contextmanager
def served(identity):
    """Serve *identity* from a thread of its own, since botocore blocks this one."""
    ready, port = threading.Event(), []
    loop = asyncio.new_event_loop()
    leave = asyncio.Event()

    async def serve():
        runner = web.AppRunner(identity.app(), access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        port.append(runner.addresses[0][1])
        ready.set()
        await leave.wait()
        await runner.cleanup()

    thread = threading.Thread(target=lambda: loop.run_until_complete(serve()))
    thread.start()
    assert ready.wait(10)
    try:
        yield f"http://127.0.0.1:{port[0]}"
    finally:
        loop.call_soon_threadsafe(leave.set)
        thread.join()
        loop.close()


class Aws:
    """A machine: its files, its environment, and the services it can reach."""

    def __init__(self, identity, url, home, environ):
        self.identity = identity
        self.url = url
        self.home = home
        self.environ = environ
        self.caller = identity.book.issue(session=False)

    def config(self, text):
        (self.home / "config").write_text(text)

    def credentials(self, text):
        (self.home / "credentials").write_text(text)

    def set(self, **variables):
        for name, value in variables.items():
            self.environ.setenv(name, value)

    def static(self, profile="default"):
        """Let *profile* have the caller's access key."""
        self.credentials(
            f"[{profile}]\naws_access_key_id = {self.caller.access_key_id}\n"
            f"aws_secret_access_key = {self.caller.secret_access_key}\n"
        )

    def process(self, body):
        """Return the command line of a credential process that runs *body*, and a way to count its runs."""
        runs = self.home / "runs"
        script = self.home / "process.py"
        script.write_text(f"import json, sys, time\nopen({str(runs)!r}, 'a').write('x')\n{body}\n")
        return f'"{sys.executable}" "{script}"', lambda: len(runs.read_text()) if runs.exists() else 0

    def sso_token(self, start_url, **more):
        """Leave a token as `aws sso login` does."""
        cache = self.home / "sso"
        cache.mkdir(exist_ok=True)
        token = {
            "startUrl": start_url,
            "region": "us-east-1",
            "accessToken": "sso-token",
            "expiresAt": stamp(3600),
            **more,
        }
        name = more.pop("name", start_url)
        token.pop("name", None)
        (cache / f"{hashlib.sha1(name.encode(), usedforsecurity=False).hexdigest()}.json").write_text(json.dumps(token))

    def get(self, **wanted):
        return acquire(Wanted(**wanted), os.environ)

    def fails(self, error=AuthenticationError, **wanted):
        with pytest.raises(error) as caught:
            self.get(**wanted)
        return str(caught.value)

    def surroundings(self, **wanted):
        return read_surroundings(Wanted(**wanted), os.environ)

    def acquisition(self, credential, *, limit=60.0, **options):
        return Acquisition(
            credential=credential,
            options=Wanted(**options),
            runtime=FakeRuntime(environ=os.environ),
            workers=Workers(),
            environ=os.environ,
            limit=limit,
        )


def stamp(seconds):
    return (dt.datetime.now(dt.UTC) + dt.timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%SZ")


@pytest.fixture(scope="module")
def service():
    identity = IdentityEmulator(KeyBook(), roles=(DEFAULT_ROLE, OTHER_ROLE))
    with served(identity) as url:
        yield identity, url


@pytest.fixture
def aws(service, monkeypatch, tmp_path):
    identity, url = service
    identity.calls.clear()
    identity.faults.clear()
    identity.live(None)
    for name in list(os.environ):
        if name.startswith(("AWS_", "BOTO")) or name.lower().endswith("_proxy") or name == "REQUESTS_CA_BUNDLE":
            monkeypatch.delenv(name)
    for provider in (SSOProvider, SSOTokenProvider):
        monkeypatch.setattr(provider, "_SSO_TOKEN_CACHE_DIR", str(tmp_path / "sso"))
    machine = Aws(identity, url, tmp_path, monkeypatch)
    machine.set(
        HOME=str(tmp_path),
        BOTO_CONFIG=str(tmp_path / "boto.cfg"),
        AWS_CONFIG_FILE=str(tmp_path / "config"),
        AWS_SHARED_CREDENTIALS_FILE=str(tmp_path / "credentials"),
        AWS_EC2_METADATA_DISABLED="true",
        AWS_ENDPOINT_URL_STS=url,
        AWS_ENDPOINT_URL_SSO=url,
        AWS_ENDPOINT_URL_SSO_OIDC=url,
    )
    return machine


def good(aws, keys):
    """Tell whether the emulated account knows *keys*."""
    token = keys.session_token.reveal() if keys.session_token else ""
    found = aws.identity.book.find(keys.access_key_id)
    return (
        aws.identity.book.check(keys.access_key_id, token) == "ok"
        and found.secret_access_key == keys.secret_access_key.reveal()
    )


def living(keys):
    """Return the seconds that *keys* have to live."""
    return keys.expires_on - time.time()


class TestEnvironment:
    def test_keys(self, aws):
        aws.set(AWS_ACCESS_KEY_ID="AKIDENV", AWS_SECRET_ACCESS_KEY="from-env", AWS_SESSION_TOKEN="token")
        assert aws.get() == Keys(
            access_key_id="AKIDENV", secret_access_key=Secret("from-env"), session_token=Secret("token")
        )

    def test_keys_with_an_end(self, aws):
        aws.set(AWS_ACCESS_KEY_ID="AKIDENV", AWS_SECRET_ACCESS_KEY="s", AWS_CREDENTIAL_EXPIRATION=stamp(700))
        assert 690 < living(aws.get()) <= 700

    def test_keys_that_have_expired(self, aws):
        aws.set(AWS_ACCESS_KEY_ID="AKIDENV", AWS_SECRET_ACCESS_KEY="s", AWS_CREDENTIAL_EXPIRATION=stamp(-5))
        assert "have expired; renew them" in aws.fails()

    def test_half_a_key(self, aws):
        aws.set(AWS_ACCESS_KEY_ID="AKIDENV")
        assert "of the environment are incomplete: AWS_SECRET_ACCESS_KEY lacks" in aws.fails()


class TestProfile:
    def test_with_keys(self, aws):
        aws.static("team")
        keys = aws.get(profile="team")
        assert good(aws, keys)
        assert keys.expires_on is None

    def test_named_by_the_environment(self, aws):
        aws.static("team")
        aws.set(AWS_PROFILE="team")
        assert good(aws, aws.get())

    def test_given_wins_over_keys_in_the_environment(self, aws):
        aws.static("team")
        aws.set(AWS_ACCESS_KEY_ID="AKIDENV", AWS_SECRET_ACCESS_KEY="s")
        assert aws.get(profile="team").access_key_id == aws.caller.access_key_id

    def test_is_read_anew_each_time(self, aws):
        aws.static()
        assert good(aws, aws.get())
        aws.caller = aws.identity.book.issue(session=False)
        aws.static()
        assert aws.get().access_key_id == aws.caller.access_key_id

    @pytest.mark.parametrize("given", [True, False])
    def test_that_does_not_exist_is_told_with_the_nearest(self, aws, given):
        aws.static("production")
        wanted = {"profile": "prodution"} if given else {}
        if not given:
            aws.set(AWS_PROFILE="prodution")
        message = aws.fails(**wanted)
        assert message.startswith("auth.credentials.profile: " if given else "AWS_PROFILE or AWS_DEFAULT_PROFILE: ")
        assert "there is no profile 'prodution'" in message
        assert "config (no such file)" in message
        assert "credentials (read); did you mean 'production'?" in message

    def test_file_that_cannot_be_parsed_is_named(self, aws):
        aws.config("this is no configuration\n[[[")
        assert str(aws.home / "config") in aws.fails()

    def test_with_a_second_factor_is_refused_at_once(self, aws):
        aws.static("base")
        aws.config(
            f"[profile base]\n[profile inner]\nrole_arn = {DEFAULT_ROLE.arn}\nsource_profile = base\n"
            "mfa_serial = arn:aws:iam::1:mfa/me\n"
            f"[profile outer]\nrole_arn = {OTHER_ROLE.arn}\nsource_profile = inner\n"
        )
        assert "profile 'inner' needs an MFA code" in aws.fails(profile="outer")
        assert aws.identity.calls == []

    def test_that_goes_in_circles_is_told(self, aws):
        aws.config(
            f"[profile a]\nrole_arn = {DEFAULT_ROLE.arn}\nsource_profile = b\n"
            f"[profile b]\nrole_arn = {DEFAULT_ROLE.arn}\nsource_profile = a\n"
        )
        assert "profile 'a' cannot be used" in aws.fails(profile="a")


class TestProcess:
    def answer(self, aws, seconds=700, **more):
        key = aws.identity.book.issue()
        document = {
            "Version": 1,
            "AccessKeyId": key.access_key_id,
            "SecretAccessKey": key.secret_access_key,
            "SessionToken": key.session_token,
            "Expiration": stamp(seconds),
            **more,
        }
        return f"print(json.dumps({document!r}))"

    def test_runs_once_for_credentials_of_a_short_life(self, aws):
        command, runs = aws.process(self.answer(aws))
        aws.config(f"[default]\ncredential_process = {command}\n")
        keys = aws.get()
        assert good(aws, keys)
        assert 600 < living(keys) <= 700
        assert runs() == 1

    def test_that_fails_is_told_without_a_secret(self, aws):
        command, runs = aws.process("sys.exit('vault is sealed: api_key=abcdefghijkl')")
        aws.config(f"[default]\ncredential_process = {command}\n")
        message = aws.fails()
        assert "the credential_process of the default profile failed: vault is sealed" in message
        assert "abcdefghijkl" not in message
        assert runs() == 1

    def test_that_prints_no_json_is_told_without_its_output(self, aws):
        command, _ = aws.process("print('secret-output')")
        aws.config(f"[profile p]\ncredential_process = {command}\n")
        with pytest.raises(
            AuthenticationError, match=r"credential_process of profile 'p' printed .* no JSON"
        ) as caught:
            aws.get(profile="p")
        # Not even in what hangs on the error: the decoder's exception holds the whole output.
        assert caught.value.original_error is caught.value.__cause__ is None

    def test_that_does_not_exist_is_named(self, aws):
        aws.config("[default]\ncredential_process = /no/such/program\n")
        assert "/no/such/program: No such file" in aws.fails()

    def test_that_gives_expired_credentials_is_told(self, aws):
        command, _ = aws.process(self.answer(aws, seconds=-60))
        aws.config(f"[default]\ncredential_process = {command}\n")
        assert "have expired" in aws.fails()

    def test_slow_delays_nothing_else(self, aws):
        release = aws.home / "release"
        wait = f"import os\nend = time.time() + 20\nwhile not os.path.exists({str(release)!r}):\n"
        give_up = "    time.sleep(0.002)\n    if time.time() > end: sys.exit('the loop stood still')\n"
        command, runs = aws.process(wait + give_up + self.answer(aws))
        aws.config(f"[default]\ncredential_process = {command}\n")
        acquisition = aws.acquisition(DefaultChain())

        async def main():
            waiting = asyncio.create_task(acquisition.acquire())
            last, longest, ticks = time.perf_counter(), 0.0, 0
            # The process goes on only when this task has ticked on while it runs.
            while not waiting.done():
                await asyncio.sleep(0.001)
                now = time.perf_counter()
                last, longest = now, max(longest, now - last)
                ticks += runs()
                if ticks == 50:
                    release.touch()
            acquisition.workers.close()
            return await waiting, longest

        acquired, longest = asyncio.run(main())
        assert acquired.expires_on is not None
        # The import of botocore and the start of a process take turns with the loop.
        assert longest < 0.5

    def test_that_never_ends_is_given_up(self, aws):
        release = aws.home / "release"
        command, _ = aws.process(f"import os\nwhile not os.path.exists({str(release)!r}): time.sleep(0.01)")
        aws.config(f"[default]\ncredential_process = {command}\n")
        acquisition = aws.acquisition(DefaultChain(), limit=0.05)

        async def main():
            with pytest.raises(LLMTimeoutError, match=r"no AWS credentials within 0\.05 s"):
                await acquisition.acquire()

        try:
            asyncio.run(main())
        finally:
            release.touch()
            acquisition.workers.close()

    def test_that_hangs_is_started_once_and_holds_up_no_other(self, aws):
        release = aws.home / "release"
        body = f"import os\nwhile not os.path.exists({str(release)!r}): time.sleep(0.01)\n{self.answer(aws)}"
        command, runs = aws.process(body)
        aws.static("static")
        aws.config(f"[profile hangs]\ncredential_process = {command}\n[profile static]\n")
        hanging = aws.acquisition(Profile(profile="hangs"), limit=0.05)
        other = attrs.evolve(hanging, credential=Profile(profile="static"), limit=60.0)

        async def main():
            for _ in range(12):
                with pytest.raises(LLMTimeoutError):
                    await hanging.acquire()
            assert (await other.acquire()).expires_on is None
            # Whoever has more time gets what the first one asked for.
            joined = asyncio.ensure_future(hanging.workers.run((hanging, "credentials"), pytest.fail))
            release.touch()
            assert (await joined).expires_on is not None
            assert runs() == 1
            # It is over, so that the next one asks again.
            assert (await attrs.evolve(hanging, limit=60.0).acquire()).expires_on is not None
            assert runs() == 2

        try:
            asyncio.run(main())
        finally:
            release.touch()
            hanging.workers.close()


class TestRole:
    def test_of_a_profile(self, aws):
        aws.static("base")
        aws.config(
            f"[profile team]\nrole_arn = {OTHER_ROLE.arn}\nsource_profile = base\nexternal_id = shared-word\n"
            "region = eu-west-1\n"
        )
        keys = aws.get(profile="team")
        assert good(aws, keys)
        assert 3500 < living(keys) <= 3600
        (call,) = aws.identity.calls
        assert call.parameters["ExternalId"] == "shared-word"

    def test_given_with_external_id_and_access_key(self, aws):
        # The machine's own configuration is broken, and does not matter.
        aws.config("this is no configuration\n[[[")
        aws.set(AWS_PROFILE="does-not-exist")
        keys = aws.get(
            keys=Keys(access_key_id=aws.caller.access_key_id, secret_access_key=Secret(aws.caller.secret_access_key)),
            role_arn=OTHER_ROLE.arn,
            external_id="shared-word",
            role_session_name="a-service",
            role_duration=7200,
            sts_endpoint=aws.url,
        )
        assert good(aws, keys)
        assert 7100 < living(keys) <= 7200
        (call,) = aws.identity.calls
        assert call.access_key_id == aws.caller.access_key_id
        assert call.parameters == {
            "RoleArn": OTHER_ROLE.arn,
            "ExternalId": "shared-word",
            "RoleSessionName": "a-service",
            "DurationSeconds": "7200",
        }

    def test_given_with_a_session_token(self, aws):
        key = aws.identity.book.issue()
        aws.get(
            keys=Keys(
                access_key_id=key.access_key_id,
                secret_access_key=Secret(key.secret_access_key),
                session_token=Secret(key.session_token),
            ),
            role_arn=DEFAULT_ROLE.arn,
        )
        assert aws.identity.calls[0].access_key_id == key.access_key_id

    def test_given_beside_a_profile_that_is_a_role_itself(self, aws):
        aws.static("base")
        aws.config(f"[profile team]\nrole_arn = {DEFAULT_ROLE.arn}\nsource_profile = base\n")
        keys = aws.get(profile="team", role_arn=OTHER_ROLE.arn, external_id="shared-word")
        assert good(aws, keys)
        assert [call.parameters["RoleArn"] for call in aws.identity.calls] == [DEFAULT_ROLE.arn, OTHER_ROLE.arn]

    def test_given_beside_the_chain(self, aws):
        aws.static()
        assert good(aws, aws.get(role_arn=DEFAULT_ROLE.arn))

    def test_asks_sts_at_the_endpoint_given(self, aws):
        aws.static()
        aws.set(AWS_ENDPOINT_URL_STS="http://127.0.0.1:9")
        aws.config("[default]\nsts_regional_endpoints = regional\n")
        assert good(aws, aws.get(role_arn=DEFAULT_ROLE.arn, sts_endpoint=aws.url, use_fips=True))
        aws.config(f"[profile team]\nrole_arn = {DEFAULT_ROLE.arn}\nsource_profile = default\n")
        assert good(aws, aws.get(profile="team", sts_endpoint=aws.url))

    @pytest.mark.parametrize(
        ("wanted", "environ", "region"),
        [
            ({"region": "eu-west-3"}, {"AWS_REGION": "eu-west-1"}, "eu-west-3"),
            ({}, {"AWS_REGION": "eu-west-1", "AWS_DEFAULT_REGION": "eu-west-2"}, "eu-west-1"),
            ({}, {"AWS_DEFAULT_REGION": "eu-west-2"}, "eu-west-2"),
            ({}, {}, "us-east-1"),
        ],
    )
    def test_signs_for_the_region_of_sts(self, aws, monkeypatch, wanted, environ, region):
        aws.static()
        aws.set(**environ)
        regions = []
        parse = aws.identity.sts._caller

        async def spy(request):
            regions.append(request.headers["Authorization"].split("/")[2])
            return await parse(request)

        monkeypatch.setattr(aws.identity.sts, "_caller", spy)
        aws.get(role_arn=DEFAULT_ROLE.arn, **wanted)
        assert regions == [region]

    def test_that_may_not_be_assumed_is_named(self, aws):
        aws.static()
        message = aws.fails(role_arn=OTHER_ROLE.arn, external_id="wrong")
        assert message.startswith(f"role {OTHER_ROLE.arn} cannot be assumed: AccessDenied: User: arn:aws:iam::")
        assert "trust policy (with this external id" in message
        assert "sts:AssumeRole" in message

    def test_of_a_profile_that_may_not_be_assumed_is_named(self, aws):
        aws.static("base")
        aws.config(f"[profile team]\nrole_arn = {OTHER_ROLE.arn}\nsource_profile = base\n")
        assert f"role {OTHER_ROLE.arn} cannot be assumed" in aws.fails(profile="team")

    def test_too_long_a_session_is_told(self, aws):
        aws.static()
        assert "lower options.role_duration" in aws.fails(role_arn=DEFAULT_ROLE.arn, role_duration=43200)

    @pytest.mark.parametrize(
        ("fault", "said"),
        [
            ("InvalidClientTokenId", "STS does not know the credentials of the default profile"),
            ("SignatureDoesNotMatch", "STS does not know the credentials of the default profile"),
            ("ExpiredToken", "the credentials of the default profile, with which the role is assumed, have expired"),
            ("RegionDisabledException", "RegionDisabledException: STS is not activated"),
        ],
    )
    def test_refusals_of_sts_are_authentication_errors(self, aws, fault, said):
        aws.static()
        aws.identity.fail(fault)
        assert said in aws.fails(role_arn=DEFAULT_ROLE.arn)

    @pytest.mark.parametrize("fault", ["ServiceUnavailable", "InternalFailure", "Throttling", 502])
    def test_outages_of_sts_can_be_retried(self, aws, fault, monkeypatch):
        monkeypatch.setattr("time.sleep", lambda _seconds: None)
        aws.static()
        aws.identity.fail(fault, times=3)
        with pytest.raises(ServiceUnavailableError, match="AssumeRole failed") as caught:
            aws.get(role_arn=DEFAULT_ROLE.arn)
        assert caught.value.retryable
        assert len(aws.identity.calls) == 3

    def test_sts_that_cannot_be_reached_is_named(self, aws, monkeypatch):
        monkeypatch.setattr("time.sleep", lambda _seconds: None)
        aws.static()
        with pytest.raises(ServiceUnavailableError, match=r"http://127\.0\.0\.1:9/? cannot be asked") as caught:
            aws.get(role_arn=DEFAULT_ROLE.arn, sts_endpoint="http://127.0.0.1:9")
        assert caught.value.retryable

    def test_errors_show_no_secret(self, aws):
        key = Keys(
            access_key_id="AKIDUNKNOWN", secret_access_key=Secret("hidden-secret"), session_token=Secret("hidden-token")
        )
        with pytest.raises(AuthenticationError) as caught:
            aws.get(keys=key, role_arn=DEFAULT_ROLE.arn)
        error = caught.value
        assert "hidden" not in f"{error} {error!r} {vars(error)} {error.__cause__!r}"


class TestWebIdentity:
    def test_given(self, aws):
        token = aws.home / "token"
        token.write_text("web-identity-token\n")
        aws.config("this is no configuration\n[[[")
        aws.set(AWS_PROFILE="does-not-exist")
        keys = aws.get(role_arn=DEFAULT_ROLE.arn, web_identity_token_file=str(token))
        assert good(aws, keys)
        (call,) = aws.identity.calls
        assert call.operation == "AssumeRoleWithWebIdentity"
        assert call.access_key_id == ""
        assert call.parameters["RoleSessionName"] == "apex-llm"

    def test_of_the_environment(self, aws):
        token = aws.home / "token"
        token.write_text("web-identity-token")
        aws.set(AWS_ROLE_ARN=DEFAULT_ROLE.arn, AWS_WEB_IDENTITY_TOKEN_FILE=str(token), AWS_REGION="us-east-1")
        assert good(aws, aws.get())

    @pytest.mark.parametrize("given", [True, False])
    def test_without_its_file_is_told(self, aws, given):
        missing = str(aws.home / "missing")
        if given:
            message = aws.fails(role_arn=DEFAULT_ROLE.arn, web_identity_token_file=missing)
        else:
            aws.set(AWS_ROLE_ARN=DEFAULT_ROLE.arn, AWS_WEB_IDENTITY_TOKEN_FILE=missing, AWS_REGION="us-east-1")
            message = aws.fails()
        assert f"the web identity token file {missing} cannot be read: No such file or directory" in message

    def test_with_a_token_that_nobody_knows_or_that_is_too_old(self, aws):
        token = aws.home / "token"
        token.write_text("another-token")
        wanted = {"role_arn": DEFAULT_ROLE.arn, "web_identity_token_file": str(token)}
        assert "InvalidIdentityToken" in aws.fails(**wanted)
        aws.identity.fail("ExpiredTokenException")
        assert "the token in the web identity token file has expired" in aws.fails(**wanted)
        assert "another-token" not in aws.fails(**wanted)


class TestSso:
    START = "https://example.awsapps.com/start"

    def profile(self, aws, *, session=False):
        where = "sso_session = corp" if session else f"sso_start_url = {self.START}\nsso_region = us-east-1"
        aws.config(
            f"[profile dev]\n{where}\nsso_account_id = 123456789012\nsso_role_name = Developer\nregion = us-west-2\n"
            f"[sso-session corp]\nsso_start_url = {self.START}\nsso_region = us-east-1\n"
        )

    def test_with_a_cached_token(self, aws):
        self.profile(aws)
        aws.sso_token(self.START)
        keys = aws.get(profile="dev")
        assert good(aws, keys)
        assert living(keys) > 3500
        assert aws.identity.calls[0].parameters == {"role_name": "Developer", "account_id": "123456789012"}

    def test_with_a_session(self, aws):
        self.profile(aws, session=True)
        aws.sso_token(self.START, name="corp")
        assert good(aws, aws.get(profile="dev"))

    def test_with_a_session_that_is_renewed(self, aws):
        self.profile(aws, session=True)
        aws.identity.sso.refresh_tokens.add("sso-refresh-token")
        renewal = {
            "refreshToken": "sso-refresh-token",
            "clientId": "id",
            "clientSecret": "secret",
            "registrationExpiresAt": stamp(86400),
        }
        aws.sso_token(self.START, name="corp", expiresAt=stamp(-60), accessToken="too-old", **renewal)
        assert good(aws, aws.get(profile="dev"))
        assert [call.operation for call in aws.identity.calls] == ["CreateToken", "GetRoleCredentials"]

    @pytest.mark.parametrize("session", [True, False])
    @pytest.mark.parametrize("state", ["absent", "expired", "revoked"])
    def test_without_a_session_says_what_to_do(self, aws, session, state):
        self.profile(aws, session=session)
        name = {"name": "corp"} if session else {}
        if state == "expired":
            aws.sso_token(self.START, expiresAt=stamp(-60), **name)
        elif state == "revoked":
            aws.sso_token(self.START, accessToken="revoked-token", **name)
        message = aws.fails(profile="dev")
        assert (
            "the SSO session of profile 'dev' has expired or was not begun; run 'aws sso login --profile dev'"
            in message
        )
        assert "revoked-token" not in message

    def test_role_that_is_not_assigned_is_told(self, aws):
        self.profile(aws)
        aws.sso_token(self.START)
        aws.identity.fail("ForbiddenException", at="sso")
        assert "check sso_account_id and sso_role_name of profile 'dev'" in aws.fails(profile="dev")


class TestMachine:
    def instance(self, aws):
        aws.set(AWS_EC2_METADATA_DISABLED="false", AWS_EC2_METADATA_SERVICE_ENDPOINT=aws.url)

    def test_instance(self, aws):
        self.instance(aws)
        aws.identity.live(7200)
        keys = aws.get()
        assert good(aws, keys)
        assert 7000 < living(keys) <= 7200
        assert [call.place for call in aws.identity.calls] == ["imds"] * 3

    def test_instance_is_asked_once_although_its_credentials_end_soon(self, aws):
        self.instance(aws)
        aws.identity.live(800)
        aws.identity.machine._key = None
        aws.get()
        assert len(aws.identity.calls) == 3

    def test_instance_without_an_answer_is_told(self, aws):
        self.instance(aws)
        aws.set(AWS_EC2_METADATA_SERVICE_ENDPOINT="http://127.0.0.1:9")
        assert "instance metadata (the metadata service is unreachable" in aws.fails()

    def test_instance_that_a_profile_counts_on(self, aws):
        self.instance(aws)
        aws.config(f"[profile x]\nrole_arn = {DEFAULT_ROLE.arn}\ncredential_source = Ec2InstanceMetadata\n")
        assert good(aws, aws.get(profile="x"))
        aws.set(AWS_EC2_METADATA_SERVICE_ENDPOINT="http://127.0.0.1:9")
        message = aws.fails(ServiceUnavailableError, profile="x")
        assert "metadata service is unreachable or gave no credentials" in message

    def test_container(self, aws):
        aws.set(AWS_CONTAINER_CREDENTIALS_FULL_URI=f"{aws.url}/container/credentials")
        aws.identity.live(600)
        keys = aws.get()
        assert good(aws, keys)
        assert 500 < living(keys) <= 600
        assert len(aws.identity.calls) == 1

    def test_container_with_a_token_file(self, aws, monkeypatch):
        token = aws.home / "pod-token"
        token.write_text("pod-secret")
        monkeypatch.setattr(aws.identity.machine, "container_token", "pod-secret")
        aws.set(
            AWS_CONTAINER_CREDENTIALS_FULL_URI=f"{aws.url}/container/credentials",
            AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE=str(token),
        )
        assert good(aws, aws.get())

    def test_container_that_refuses_is_told(self, aws, monkeypatch):
        monkeypatch.setattr("botocore.utils.ContainerMetadataFetcher.SLEEP_TIME", 0)
        monkeypatch.setattr(aws.identity.machine, "container_token", "pod-secret")
        aws.set(
            AWS_CONTAINER_CREDENTIALS_FULL_URI=f"{aws.url}/container/credentials",
            AWS_CONTAINER_AUTHORIZATION_TOKEN="wrong-secret",
        )
        message = aws.fails(ServiceUnavailableError)
        assert "the container's credentials endpoint gave none" in message
        assert "wrong-secret" not in message


class TestNothing:
    def test_is_told_with_all_that_was_looked_at(self, aws):
        message = aws.fails()
        assert message.startswith(
            "no AWS credentials found. Looked at: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (not set)"
        )
        for part in (
            f"the default profile in {aws.home / 'config'} (no such file) and {aws.home / 'credentials'} (no such file)",
            "AWS_WEB_IDENTITY_TOKEN_FILE (not set)",
            "AWS_CONTAINER_CREDENTIALS_FULL_URI not set",
            "instance metadata (switched off by AWS_EC2_METADATA_DISABLED)",
            "'aws configure'",
            "access_key_id and secret_access_key",
        ):
            assert part in message

    def test_names_the_profiles_there_are(self, aws):
        aws.static("team")
        aws.config("[profile other]\nregion = eu-west-1\n")
        message = aws.fails()
        assert "AWS_PROFILE; there are other, team" in message

    def test_of_a_profile_does_not_speak_of_the_environment(self, aws):
        aws.config("[profile empty]\nregion = eu-west-1\n")
        message = aws.fails(profile="empty")
        assert "profile 'empty' in" in message
        assert "AWS_SECRET_ACCESS_KEY" not in message
        assert "'aws configure --profile empty'" in message


class TestSurroundings:
    def test_of_a_profile(self, aws):
        aws.config(
            "[profile eu]\nregion = eu-central-1\nuse_fips_endpoint = true\nca_bundle = /etc/corp.pem\nservices = here\n"
            "[services here]\nbedrock_runtime =\n  endpoint_url = http://runtime:1\nbedrock =\n  endpoint_url = http://control:2\n"
        )
        assert aws.surroundings(profile="eu") == Surroundings(
            region="eu-central-1",
            use_fips=True,
            ca_bundle="/etc/corp.pem",
            runtime_endpoint="http://runtime:1",
            control_endpoint="http://control:2",
        )

    def test_region_of_the_environment_wins_and_aws_region_first(self, aws):
        aws.config("[default]\nregion = eu-central-1\n")
        assert aws.surroundings().region == "eu-central-1"
        aws.set(AWS_DEFAULT_REGION="eu-west-2")
        assert aws.surroundings().region == "eu-west-2"
        aws.set(AWS_REGION="eu-west-1")
        assert aws.surroundings().region == "eu-west-1"

    @pytest.mark.parametrize(
        "variables",
        [
            {},
            {
                "AWS_REGION": "a",
                "AWS_CA_BUNDLE": "b",
                "AWS_USE_FIPS_ENDPOINT": "true",
                "AWS_USE_DUALSTACK_ENDPOINT": "True",
            },
            {"AWS_ENDPOINT_URL": "http://all", "REQUESTS_CA_BUNDLE": "c"},
            {"AWS_ENDPOINT_URL": "http://all", "AWS_ENDPOINT_URL_BEDROCK_RUNTIME": "http://one"},
            {"AWS_ENDPOINT_URL": "http://all", "AWS_ENDPOINT_URL_BEDROCK": "http://two"},
            {"AWS_ENDPOINT_URL_BEDROCK": "http://two", "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS": "true"},
            {"AWS_USE_FIPS_ENDPOINT": "no"},
        ],
    )
    def test_of_the_environment_are_those_that_botocore_sees(self, aws, variables):
        aws.set(**variables)
        assert environment_surroundings(os.environ) == aws.surroundings()

    def test_of_a_profile_that_does_not_exist(self, aws):
        with pytest.raises(AuthenticationError, match="there is no profile 'x'"):
            aws.surroundings(profile="x")


class TestLogs:
    def test_say_nothing_secret_at_any_level(self, aws, caplog):
        token = aws.home / "token"
        token.write_text("web-identity-token")
        key = aws.identity.book.issue()
        command, _ = aws.process(
            "print(json.dumps({'Version': 1, 'AccessKeyId': 'ASIAPROCESS', 'SecretAccessKey': 'process-secret',"
            f" 'SessionToken': 'process-token', 'Expiration': {stamp(800)!r}}}))"
        )
        aws.config(f"[profile p]\ncredential_process = {command}\n")
        ambient = {"AWS_EC2_METADATA_DISABLED": "false", "AWS_EC2_METADATA_SERVICE_ENDPOINT": aws.url}
        with caplog.at_level(logging.DEBUG):
            logging.getLogger("botocore").setLevel(logging.DEBUG)
            given = Keys(
                access_key_id=key.access_key_id,
                secret_access_key=Secret(key.secret_access_key),
                session_token=Secret(key.session_token),
            )
            aws.get(keys=given, role_arn=DEFAULT_ROLE.arn)
            aws.get(role_arn=DEFAULT_ROLE.arn, web_identity_token_file=str(token))
            aws.get(profile="p")
            aws.set(**ambient)
            aws.get(role_arn=DEFAULT_ROLE.arn)
            aws.identity.fail("AccessDenied")
            aws.fails(keys=given, role_arn=DEFAULT_ROLE.arn)
        logging.getLogger("botocore").setLevel(logging.NOTSET)
        secrets = {"web-identity-token", "process-secret", "process-token", "metadata-token"}
        for issued in aws.identity.book._keys.values():
            secrets |= {issued.secret_access_key, issued.session_token} - {""}
        said = "\n".join(f"{record.name} {record.getMessage()} {record.exc_text}" for record in caplog.records)
        assert not [secret for secret in secrets if secret in said]
        assert "Traceback" not in caplog.text

    def test_of_others_are_left_alone(self, aws, caplog):
        aws.static()
        aws.get()
        with caplog.at_level(logging.DEBUG, logger="botocore.credentials"):
            Session().get_credentials()
        assert "Looking for credentials via" in caplog.text


class TestBearer:
    def test_of_the_environment_is_botocores_own(self, aws):
        aws.set(AWS_BEARER_TOKEN_BEDROCK="api-key-of-bedrock")
        aws.static()
        acquired = asyncio.run(aws.acquisition(DefaultChain()).acquire())
        sent = acquired.signature.headers("GET", "h", "/", "", {}, None, b"", region="us-east-1", now=0)
        theirs = Session().get_auth_token(signing_name="bedrock").token
        assert sent == {"Authorization": f"Bearer {theirs}"} == {"Authorization": "Bearer api-key-of-bedrock"}

    def test_does_not_win_over_a_profile_or_role_that_is_configured(self, aws):
        aws.set(AWS_BEARER_TOKEN_BEDROCK="api-key-of-bedrock")
        aws.static()
        for credential in (Profile(profile="default"), AssumedRole(role_arn=DEFAULT_ROLE.arn, source=DefaultChain())):
            acquisition = aws.acquisition(credential)
            acquired = asyncio.run(acquisition.acquire())
            acquisition.workers.close()
            sent = acquired.signature.headers("GET", "h", "/", "", {}, None, b"", region="us-east-1", now=0)
            assert sent["Authorization"].startswith("AWS4-HMAC-SHA256")

    def test_needs_no_profile(self, aws):
        aws.set(AWS_BEARER_TOKEN_BEDROCK="api-key-of-bedrock", AWS_PROFILE="does-not-exist", AWS_REGION="eu-west-1")
        acquisition = aws.acquisition(DefaultChain())
        assert asyncio.run(acquisition.surroundings()) == Surroundings(region="eu-west-1")
        acquisition.workers.close()


def test_values_that_cross_threads_show_no_secret():
    keys = Keys(access_key_id="AKID", secret_access_key=Secret("hidden"), session_token=Secret("hidden"))
    assert "hidden" not in f"{keys} {Wanted(keys=keys)!r} {attrs.asdict(keys)}"


def test_explicit_credentials_let_no_file_of_this_machine_be_opened(aws, monkeypatch):
    opened = []
    real = open
    monkeypatch.setattr("builtins.open", lambda name, *a, **k: opened.append(str(name)) or real(name, *a, **k))
    aws.static()
    aws.config("[default]\nregion = eu-west-1\n")
    aws.set(BOTO_CONFIG=str(aws.home / "credentials"))
    caller = Keys(access_key_id=aws.caller.access_key_id, secret_access_key=Secret(aws.caller.secret_access_key))
    opened.clear()
    assert good(aws, aws.get(keys=caller, role_arn=DEFAULT_ROLE.arn))
    assert not [name for name in opened if name.startswith(str(aws.home))]
    aws.get()
    assert [name for name in opened if name.startswith(str(aws.home))]
