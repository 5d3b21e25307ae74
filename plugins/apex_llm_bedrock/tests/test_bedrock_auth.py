from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading

import attrs
import pytest
from apex_llm_bedrock import aws_session
from apex_llm_bedrock.auth import CredentialSources, make_authenticator
from apex_llm_bedrock.settings import BedrockSettings
from apex_llm_bedrock.signing import BearerSignature, SigV4Signature
from apex_llm_bedrock.single_flight import Once
from apex_llm_bedrock.surroundings import Keys, Surroundings, Wanted

from apex_llm_core.config import AuthConfig, ProviderConfig
from apex_llm_core.errors import AuthenticationError, ConfigurationError, ServiceUnavailableError
from apex_llm_core.redaction import Secret
from apex_llm_core.testing import run_virtual
from apex_llm_core.testing.runtime import FakeRuntime, make_context

ROLE = "arn:aws:iam::123456789012:role/apex"
KEY = {"access_key_id": "AKID", "secret_access_key": "s"}
WALL = 1.7e9
OPTIONS = {
    "region": "eu-west-1",
    "sts_endpoint": "http://127.0.0.1:1",
    "ca_file": __file__,
    "role_session_name": "me",
    "role_duration": 900,
}


class Maker:
    """Makes authenticators that share their sources."""

    def __init__(self, environ=None):
        self.environ = {} if environ is None else environ
        self.runtime = FakeRuntime(environ=self.environ)
        self.sources = CredentialSources(wall=lambda: WALL + self.runtime.clock())

    def __call__(self, auth_type="iam", /, options=None, **credentials):
        auth = None if auth_type is None else AuthConfig(type=auth_type, credentials=credentials)
        return make_authenticator(
            ProviderConfig(name="aws", type="bedrock", auth=auth),
            BedrockSettings(**(options or {})),
            self.runtime,
            self.sources,
            environ=self.environ,
        )

    def run(self, main):
        return run_virtual(main, clock=self.runtime.clock)


def sent(signature):
    return signature.headers("POST", "host", "/", "", {}, None, b"", region="us-east-1", now=WALL)


@pytest.fixture
def botocore(monkeypatch):
    """Stand in for botocore: the wanted credentials of each acquisition, in whatever thread it ran."""

    class Fake:
        def __init__(self):
            self.wanted = []
            self.threads = set()
            self.failure = None
            self.surroundings = 0
            self.lifetime = 3600.0
            self.wall = lambda: WALL

        def acquire(self, wanted, environ):
            self.wanted.append(wanted)
            self.threads.add(threading.current_thread())
            if self.failure is not None:
                raise self.failure
            number = len(self.wanted)
            return Keys(
                access_key_id=f"ASIA{number}",
                secret_access_key=Secret("s"),
                session_token=Secret(f"token-{number}"),
                expires_on=self.wall() + self.lifetime,
            )

        def read_surroundings(self, wanted, environ):
            self.surroundings += 1
            self.threads.add(threading.current_thread())
            if self.failure is not None:
                raise self.failure
            return Surroundings(region=f"region-of-{wanted.profile or 'default'}")

    fake = Fake()
    monkeypatch.setattr(aws_session, "acquire", fake.acquire)
    monkeypatch.setattr(aws_session, "read_surroundings", fake.read_surroundings)
    return fake


