"""The Azure CLI, played by scripts called `az` that really run."""

from __future__ import annotations

import asyncio
import datetime as dt
import json
import os
import sys
import time
from pathlib import Path

import pytest
from apex_llm_azure.auth import TokenSources, make_authenticator
from apex_llm_azure.azure_cli import cli_token
from apex_llm_azure.workers import Workers

from apex_llm_core.config import AuthConfig, ProviderConfig
from apex_llm_core.errors import AuthenticationError, LLMError, LLMTimeoutError, ServiceUnavailableError
from apex_llm_core.testing.runtime import FakeRuntime, make_context

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the scripts are shell scripts")
SCOPE = "https://cognitiveservices.azure.com/.default"
NOT_SIGNED_IN = "ERROR: Please run 'az login' to setup account."
EXPIRED = (
    "ERROR: AADSTS70043: The refresh token has expired or is invalid. Trace ID: 1 Correlation ID: 2\n"
    "Interactive authentication is needed. Please run:\naz login --scope x\n"
)


class Az:
    """A folder on the PATH with an `az` in it."""

    def __init__(self, folder, monkeypatch):
        self.folder = folder
        monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")

    def script(self, body):
        path = self.folder / "az"
        path.write_text(f"#!/bin/sh\n{body}\n")
        path.chmod(0o755)

    def answers(self, **fields):
        (self.folder / "answer").write_text(json.dumps({"tokenType": "Bearer", **fields}))
        self.script(f'echo "$@" >> {self.folder}/arguments\ncat {self.folder}/answer')

    def fails(self, complaint, status=1):
        (self.folder / "complaint").write_text(complaint)
        self.script(f"cat {self.folder}/complaint >&2\nexit {status}")

    @property
    def arguments(self):
        return (self.folder / "arguments").read_text().splitlines()

    def token(self, tenant=None, *, limit=15.0):
        async def ask():
            workers = Workers(1)
            try:
                async with asyncio.timeout(20):
                    return await cli_token(SCOPE, tenant, workers=workers, limit=limit)
            finally:
                workers.close()

        return asyncio.run(ask())

    def failure(self, kind, **options):
        with pytest.raises(LLMError) as caught:
            self.token(**options)
        assert type(caught.value) is kind
        return caught.value


@pytest.fixture
def az(tmp_path, monkeypatch):
    return Az(tmp_path, monkeypatch)


def test_is_asked_for_the_scope(az):
    az.answers(accessToken="token-1", expires_on=2_000_000_000)
    token = az.token()
    assert (token.value.reveal(), token.expires_on, token.refresh_on) == ("token-1", 2e9, None)
    assert az.arguments == [f"account get-access-token --output json --scope {SCOPE}"]


def test_is_asked_for_the_tenant(az):
    az.answers(accessToken="token-1", expires_on="2000000000")
    assert az.token("contoso").expires_on == 2e9
    assert az.arguments[0].endswith("--tenant contoso")


@pytest.mark.parametrize("zone", ["UTC", "America/New_York", "Asia/Kolkata"])
def test_of_an_old_version_tells_local_time(az, monkeypatch, zone):
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    try:
        local = dt.datetime.fromtimestamp(2e9).isoformat(sep=" ", timespec="microseconds")  # noqa: DTZ006 - as az does
        az.answers(accessToken="token-1", expiresOn=local)
        assert az.token().expires_on == 2e9
    finally:
        monkeypatch.undo()
        time.tzset()


def test_of_a_new_version_is_not_read_in_local_time(az):
    az.answers(accessToken="token-1", expiresOn="2001-01-01 00:00:00.000000", expires_on=2_000_000_000)
    assert az.token().expires_on == 2e9


def test_is_missing(az, monkeypatch):
    monkeypatch.setenv("PATH", str(az.folder))
    assert "not on the PATH; install it" in az.failure(AuthenticationError).message


def test_cannot_be_run(az):
    path = az.folder / "az"
    path.write_bytes(b"\x7fELF no program")
    path.chmod(0o755)
    error = az.failure(AuthenticationError)
    assert "cannot be run" in error.message
    assert isinstance(error.__cause__, OSError)


@pytest.mark.parametrize("complaint", [NOT_SIGNED_IN, EXPIRED, f"WARNING: old\n{NOT_SIGNED_IN}\n"])
def test_is_not_signed_in(az, complaint):
    az.fails(complaint)
    error = az.failure(AuthenticationError)
    assert error.message.endswith("run: az login")
    assert "Trace ID" not in error.message
    assert "WARNING" not in error.message


