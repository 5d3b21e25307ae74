"""The facts and traps of talking to Bedrock without AWS's own client, number by number; end to end where they can be seen."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import re
import ssl
import subprocess
import sys
import time
from contextlib import asynccontextmanager
from functools import partial
from types import SimpleNamespace
from urllib.parse import quote

import aiohttp
import pytest
import trustme
import yarl
from apex_llm_bedrock.auth import CredentialSources
from apex_llm_bedrock.signing import SigV4Signature, canonical_path
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.session import Session
from loguru import logger

from apex_llm_core.errors import (
    AuthenticationError,
    ConfigurationError,
    ModelNotFoundError,
    ServiceUnavailableError,
)
from apex_llm_core.models.events import RetryScheduled
from apex_llm_core.redaction import Secret
from apex_llm_core.transport import AiohttpClient

TRAPS = {
    1: "aiohttp rewrites %3A in a str URL: the path on the wire is not the signed one",
    2: "the model id is encoded once in the URL, and once more in what is signed; // and .. are normalised there",
    3: "an error, garbage, or nothing may come with status 200",
    4: "every header that is sent may be signed: those that change on the way must not be; each attempt is signed anew",
    5: "with awscrt installed botocore signs by other means",
    6: "botocore logs what it signs at DEBUG",
    7: "botocore refuses bearer tokens over http; bearer wins over signatures, explicit keys over everything",
    8: "getting credentials blocks, is not locked, and has no throttle; what expired is never read again",
    9: "botocore does not read AWS_REGION; the region of an ARN wins",
    10: "endpoints follow botocore's rules; those of environment and profile count, FIPS excludes one's own",
    11: "aiohttp applies neither CA bundles nor proxies by itself",
    12: "botocore's stream parser loses unknown exceptions, events and members, and sees no truncation",
    13: "botocore's parser turns the body of InvokeModel into text that has to be parsed once more",
    14: "aiohttp ends everything after 300 seconds in total",
    15: "test doubles do not check signatures",
}
PROFILE = "arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/chatsupport1"
LLAMA = "meta.llama3-8b-instruct-v1:0"
CLAUDE = "us.anthropic.claude-sonnet-4-20250514-v1:0"
PROMPT = "Hello there, who is there?"


class Recording:
    """An HTTP client that notes what is sent, and may change it on the way."""

    def __init__(self, change=None):
        self._http = AiohttpClient()
        self._change = change
        self.sent = []

    async def send(self, method, url, *, context, headers=None, body=None):
        self.sent.append(SimpleNamespace(method=method, url=url, headers=dict(headers), body=body))
        if self._change is not None:
            url, headers, body = self._change(url, dict(headers), body)
        return await self._http.send(method, url, context=context, headers=headers, body=body)

    async def close(self):
        await self._http.close()


class NoNetwork(Recording):
    """Notes what would be sent."""

    async def send(self, method, url, **sent):
        self.sent.append(SimpleNamespace(method=method, url=url, **sent))
        raise ServiceUnavailableError("there is no network here", retryable=False)


@pytest.fixture
def recording(bedrock):
    """Make clients of that kind that are closed in the loop."""
    made = []

    def make(kind=Recording, *arguments):
        made.append(kind(*arguments))
        return made[-1]

    yield make
    bedrock.close()
    for http in made:
        bedrock.run(http.close())


class Machine:
    """The AWS configuration of this machine."""

    def __init__(self, home, environ, bedrock):
        self.home = home
        self.set = environ.setenv
        self._bedrock = bedrock
        self.config = home / "config"
        self.credentials = home / "credentials"
        self._runs = home / "runs"
        for name, file in (("AWS_CONFIG_FILE", self.config), ("AWS_SHARED_CREDENTIALS_FILE", self.credentials)):
            self.set(name, str(file))

    @property
    def runs(self):
        """How often the credential process ran."""
        return len(self._runs.read_text()) if self._runs.exists() else 0

    def keys(self, **issued):
        """Let the file of credentials have a new access key."""
        key = self._bedrock.emulator.keys.issue(**{"session": False, **issued})
        token = f"aws_session_token = {key.session_token}\n" if key.session_token else ""
        self.credentials.write_text(
            f"[default]\naws_access_key_id = {key.access_key_id}\naws_secret_access_key = {key.secret_access_key}\n{token}"
        )
        return key

    def process(self, key, *, gate=None, ends=""):
        """Let the default profile get *key* from a process, which reads from *gate* first."""
        said = {"Version": 1, "AccessKeyId": key.access_key_id, "SecretAccessKey": key.secret_access_key}
        said |= {"SessionToken": key.session_token} if key.session_token else {}
        said |= {"Expiration": ends} if ends else {}
        script = self.home / "process.py"
        wait = f"open({str(gate)!r}).read()" if gate is not None else ""
        script.write_text(f"open({str(self._runs)!r}, 'a').write('x')\n{wait}\nprint({json.dumps(said)!r})\n")
        self.config.write_text(f'[default]\ncredential_process = "{sys.executable}" "{script}"\n')


@pytest.fixture
def machine(bedrock, tmp_path, monkeypatch):
    machine = Machine(tmp_path, monkeypatch, bedrock)
    monkeypatch.setenv("HOME", str(tmp_path))
    return machine


def authorization(received):
    """Return region and signed headers of a request, from its masked header."""
    match = re.match(
        r"AWS4-HMAC-SHA256 Credential=[^/]+/\d{8}/([^/]+)/bedrock/aws4_request, SignedHeaders=([^,]+), ", received
    )
    return match[1], match[2].split(";")


def regions(bedrock):
    return [authorization(received.headers["authorization"])[0] for received in bedrock.journal]


def refused(kind, ask, *arguments, **options):
    with pytest.raises(kind) as caught:
        ask(*arguments, **options)
    return caught.value


# -- 1, 2: the path ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("model", [PROFILE, CLAUDE, "anthropic.claude-3-haiku-20240307-v1:0"])
def test_trap_01_the_path_on_the_wire_is_the_signed_one(bedrock, model):
    client = bedrock.client(models=[model])
    assert client.chat(PROMPT, model=model).message.text == PROMPT
    assert client.stream(PROMPT, model=model).text == PROMPT
    asked = [received for received in bedrock.journal if received.operation.startswith("converse")]
    assert [received.path for received in asked] == [
        f"/model/{quote(model, safe='')}/converse",
        f"/model/{quote(model, safe='')}/converse-stream",
    ]
    assert "%3A" in asked[0].path


def test_trap_01_aiohttp_left_to_itself_would_be_refused(bedrock):
    emulator = bedrock.emulator
    path = f"/model/{quote(CLAUDE, safe='')}/converse"
    body = json.dumps({"messages": [{"role": "user", "content": [{"text": PROMPT}]}]}).encode()
    signature = SigV4Signature(emulator.access_key_id, Secret(emulator.secret_access_key), None)
    headers = signature.headers(
        "POST",
        emulator.url.removeprefix("http://"),
        path,
        "",
        {"Content-Type": "application/json", "Accept": "application/json"},
        None,
        body,
        region=emulator.region,
        now=time.time(),
    )

    async def post():
        statuses = []
        async with aiohttp.ClientSession() as session:
            for url in (emulator.url + path, yarl.URL(emulator.url + path, encoded=True)):
                async with session.post(url, data=body, headers=headers) as response:
                    statuses.append(response.status)
        return statuses

    assert bedrock.run(post()) == [403, 200]


def test_trap_02_the_id_is_encoded_once_on_the_wire_and_once_more_where_it_is_signed(bedrock):
    client = bedrock.client(models=[PROFILE])
    assert client.chat(PROMPT, model=PROFILE).message.text == PROMPT
    received = bedrock.journal[-1]
    assert received.deployment == PROFILE
    assert "%25" not in received.path
    assert "%253A" in canonical_path(received.path)
    assert "%252F" in canonical_path(received.path)


@pytest.mark.parametrize(
    "path", ["/a//model/x%3A0/converse", "/a/../model/%2Fx/converse/", "/./m/~x*y/", "//", "/%25/."]
)
def test_trap_02_the_signed_path_is_normalised_as_botocore_does(path):
    keys = ("AKIDEXAMPLE", "secret")
    request = AWSRequest("POST", f"https://h.example{path}", headers={"Accept": "application/json"}, data=b"{}")
    SigV4Auth(Credentials(*keys), "bedrock", "us-east-1").add_auth(request)
    now = time.mktime(time.strptime(request.context["timestamp"], "%Y%m%dT%H%M%SZ")) - time.timezone
    ours = SigV4Signature(keys[0], Secret(keys[1]), None).headers(
        "POST", "h.example", path, "", {"Accept": "application/json"}, None, b"{}", region="us-east-1", now=now
    )
    assert ours["Authorization"] == request.headers["Authorization"]


def test_trap_02_an_id_that_is_encoded_already_is_refused_with_advice(bedrock):
    error = refused(ConfigurationError, bedrock.client, models=[quote(PROFILE, safe="")])
    assert "percent-encoded; write it plainly" in str(error)


# -- 3: status 200 is not success --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fault", "kind", "said"),
    [
        ("unknown_operation", ModelNotFoundError, "UnknownOperation"),
        ("error_with_200", ServiceUnavailableError, "Failed"),
        ("empty_answer", ServiceUnavailableError, "empty"),
        ("html_answer", ServiceUnavailableError, "no JSON (text/html"),
        ("garbage_answer", ServiceUnavailableError, "no JSON"),
        ("null_answer", ServiceUnavailableError, "no object"),
        ("no_output", ServiceUnavailableError, "the endpoint is one of Bedrock"),
        ("no_stop_reason", ServiceUnavailableError, "incomplete"),
    ],
)
def test_trap_03_a_200_without_an_answer_is_an_error(bedrock, fault, kind, said):
    bedrock.faults.add(fault)
    error = refused(kind, bedrock.client().chat)
    assert type(error) is kind
    assert said in f"{error.message} {error.details}"
    assert error.status_code == 200


@pytest.mark.parametrize("fault", ["unknown_operation", "error_with_200", "html_stream", "json_stream", "empty_stream"])
def test_trap_03_a_200_without_a_stream_is_an_error(bedrock, fault):
    bedrock.faults.add(fault)
    stream = bedrock.client().read(PROMPT)
    assert type(stream.error) is (ModelNotFoundError if fault == "unknown_operation" else ServiceUnavailableError)
    assert stream.text == ""


# -- 4: headers and attempts -------------------------------------------------------------------------------------------


def test_trap_04_what_is_signed_arrives_unchanged_and_what_is_added_is_not_signed(bedrock, recording):
    http = recording()
    client = bedrock.client(settings={"http": http})
    client.chat(PROMPT)
    client.stream(PROMPT)
    client.embed()
    for sent, received in zip(http.sent, bedrock.journal, strict=True):
        _, signed = authorization(received.headers["authorization"])
        assert signed == ["accept", "content-type", "host", "x-amz-date"]
        # Nobody had to guess a content type, and nobody changed one.
        given = {name.lower(): value for name, value in sent.headers.items()}
        assert given["content-type"] == received.headers["content-type"] == "application/json"
        assert given["accept"] == received.headers["accept"]
        assert received.headers["host"] == bedrock.emulator.url.removeprefix("http://")
    assert [sent.headers["Accept"] for sent in http.sent] == [
        "application/json",
        "application/vnd.amazon.eventstream",
        "application/json",
    ]


def test_trap_04_headers_of_the_model_are_signed_too(bedrock):
    options = {"invoke": {LLAMA: "llama"}, "service_tier": "flex"}
    client = bedrock.client(models=[LLAMA], options=options)
    assert client.chat(PROMPT, model=LLAMA).message.text == PROMPT
    assert client.stream(PROMPT, model=LLAMA).text == PROMPT
    for received in bedrock.journal:
        assert received.headers["x-amzn-bedrock-service-tier"] == "flex"
        assert "x-amzn-bedrock-service-tier" in authorization(received.headers["authorization"])[1]


def test_trap_04_every_attempt_is_signed_anew(opened, monkeypatch):
    wall = SimpleNamespace(now=1_780_000_000.0)
    monkeypatch.setattr("apex_llm_bedrock.client.time", SimpleNamespace(time=lambda: wall.now))
    with opened(wall=lambda: wall.now) as bedrock:
        client = bedrock.client(retry_count=2, tables={"retry": {"base": 0.001, "max_delay": 0.001}})

        def wait_long(event):
            # Longer than a signature is good for.
            wall.now += 600.0 if isinstance(event, RetryScheduled) else 0.0

        client.manager.subscribe("time passes", wait_long)
        bedrock.faults.add("service_unavailable", times=2)
        result = client.chat(PROMPT)
        assert result.message.text == PROMPT
        assert len(result.attempts) == 3
        assert len({received.headers["x-amz-date"] for received in bedrock.journal}) == 3
        assert len({received.headers["authorization"] for received in bedrock.journal}) == 3


# -- 5, 6: botocore's signer and logs ----------------------------------------------------------------------------------


def test_trap_05_no_signer_of_botocore_is_used_whatever_is_installed(bedrock, machine, monkeypatch):
    def another(*_):
        raise AssertionError("somebody signs by another signer")

    monkeypatch.setitem(sys.modules, "awscrt", SimpleNamespace())
    monkeypatch.setitem(__import__("botocore.auth").auth.AUTH_TYPE_MAPS, "v4", another)
    monkeypatch.setattr("botocore.auth.SigV4Auth.add_auth", another)
    machine.keys()
    client = bedrock.client(auth=None)
    assert client.chat(PROMPT).message.text == PROMPT


SENDS = """
import asyncio, json, sys
from apex_llm_core import LLMProviderManager