class TestExplicit:
    def test_access_key_signs(self):
        make = Maker({"TOKEN": "session"})
        auth = make(**KEY, session_token="env:TOKEN")
        assert auth.current() is None
        signature = make.run(auth.signature(make_context()))
        assert isinstance(signature, SigV4Signature)
        assert auth.current() is signature
        assert sent(signature) == sent(SigV4Signature("AKID", Secret("s"), Secret("session")))
        make.run(auth.close())

    def test_api_key_is_sent(self):
        make = Maker({"KEY": "k-1"})
        auth = make("api_key", api_key="env:KEY")
        signature = make.run(auth.signature(make_context()))
        assert isinstance(signature, BearerSignature)
        assert sent(signature) == {"Authorization": "Bearer k-1"}

    @pytest.mark.parametrize("key", ["abc\ndef", " abc", "schlüssel", "abc\x00"])
    def test_what_fits_no_header_is_refused_without_being_quoted(self, key):
        make = Maker()
        wrong = Secret(key)
        for auth in (make("api_key", api_key=wrong), make(access_key_id="A", secret_access_key=wrong)):
            with pytest.raises(AuthenticationError, match=r"(api|access)_key") as caught:
                make.run(auth.signature(make_context()))
            assert key not in str(caught.value)

    def test_reference_that_leads_nowhere_is_an_authentication_error(self):
        make = Maker()
        auth = make("api_key", api_key="env:NOWHERE")
        with pytest.raises(AuthenticationError, match="NOWHERE") as caught:
            make.run(auth.signature(make_context()))
        assert isinstance(caught.value.__cause__, ConfigurationError)

    def test_literal_is_no_better_the_second_time(self):
        make = Maker()
        auth = make(**KEY)

        async def main():
            assert not auth.rejected(await auth.signature(make_context()))
            return await auth.signature(make_context())

        assert isinstance(make.run(main()), SigV4Signature)

    def test_reference_is_looked_up_again_after_a_rejection(self):
        make = Maker({"KEY": "old"})
        auth = make("api_key", api_key="env:KEY")

        async def main():
            first = await auth.signature(make_context())
            make.environ["KEY"] = "new"
            assert await auth.signature(make_context()) is first
            assert auth.rejected(first)
            assert auth.current() is None
            return await auth.signature(make_context())

        assert sent(make.run(main())) == {"Authorization": "Bearer new"}

    @pytest.mark.parametrize(
        ("auth_type", "credentials"),
        [
            ("api_key", {"api_key": "k"}),
            ("iam", KEY),
            ("iam", KEY | {"role_arn": ROLE}),
            ("iam", {"role_arn": ROLE, "web_identity_token_file": "/t"}),
        ],
    )
    def test_surroundings_are_the_environment_variables_alone(self, botocore, auth_type, credentials):
        make = Maker({"AWS_REGION": "eu-west-1", "AWS_PROFILE": "broken", "AWS_ENDPOINT_URL": "http://here"})
        auth = make(auth_type, **credentials)
        assert make.run(auth.surroundings()) == Surroundings(
            region="eu-west-1", runtime_endpoint="http://here", control_endpoint="http://here"
        )
        assert botocore.surroundings == 0
        make.run(auth.close())


class TestWanted:
    @pytest.mark.parametrize(
        ("auth_type", "credentials", "wanted"),
        [
            (None, {}, {}),
            ("iam", {}, {}),
            ("iam", {"profile": "env:WHO"}, {"profile": "team"}),
            ("iam", {"role_arn": "env:ROLE", "external_id": "x"}, {"role_arn": ROLE, "external_id": "x"}),
            ("iam", {"role_arn": ROLE, "profile": "p"}, {"role_arn": ROLE, "profile": "p"}),
            (
                "iam",
                KEY | {"role_arn": ROLE},
                {"role_arn": ROLE, "keys": Keys(access_key_id="AKID", secret_access_key=Secret("s"))},
            ),
            (
                "iam",
                {"role_arn": ROLE, "web_identity_token_file": "/t"},
                {"role_arn": ROLE, "web_identity_token_file": "/t"},
            ),
        ],
    )
    def test_of_botocore_in_a_thread(self, botocore, auth_type, credentials, wanted):
        make = Maker({"WHO": "team", "ROLE": f"{ROLE}\n"})
        auth = make(auth_type, options=OPTIONS, **credentials)
        signature = make.run(auth.signature(make_context()))
        assert isinstance(signature, SigV4Signature)
        assert botocore.wanted == [attrs.evolve(Wanted(**OPTIONS), **wanted)]
        assert threading.main_thread() not in botocore.threads
        make.run(auth.close())

    def test_role_behind_a_reference_is_checked(self, botocore):
        make = Maker({"ROLE": "apex"})
        auth = make(role_arn="env:ROLE")
        with pytest.raises(AuthenticationError, match=r"auth\.credentials\.role_arn: must be the ARN of a role"):
            make.run(auth.signature(make_context()))
        assert botocore.wanted == []

    def test_bearer_token_of_the_environment_wins_over_the_chain_only(self, botocore):
        make = Maker({"AWS_BEARER_TOKEN_BEDROCK": "api-key"})
        assert sent(make.run(make(None).signature(make_context()))) == {"Authorization": "Bearer api-key"}
        assert botocore.wanted == []
        for credentials in (KEY, {"profile": "p"}, {"role_arn": ROLE}):
            assert isinstance(make.run(make(**credentials).signature(make_context())), SigV4Signature)