def test_cannot_reach_the_authority(az):
    az.fails(
        "ERROR: HTTPSConnectionPool(host='login.microsoftonline.com', port=443): Max retries exceeded with url: /x"
    )
    assert az.failure(ServiceUnavailableError).retryable


def test_fails_for_a_reason_of_its_own(az):
    az.fails("Traceback (most recent call last):\n  File x\nModuleNotFoundError: No module named 'azure'", status=2)
    assert "No module named 'azure'" in az.failure(AuthenticationError).message


def test_fails_without_a_word(az):
    az.fails("", status=3)
    assert "exit status 3" in az.failure(AuthenticationError).message


@pytest.mark.parametrize(
    "answer",
    [
        "",
        "[]",
        "not JSON hidden-token",
        '{"accessToken": "hidden-token"}',
        '{"accessToken": "hidden-token", "expiresOn": "soon"}',
        '{"accessToken": "hidden-token", "expires_on": {}}',
        '{"accessToken": 5, "expires_on": 2000000000}',
        '{"accessToken": "", "expires_on": 2000000000}',
        '{"accessToken": "hidden\\ntoken", "expires_on": 2000000000}',
    ],
)
def test_says_what_is_no_token(az, answer):
    az.answers()
    (az.folder / "answer").write_text(answer)
    error = az.failure(ServiceUnavailableError)
    assert not error.retryable
    assert "hidden" not in f"{error} {error!r} {error.__cause__}"


def test_hides_a_token_in_a_complaint(az):
    az.fails("ERROR: could not use eyJhbGciOiJIUzI1NiJ9.eyJhIjoiYiJ9.c2lnbmF0dXJl, sorry")
    assert "eyJhbGci" not in az.failure(AuthenticationError).message


def alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    # A zombie is nobody's program any more.
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"


def test_that_hangs_is_ended_with_its_children(az):
    az.script(f"sleep 1000 &\necho $! > {az.folder}/child\nwait")
    error = az.failure(LLMTimeoutError, limit=0.2)
    assert "within 0.2 s" in error.message
    assert not alive(int((az.folder / "child").read_text()))


def test_is_ended_when_nobody_waits_any_more(az):
    os.mkfifo(az.folder / "started")
    az.script(f"echo $$ > {az.folder}/pid\necho > {az.folder}/started\nsleep 1000")

    async def main():
        workers = Workers(1)
        asking = asyncio.create_task(cli_token(SCOPE, None, workers=workers))
        # Opening the other end of the pipe waits until the script is there.
        await asyncio.to_thread((az.folder / "started").read_text)
        asking.cancel()
        await asyncio.wait([asking])
        assert asking.cancelled()
        workers.close()

    asyncio.run(main())
    assert not alive(int((az.folder / "pid").read_text()))


class NoWorkers(Workers):
    """Calls at once, so that the turns of the loop can be counted."""

    async def run(self, function, *arguments):
        return function(*arguments)


@pytest.mark.parametrize("turns", range(12))
def test_leaves_nothing_behind_whenever_it_is_cancelled(az, turns):
    az.script(f"echo $$ >> {az.folder}/pids\nsleep 1000")

    async def main():
        asking = asyncio.create_task(cli_token(SCOPE, None, workers=NoWorkers()))
        for _ in range(turns):
            await asyncio.sleep(0)
        asking.cancel()
        async with asyncio.timeout(10):
            await asyncio.wait([asking])
        assert asking.cancelled()

    asyncio.run(main())
    started = az.folder / "pids"
    assert not any(alive(int(pid)) for pid in (started.read_text().split() if started.exists() else ()))


def test_serves_a_provider(az):
    az.answers(accessToken="token-1", expires_on=int(time.time()) + 3600)
    credentials = {"azure_cli": True, "tenant_id": "env:TENANT"}
    config = ProviderConfig(name="azure", type="azure", auth=AuthConfig(type="azure_ad", credentials=credentials))
    runtime = FakeRuntime(clock=time.monotonic, environ={"TENANT": "contoso"})

    async def main():
        auth = make_authenticator(
            config,
            authority="https://login.microsoftonline.com",
            ca_file="",
            runtime=runtime,
            sources=TokenSources(),
        )
        first = await asyncio.gather(*(auth.headers(SCOPE, make_context()) for _ in range(20)))
        await auth.close()
        return first

    assert asyncio.run(main()) == [{"Authorization": "Bearer token-1"}] * 20
    assert az.arguments == [f"account get-access-token --output json --scope {SCOPE} --tenant contoso"]