async def main():
    async with LLMProviderManager(json.loads(sys.argv[1])) as manager:
        said = [(await manager.generate_chat("Hello", model=model)).message.text for model in sys.argv[2:]]
        stream = manager.generate_chat_stream("Hello", model=sys.argv[2])
        said.append("".join([chunk.text async for chunk in stream]))
    print(json.dumps([said, sorted(name for name in sys.modules if name.startswith(("botocore", "awscrt")))]))

asyncio.run(main())
"""


@pytest.fixture
def explicit(bedrock):
    """What another process says with explicit keys, and which modules of botocore it needed for that."""
    provider = bedrock.provider(models=[CLAUDE, LLAMA], options={"invoke": {LLAMA: "llama"}})
    provider["auth"]["credentials"]["secret_access_key"] = bedrock.emulator.secret_access_key
    arguments = (sys.executable, "-c", SENDS, json.dumps({"providers": [provider]}), CLAUDE, LLAMA)

    async def ran():
        process = await asyncio.create_subprocess_exec(*arguments, stdout=subprocess.PIPE)
        return json.loads((await process.communicate())[0])

    return bedrock.run(ran())


def test_trap_05_explicit_keys_need_nothing_of_botocore(explicit):
    assert explicit == [["Hello"] * 3, []]


@pytest.fixture
def lines():
    """What is logged at any level, by either library, arguments included."""
    heard = []

    class Handler(logging.Handler):
        def emit(self, record):
            heard.append(f"{record.name} {record.getMessage()} {record.args!r} {record.exc_text}")

    handler = Handler(level=logging.DEBUG)
    loggers = [logging.getLogger(), logging.getLogger("botocore")]
    levels = [each.level for each in loggers]
    sink = logger.add(lambda message: heard.append(f"{message} {message.record}"), level="TRACE")
    loggers[0].addHandler(handler)
    for each in loggers:
        each.setLevel(logging.DEBUG)
    yield heard
    logger.remove(sink)
    loggers[0].removeHandler(handler)
    for each, level in zip(loggers, levels, strict=True):
        each.setLevel(level)


@pytest.mark.parametrize("by", ["chain", "role", "process", "keys", "key"])
def test_trap_06_no_credential_is_logged_even_at_debug(bedrock, machine, lines, by):
    key = machine.keys(session=True)
    secrets = {key.secret_access_key, key.session_token}
    role = {"type": "iam", "credentials": {"role_arn": "arn:aws:iam::123456789012:role/apex-llm"}}
    provider = {
        "chain": lambda: {"auth": None},
        "role": lambda: {"auth": role, "options": {"sts_endpoint": bedrock.emulator.url}},
        "process": lambda: machine.process(key) or {"auth": {"type": "iam", "credentials": {"profile": "default"}}},
        "keys": lambda: {"by": "iam"},
        "key": lambda: {"by": "key"},
    }[by]()
    tables = {"logging": {"enabled": True, "level": "TRACE"}}
    client = bedrock.client(bedrock.provider(**provider), tables=tables)
    assert client.chat(PROMPT).message.text == PROMPT
    bedrock.faults.add("invalid_signature")
    assert type(client.read(PROMPT).error) is AuthenticationError
    secrets |= {bedrock.emulator.secret_access_key, bedrock.emulator.api_key}
    secrets |= {issued.secret_access_key for issued in bedrock.emulator.keys._keys.values()}
    secrets |= {issued.session_token for issued in bedrock.emulator.keys._keys.values()} - {""}
    assert lines
    assert [line for line in lines for secret in secrets if secret in line] == []
    assert not [line for line in lines if "CanonicalRequest" in line or "Signature:" in line]


def test_trap_06_botocore_itself_would_tell(lines):
    request = AWSRequest("POST", "https://h.example/", headers={}, data=b"")
    SigV4Auth(Credentials("AKID", "secret", "the session token"), "bedrock", "us-east-1").add_auth(request)
    assert any("the session token" in line for line in lines)


# -- 7, 8: bearer tokens, and credentials that have to be got ----------------------------------------------------------


@pytest.mark.parametrize("where", ["configuration", "environment"])
def test_trap_07_bearer_tokens_go_over_http_too(bedrock, machine, where):
    machine.set("AWS_PROFILE", "a profile that is not there")
    if where == "environment":
        machine.set("AWS_BEARER_TOKEN_BEDROCK", bedrock.emulator.api_key)
        client = bedrock.client(auth=None)
    else:
        client = bedrock.client(by="key")
    assert client.chat(PROMPT).message.text == PROMPT
    assert client.stream(PROMPT).text == PROMPT
    for received in bedrock.journal:
        assert received.headers["authorization"].startswith("Bearer ***")
        assert not [name for name in received.headers if name.startswith("x-amz-")]


def test_trap_07_a_bearer_token_wins_over_the_chain_and_explicit_keys_over_it(bedrock, machine):
    machine.keys()
    machine.set("AWS_BEARER_TOKEN_BEDROCK", bedrock.emulator.api_key)
    kinds = {"chain": {"auth": None}, "empty": {"auth": {"type": "iam"}}, "keys": {}}
    kinds["profile"] = {"auth": {"type": "iam", "credentials": {"profile": "default"}}}
    providers = [bedrock.provider(name, **more) for name, more in kinds.items()]
    client = bedrock.client(*providers)
    for name in kinds:
        client.chat(PROMPT, provider=name)
    schemes = [received.headers["authorization"].partition(" ")[0] for received in bedrock.journal]
    assert schemes == ["Bearer", "Bearer", "AWS4-HMAC-SHA256", "AWS4-HMAC-SHA256"]


@pytest.mark.parametrize("by", ["iam", "key"])
def test_trap_07_explicit_credentials_leave_the_chain_alone(bedrock, machine, by):
    machine.process(machine.keys())
    machine.set("AWS_PROFILE", "a profile that is not there")
    machine.set("AWS_ACCESS_KEY_ID", "AKIDOFTHEENVIRONMENT")
    machine.set("AWS_SECRET_ACCESS_KEY", "wrong")
    machine.set("AWS_SESSION_TOKEN", "wrong")
    assert bedrock.client(by=by).chat(PROMPT).message.text == PROMPT
    assert machine.runs == 0
    assert "x-amz-security-token" not in bedrock.journal[0].headers


def test_trap_08_waiting_for_credentials_holds_nobody_else_up_and_happens_once(bedrock, machine):
    gate = machine.home / "gate"
    os.mkfifo(gate)
    machine.process(bedrock.emulator.keys.issue(session=False), gate=gate)
    client = bedrock.client(bedrock.provider("slow", auth=None), bedrock.provider("quick"))

    async def ask():
        generate = partial(client.manager.generate_chat, model=CLAUDE)
        slow = [asyncio.create_task(generate(f"slow {number}", provider="slow")) for number in range(6)]
        for number in range(5):
            assert (await generate(f"quick {number}", provider="quick")).message.text == f"quick {number}"
        assert not any(task.done() for task in slow)
        await asyncio.to_thread(gate.write_text, "go on")
        return [result.message.text for result in await asyncio.gather(*slow)]

    assert bedrock.run(ask()) == [f"slow {number}" for number in range(6)]
    assert machine.runs == 1


def test_trap_08_credentials_of_a_short_life_are_asked_for_once_a_minute_at_most(bedrock, machine, monkeypatch):
    wall = SimpleNamespace(ahead=0.0)
    monkeypatch.setattr(
        "apex_llm_bedrock.plugin.CredentialSources", partial(CredentialSources, wall=lambda: time.time() + wall.ahead)
    )
    ends = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 720))
    machine.process(bedrock.emulator.keys.issue(lifetime=720), ends=ends)
    client = bedrock.client(auth=None)
    for _ in range(5):
        client.chat(PROMPT)
    assert machine.runs == 1
    # Its last minutes: it is asked for again, beside the requests, and as it did not change, not with every one of them.
    wall.ahead = 500.0

    async def ask():
        for _ in range(5):
            await client.manager.generate_chat(PROMPT, model=CLAUDE)
            for task in asyncio.all_tasks() - {asyncio.current_task()}:
                if task.get_name() == "credentials":
                    await asyncio.wait((task,))

    bedrock.run(ask())
    assert machine.runs == 2


def test_trap_08_what_expired_is_read_again_once(bedrock, machine):
    old = machine.keys(session=True)
    client = bedrock.client(auth=None)
    assert client.chat(PROMPT).message.text == PROMPT
    # As after a new log-in: botocore would never look at the file again.
    bedrock.emulator.keys.add(
        old.access_key_id, old.secret_access_key, session_token=old.session_token, expires_on=time.time() - 1
    )
    machine.keys(session=True)
    assert client.stream(PROMPT).text == PROMPT
    tokens = [received.headers["x-amz-security-token"] for received in bedrock.journal]
    assert len(tokens) == 3
    assert tokens[0] == tokens[1] != tokens[2]


# -- 9, 10: regions and endpoints --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("environ", "profile", "region", "expected"),
    [
        ({"AWS_REGION": "eu-west-1", "AWS_DEFAULT_REGION": "eu-west-2"}, "eu-west-3", "", "eu-west-1"),
        ({"AWS_DEFAULT_REGION": "eu-west-2"}, "eu-west-3", "", "eu-west-2"),
        ({}, "eu-west-3", "", "eu-west-3"),
        ({"AWS_REGION": "eu-west-1"}, "eu-west-3", "eu-north-1", "eu-north-1"),
    ],
)
def test_trap_09_the_region_is_found_where_botocore_does_not_look(
    bedrock, machine, recording, environ, profile, region, expected
):
    http = recording(NoNetwork)
    machine.keys()
    machine.config.write_text(f"[default]\nregion = {profile}\n")
    for name, value in environ.items():
        machine.set(name, value)
    provider = bedrock.provider(auth=None)
    provider["options"] = {"region": region} if region else {}
    refused(ServiceUnavailableError, bedrock.client(provider, settings={"http": http}).chat)
    [sent] = http.sent
    assert sent.url.startswith(f"https://bedrock-runtime.{expected}.amazonaws.com/model/")
    assert f"/{expected}/bedrock/aws4_request" in sent.headers["Authorization"]


def test_trap_09_aws_region_alone_is_enough(bedrock, machine):
    machine.set("AWS_REGION", bedrock.emulator.region)
    for by in ("iam", "key"):
        provider = bedrock.provider(by=by)
        del provider["options"]["region"]
        assert bedrock.client(provider).chat(PROMPT).message.text == PROMPT


def test_trap_09_the_region_of_an_arn_wins(bedrock):
    client = bedrock.client(models=[CLAUDE, PROFILE], options={"region": "eu-central-1"})
    assert client.chat(PROMPT, model=PROFILE).message.text == PROMPT
    assert client.stream(PROMPT, model=PROFILE).text == PROMPT
    assert set(regions(bedrock)) == {"us-east-1"}
    # Others are signed for the configured one, which this emulator is not in.
    refused(AuthenticationError, client.chat)
    assert regions(bedrock)[-1] == "eu-central-1"


@pytest.mark.parametrize(
    ("options", "host"),
    [
        ({"region": "us-east-1"}, "bedrock-runtime.us-east-1.amazonaws.com"),
        ({"region": "us-east-1", "use_fips": True}, "bedrock-runtime-fips.us-east-1.amazonaws.com"),
        ({"region": "us-east-1", "use_dualstack": True}, "bedrock-runtime.us-east-1.api.aws"),
        (
            {"region": "us-east-1", "use_fips": True, "use_dualstack": True},
            "bedrock-runtime-fips.us-east-1.api.aws",
        ),
        ({"region": "us-gov-west-1"}, "bedrock-runtime.us-gov-west-1.amazonaws.com"),
        ({"region": "cn-north-1"}, "bedrock-runtime.cn-north-1.amazonaws.com.cn"),
        ({"region": "eusc-de-east-1"}, "bedrock-runtime.eusc-de-east-1.amazonaws.eu"),
    ],
)
def test_trap_10_addresses_are_those_of_botocores_rules(bedrock, recording, options, host):
    http = recording(NoNetwork)
    provider = bedrock.provider()
    provider["options"] = options
    client = bedrock.client(provider, settings={"http": http})
    refused(ServiceUnavailableError, client.chat)
    client.health()
    assert http.sent[0].url.startswith(f"https://{host}/model/")
    control = host.replace("bedrock-runtime", "bedrock")
    assert http.sent[1].url.startswith(f"https://{control}/foundation-models")


@pytest.mark.parametrize("where", ["runtime variable", "variable", "services of the profile", "profile"])
def test_trap_10_addresses_of_environment_and_profile_count(bedrock, machine, where):
    url = bedrock.emulator.url
    machine.keys()
    if where == "runtime variable":
        machine.set("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
        machine.set("AWS_ENDPOINT_URL_BEDROCK_RUNTIME", url)
    elif where == "variable":
        machine.set("AWS_ENDPOINT_URL", url)
    elif where == "profile":
        machine.config.write_text(f"[default]\nendpoint_url = {url}\n")
    else:
        machine.config.write_text(f"[default]\nservices = s\n[services s]\nbedrock_runtime =\n  endpoint_url = {url}\n")
    provider = bedrock.provider(auth=None)
    del provider["options"]["endpoint"]
    assert bedrock.client(provider).chat(PROMPT).message.text == PROMPT


@pytest.mark.parametrize("kind", ["use_fips", "use_dualstack"])
def test_trap_10_an_own_address_excludes_fips_and_dual_stack(bedrock, machine, kind):
    error = refused(ConfigurationError, bedrock.client, options={kind: True})
    assert "leave out use_fips and use_dualstack" in str(error)
    # The environment may be about other services: what the configuration says goes before it.
    machine.set("AWS_USE_FIPS_ENDPOINT", "true")
    assert bedrock.client().chat(PROMPT).message.text == PROMPT


# -- 11: TLS and proxies -----------------------------------------------------------------------------------------------


@asynccontextmanager
async def relay(bedrock, rewrite=lambda head: head, tls=None):
    """Pass connections on to the emulator; the first line of each goes through *rewrite*."""
    _, _, port = bedrock.emulator.url.rpartition(":")
    running = set()

    async def pump(reader, writer):
        try:
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        except OSError:
            pass
        finally:
            writer.close()

    async def connected(reader, writer):
        running.add(asyncio.current_task())
        try:
            first = await reader.readline()
        except (OSError, ssl.SSLError):
            first = b""
        if not first:
            writer.close()
            return
        upstream = await asyncio.open_connection("127.0.0.1", int(port))
        upstream[1].write(rewrite(first))
        await asyncio.gather(pump(reader, upstream[1]), pump(upstream[0], writer))

    server = await asyncio.start_server(connected, "127.0.0.1", 0, ssl=tls)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)


@pytest.mark.parametrize("where", ["option", "variable", "profile", "nowhere"])
def test_trap_11_certificate_authorities_of_ones_own_are_trusted(bedrock, machine, where):
    authority = trustme.CA()
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(tls)
    file = str(machine.home / "authority.pem")
    authority.cert_pem.write_to_path(file)
    machine.keys()
    options = {}
    if where == "option":
        options["ca_file"] = file
    elif where == "variable":
        machine.set("AWS_CA_BUNDLE", file)
    elif where == "profile":
        machine.config.write_text(f"[default]\nca_bundle = {file}\n")

    async def ask():
        async with relay(bedrock, tls=tls) as port:
            address = {"endpoint": f"https://127.0.0.1:{port}", **options}
            async with bedrock.unopened(auth=None, options=address, settings={"http": None}).opened() as client:
                return await client.manager.generate_chat(PROMPT, model=CLAUDE)

    if where == "nowhere":
        error = refused(ServiceUnavailableError, bedrock.run, ask())
        assert "certificate" in error.message
    else:
        assert bedrock.run(ask()).message.text == PROMPT


def test_trap_11_proxies_of_the_environment_are_used(bedrock, machine):
    passed = []

    def rewrite(first):
        passed.append(first.decode())
        return re.sub(rb"http://[^/]+", b"", first, count=1)

    async def ask():
        async with relay(bedrock, rewrite) as port:
            machine.set("HTTP_PROXY", f"http://127.0.0.1:{port}")
            machine.set("NO_PROXY", "")
            elsewhere = {"allow_insecure": True, "options": {"endpoint": "http://bedrock.not-here.example"}}
            async with bedrock.unopened(settings={"http": None}, **elsewhere).opened() as client:
                return await client.manager.generate_chat(PROMPT, model=CLAUDE)

    assert bedrock.run(ask()).message.text == PROMPT
    path = quote(CLAUDE, safe="")
    assert passed == [f"POST http://bedrock.not-here.example/model/{path}/converse HTTP/1.1\r\n"]


# -- 12, 13: what botocore's parsers lose ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fault", "kind", "status", "code"),
    [
        ("exception_model_timeout", "LLMTimeoutError", 408, "ModelTimeoutException"),
        ("exception_throttling", "RateLimitError", 429, "ThrottlingException"),
        ("exception_service_unavailable", "ServiceUnavailableError", 503, "ServiceUnavailableException"),
        ("exception_model_stream", "ServiceUnavailableError", 424, "ModelStreamErrorException"),
        ("exception_unknown", "UnknownError", None, "SomethingNewException"),
        ("error_message", "ServiceUnavailableError", None, "InternalFailure"),
    ],
)
def test_trap_12_exceptions_in_streams_keep_name_text_and_status(bedrock, fault, kind, status, code):
    bedrock.faults.add(fault, after_chunks=1)
    error = bedrock.client().read(PROMPT).error
    assert (type(error).__name__, error.status_code, error.details["code"]) == (kind, status, code)
    assert error.request_id
    assert len(error.message) > 10


def test_trap_12_unknown_events_and_members_are_kept(bedrock):
    client = bedrock.client()
    bedrock.faults.add("unknown_event")
    stream = client.stream(PROMPT)
    [kept] = stream.details["unknown_events"]
    assert (stream.text, kept["somethingNew"]["value"]) == (PROMPT, 1)
    bedrock.faults.add("unknown_member")
    stream = client.stream(PROMPT)
    assert (stream.text, stream.details["other_content"]) == (PROMPT, [{"hologram": {"depth": 3}}])


def test_trap_12_an_empty_start_of_a_block_is_nothing(bedrock):
    bedrock.faults.add("announced_text")
    stream = bedrock.client().stream(PROMPT)
    assert (stream.text, stream.finish_reason) == (PROMPT, "stop")
    assert "other_content" not in stream.details


@pytest.mark.parametrize("fault", ["truncated", "truncated_frame", "no_message_stop", "reset", "garbage_stream"])
def test_trap_12_a_stream_that_breaks_off_is_an_error(bedrock, fault):
    bedrock.faults.add(fault)
    stream = bedrock.client().read(PROMPT)
    assert type(stream.error) is ServiceUnavailableError
    assert PROMPT.startswith(stream.text)


def test_trap_12_a_document_in_place_of_a_stream_is_not_called_a_broken_frame(bedrock):
    bedrock.faults.add("json_stream")
    error = bedrock.client().read(PROMPT).error
    assert type(error) is ServiceUnavailableError
    assert "application/json in place of a stream" in error.message


def test_trap_13_bodies_of_invoke_model_are_parsed_once(bedrock, explicit, monkeypatch):
    # No part of botocore is there that could do it twice; and here it is done once for each answer.
    assert explicit[1] == []
    parsed = []
    decode = __import__("apex_llm_bedrock.answers").answers.decode
    monkeypatch.setattr("apex_llm_bedrock.answers.decode", lambda data: parsed.append(data) or decode(data))
    client = bedrock.client(models=[LLAMA, "amazon.titan-embed-text-v2:0"], options={"invoke": {LLAMA: "llama"}})
    assert client.chat(PROMPT, model=LLAMA).message.text == PROMPT
    assert client.embed(dimensions=256).embeddings
    assert len(parsed) == 2
    assert all(type(data) is bytes and data.startswith(b"{") for data in parsed)


# -- 14, 15: time limits, and who checks -------------------------------------------------------------------------------


def test_trap_14_streams_have_no_limit_in_total(bedrock, monkeypatch):
    timeouts = []
    made = aiohttp.ClientSession.__init__

    def init(self, *arguments, timeout, **more):
        timeouts.append(timeout)
        made(self, *arguments, timeout=timeout, **more)

    monkeypatch.setattr("aiohttp.ClientSession.__init__", init)
    prompt = "A long text. " * 120
    bedrock.faults.add("slow_stream")
    started = time.monotonic()
    # What is limited is silence: all together takes longer than the limit.
    stream = bedrock.client().stream(prompt, timeout=0.3)
    assert time.monotonic() - started > 0.3
    assert stream.text == prompt
    [timeout] = timeouts
    assert timeout == aiohttp.ClientTimeout(total=None, connect=None, sock_connect=None, sock_read=None)


def test_trap_14_silence_ends_a_stream(bedrock):
    bedrock.faults.add("stall")
    stream = bedrock.client().read(PROMPT, timeout=0.05)
    assert type(stream.error).__name__ == "LLMTimeoutError"


def another_path(url, headers, body):
    return url.replace("%3A", ":"), headers, body


def another_header(url, headers, body):
    return url, {**headers, "Accept": "*/*"}, body


def another_body(url, headers, body):
    return url, headers, body.replace(b"Hello", b"Hullo")


def another_date(url, headers, body):
    return url, {**headers, "X-Amz-Date": headers["X-Amz-Date"][:-3] + "99Z"}, body


@pytest.mark.parametrize("change", [another_path, another_header, another_body, another_date])
def test_trap_15_the_emulator_verifies_what_is_on_the_wire(bedrock, recording, change):
    client = bedrock.client(settings={"http": recording(Recording, change)})
    error = refused(AuthenticationError, client.chat, PROMPT)
    assert error.details["code"] in {"InvalidSignatureException", "IncompleteSignatureException"}
    assert len(bedrock.journal) == 1


def test_trap_15_wrong_secrets_are_refused(bedrock):
    wrong = {
        "type": "iam",
        "credentials": {"access_key_id": bedrock.emulator.access_key_id, "secret_access_key": "env:WRONG_KEY"},
    }
    error = refused(AuthenticationError, bedrock.client(auth=wrong).chat)
    assert error.details["code"] == "InvalidSignatureException"
    unknown = {"type": "iam", "credentials": {"access_key_id": "AKIDNOBODY", "secret_access_key": "env:WRONG_KEY"}}
    error = refused(AuthenticationError, bedrock.client(auth=unknown).chat)
    assert error.details["code"] == "UnrecognizedClientException"


def test_trap_15_the_signature_is_that_of_botocore(bedrock, recording):
    http = recording()
    client = bedrock.client(models=[PROFILE], settings={"http": http})
    client.chat(PROMPT, model=PROFILE)
    client.health()
    keys = Credentials(bedrock.emulator.access_key_id, bedrock.emulator.secret_access_key)
    assert {sent.method for sent in http.sent} == {"POST", "GET"}
    for sent in http.sent:
        given = {name: value for name, value in sent.headers.items() if name not in ("Authorization", "X-Amz-Date")}
        request = AWSRequest(sent.method, sent.url, headers=given, data=sent.body or b"")
        request.context["timestamp"] = sent.headers["X-Amz-Date"]
        theirs = SigV4Auth(keys, "bedrock", bedrock.emulator.region)
        request.headers["X-Amz-Date"] = sent.headers["X-Amz-Date"]
        canonical = theirs.canonical_request(request)
        signature = theirs.signature(theirs.string_to_sign(request, canonical), request)
        assert sent.headers["Authorization"].endswith(f"Signature={signature}")


def test_every_trap_has_its_test():
    names = [name for name, value in globals().items() if name.startswith("test_trap_") and callable(value)]
    numbers = {int(re.fullmatch(r"test_trap_(\d\d)_\w+", name)[1]) for name in names}
    assert sorted(numbers) == list(TRAPS) == list(range(1, 16))


def test_botocore_itself_still_does_not_read_aws_region(machine):
    machine.set("AWS_REGION", "eu-west-1")
    assert Session().get_config_variable("region") is None