class TestSharing:
    def test_six_waiters_of_three_providers_cost_one_acquisition(self, botocore):
        make = Maker()
        providers = [make(None), make(), make()]

        async def main():
            signatures = await asyncio.gather(*(auth.signature(make_context()) for auth in providers * 2))
            for auth in providers:
                await auth.close()
            return signatures

        assert len({id(signature) for signature in make.run(main())}) == 1
        assert len(botocore.wanted) == 1

    def test_is_not_of_different_credentials_or_options(self, botocore):
        make = Maker()
        providers = [make(), make(profile="p"), make(options={"region": "eu-west-1"}), make(role_arn=ROLE)]

        async def main():
            for auth in providers:
                await auth.signature(make_context())
                await auth.close()

        make.run(main())
        assert len(botocore.wanted) == 4

    def test_lasts_until_the_last_user_gives_it_back(self, botocore):
        make = Maker()
        first, second = make(), make()

        async def main():
            await first.signature(make_context())
            await second.signature(make_context())
            await first.close()
            assert second.current() is not None
            await second.close()
            assert make.sources._leases == {}

        make.run(main())
        assert len(botocore.wanted) == 1

    def test_failure_is_everybodys_own(self, botocore):
        make = Maker()
        auth = make()
        botocore.failure = AuthenticationError("no AWS credentials found")

        async def main():
            return await asyncio.gather(*(auth.signature(make_context()) for _ in range(3)), return_exceptions=True)

        errors = make.run(main())
        assert len({id(error) for error in errors}) == 3
        assert {str(error) for error in errors} == {"no AWS credentials found"}
        assert len(botocore.wanted) == 1


class TestLife:
    def test_waiting_is_no_silence_of_the_service(self, botocore):
        make = Maker()
        auth, touched = make(), []
        context = make_context(touch=lambda: touched.append(True))

        async def main():
            await auth.signature(context)
            await auth.signature(context)
            await auth.close()

        make.run(main())
        assert touched == [True]

    def test_is_refreshed_ahead_in_the_background(self, botocore):
        make = Maker()
        botocore.wall = lambda: WALL + make.runtime.clock()
        auth = make()

        async def main():
            first = await auth.signature(make_context())
            make.runtime.clock.advance(3000)
            assert auth.current() is None
            assert await auth.signature(make_context()) is first
            await asyncio.wait((auth._lease.source._flight,))
            assert auth.current() is not first
            await auth.close()

        make.run(main())
        assert len(botocore.wanted) == 2

    def test_rejection_rebuilds_once(self, botocore):
        make = Maker()
        botocore.wall = lambda: WALL + make.runtime.clock()
        auth = make()

        async def main():
            first = await auth.signature(make_context())
            assert auth.rejected(first)
            second = await auth.signature(make_context())
            assert second is not first
            assert not auth.rejected(second)
            # A request that was under way with the first one all the while.
            assert auth.rejected(first)
            assert await auth.signature(make_context()) is second
            await auth.close()

        make.run(main())
        assert len(botocore.wanted) == 2

    def test_after_the_end_nothing_is_asked_for(self, botocore):
        make = Maker()
        auth = make()

        async def main():
            signature = await auth.signature(make_context())
            await auth.close()
            await auth.close()
            assert auth.current() is None
            assert not auth.rejected(signature)
            for ask in (auth.signature(make_context()), auth.surroundings()):
                with pytest.raises(ServiceUnavailableError, match="shut down"):
                    await ask

        make.run(main())
        assert len(botocore.wanted) == 1

    def test_shared_credentials_file_is_read_again_after_a_rejection(self, monkeypatch, tmp_path):
        for name in list(os.environ):
            if name.startswith(("AWS_", "BOTO")):
                monkeypatch.delenv(name)
        path = tmp_path / "credentials"
        monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(path))
        monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
        monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")

        def write(key):
            path.write_text(f"[default]\naws_access_key_id = {key}\naws_secret_access_key = s\n")

        make = Maker(os.environ)
        auth = make()
        write("AKIDOLD")

        async def main():
            old = await auth.signature(make_context())
            write("AKIDNEW")
            make.runtime.clock.advance(86400)
            assert auth.current() is old
            assert auth.rejected(old)
            new = await auth.signature(make_context())
            await auth.close()
            return old.access_key_id, new.access_key_id

        assert make.run(main()) == ("AKIDOLD", "AKIDNEW")


class TestSurroundings:
    def test_are_read_once_in_a_thread(self, botocore):
        make = Maker()
        auth = make(profile="team")

        async def main():
            found = await asyncio.gather(*(auth.surroundings() for _ in range(6)))
            found.append(await auth.surroundings())
            await auth.close()
            return found

        assert set(make.run(main())) == {Surroundings(region="region-of-team")}
        assert botocore.surroundings == 1
        assert threading.main_thread() not in botocore.threads

    def test_of_a_role_are_those_of_who_assumes_it(self, botocore):
        make = Maker()
        auth = make(profile="team", role_arn=ROLE)
        assert make.run(auth.surroundings()).region == "region-of-team"
        make.run(auth.close())

    def test_failure_is_told_and_forgotten(self, botocore):
        make = Maker()
        auth = make(profile="team")
        botocore.failure = AuthenticationError("there is no profile 'team'")

        async def main():
            errors = await asyncio.gather(*(auth.surroundings() for _ in range(3)), return_exceptions=True)
            assert len({id(error) for error in errors}) == 3
            assert {type(error) for error in errors} == {AuthenticationError}
            botocore.failure = None
            found = await auth.surroundings()
            await auth.close()
            return found

        assert make.run(main()).region == "region-of-team"
        assert botocore.surroundings == 2


class TestOnce:
    @pytest.mark.parametrize("turns", range(6))
    def test_survives_cancellation_at_every_await(self, turns):
        made = []

        async def make():
            for _ in range(3):
                await asyncio.sleep(0)
            made.append(True)
            return "value"

        once = Once(make)

        async def main():
            impatient = asyncio.create_task(once.get())
            for _ in range(turns):
                await asyncio.sleep(0)
            impatient.cancel()
            await asyncio.wait([impatient])
            return await once.get()

        assert run_virtual(main()) == "value"
        assert made == [True]

    def test_tells_who_waits_that_it_closes(self):
        once = Once(lambda: asyncio.sleep(1000, "value"))

        async def main():
            waiting = asyncio.create_task(once.get())
            await asyncio.sleep(1)
            await once.close()
            with pytest.raises(ServiceUnavailableError, match="shut down"):
                await waiting

        run_virtual(main())

    def test_passes_on_what_nobody_expected(self):
        async def make():
            raise KeyError("x")

        with pytest.raises(KeyError):
            run_virtual(Once(make).get())


def test_authenticators_are_made_without_any_io():
    make = Maker()
    auth = make(role_arn="env:NOT_SET")
    assert make.sources._leases == {}
    make.run(auth.close())


def test_configuration_that_cannot_be_used_is_refused_at_once():
    with pytest.raises(ConfigurationError, match="did you mean 'profile'"):
        Maker()(profle="x")


def python(script):
    return subprocess.run([sys.executable, "-W", "error", "-c", script], check=False, capture_output=True, text=True)


def test_importing_imports_no_botocore():
    modules = "auth, acquisition, credentials, credential_source, signing, single_flight, surroundings, workers"
    done = python(f"import sys\nfrom apex_llm_bedrock import {modules}\nassert 'botocore' not in sys.modules")
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    "auth",
    [
        "AuthConfig(type='api_key', credentials={'api_key': 'k'})",
        "AuthConfig(type='iam', credentials={'access_key_id': 'A', 'secret_access_key': 's'})",
    ],
)
def test_explicit_credentials_never_import_botocore(auth):
    done = python(f"""
import asyncio, sys
from apex_llm_bedrock.auth import CredentialSources, make_authenticator
from apex_llm_core.config import AuthConfig, ProviderConfig
from apex_llm_core.testing.runtime import FakeRuntime, make_context
config = ProviderConfig(name='a', type='bedrock', auth={auth})
auth = make_authenticator(config, None, FakeRuntime(), CredentialSources(), environ={{'AWS_PROFILE': 'broken'}})
async def main():
    await auth.surroundings()
    signature = await auth.signature(make_context())
    assert signature.headers('POST', 'h', '/', '', {{}}, None, b'', region='us-east-1', now=0)['Authorization']
    await auth.close()
asyncio.run(main())
assert 'botocore' not in sys.modules
""")
    assert done.returncode == 0, done.stderr
