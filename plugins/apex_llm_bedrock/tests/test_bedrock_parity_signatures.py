"""Whole requests as they arrive: what they are signed with is what botocore would have signed them with.

boto3 sends and signs headers that we do not send (``amz-sdk-invocation-id``, ``amz-sdk-request``), so that two signatures of
the same call differ. They are compared crosswise: botocore's signer, given our request as it came over the wire, makes our
signature; and our signer, given boto3's, makes boto3's.
"""

from __future__ import annotations

import datetime as dt
from contextlib import asynccontextmanager, suppress

import pytest
from aiohttp import web
from apex_llm_bedrock.signing import SigV4Signature
from apex_llm_mock.emulation.bedrock.access import Access
from apex_llm_mock.emulation.bedrock.sigv4 import WireRequest
from botocore import auth as botocore_auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from apex_llm_core.models import ImagePart, TextPart
from apex_llm_core.redaction import Secret

pytest.importorskip("boto3")

ACCOUNT = "arn:aws:bedrock:us-east-1:123456789012"
CLAUDE = "us.anthropic.claude-sonnet-4-20250514-v1:0"
FOUNDATION = "arn:aws:bedrock:us-east-1::foundation-model/amazon.nova-lite-v1:0"
#: Ids with all that has to be escaped.
MODELS = {
    "a foundation model": "amazon.nova-lite-v1:0",
    "an inference profile": CLAUDE,
    "the ARN of a foundation model": FOUNDATION,
    "the ARN of an inference profile": f"{ACCOUNT}:inference-profile/{CLAUDE}",
    "an application profile": f"{ACCOUNT}:application-inference-profile/chatsupport1",
    "provisioned throughput": f"{ACCOUNT}:provisioned-model/novapro12345",
    "an imported model": f"{ACCOUNT}:imported-model/ownqwen12345",
    "a deployment": f"{ACCOUNT}:custom-model-deployment/tunednova123",
}
EMBEDDING, IMAGE = "amazon.titan-embed-text-v2:0", "amazon.nova-canvas-v1:0"
UNSIGNED = {"authorization", "user-agent", "connection", "accept-encoding", "content-length"}


@pytest.fixture
def wire(monkeypatch):
    """Every request whose signature the emulator checks, as it came over the wire."""
    requests = []
    check = Access.check

    def noting(self, request):
        requests.append(request)
        check(self, request)

    monkeypatch.setattr(Access, "check", noting)
    return requests


def header(request, name):
    return next((value for each, value in request.headers if each.lower() == name), "")


def parts_of(request):
    """Return the names of the headers that are signed, and the signature."""
    _, signed, signature = header(request, "authorization").split(", ")
    return signed.removeprefix("SignedHeaders=").split(";"), signature.removeprefix("Signature=")


def given(request):
    """Return what was there before it was signed: the headers that are signed, but for those that signing adds."""
    signed, _ = parts_of(request)
    made = {"host", "x-amz-date", "x-amz-security-token"}
    return {name: value for name, value in request.headers if name.lower() in set(signed) - made}


def moment(request):
    return dt.datetime.strptime(header(request, "x-amz-date"), "%Y%m%dT%H%M%SZ").replace(tzinfo=dt.UTC)


def by_botocore(request, key, monkeypatch):
    """Return the ``Authorization`` that botocore gives *request*."""
    query = f"?{request.query}" if request.query else ""
    made = AWSRequest(
        method=request.method,
        url=f"http://{header(request, 'host')}{request.path}{query}",
        headers=given(request),
        data=request.body,
    )
    with monkeypatch.context() as at:
        at.setattr(botocore_auth, "get_current_datetime", lambda: moment(request))
        credentials = Credentials(key.access_key_id, key.secret_access_key, key.session_token or None)
        botocore_auth.SigV4Auth(credentials, "bedrock", "us-east-1").add_auth(made)
    return made.headers["Authorization"]


def by_us(request, key):
    """Return the ``Authorization`` that we give *request*."""
    token = Secret(key.session_token) if key.session_token else None
    return SigV4Signature(key.access_key_id, Secret(key.secret_access_key), token).headers(
        request.method,
        header(request, "host"),
        request.path,
        request.query,
        given(request),
        None,
        request.body,
        region="us-east-1",
        now=moment(request).timestamp(),
    )["Authorization"]


@pytest.fixture(params=["a key of long life", "temporary keys"])
def key(request, bedrock):
    """What both sign with."""
    if request.param == "temporary keys":
        return bedrock.emulator.keys.issue(lifetime=3600.0)
    return bedrock.emulator.keys.find(bedrock.emulator.access_key_id)


@pytest.fixture
def unopened(bedrock, key):
    """Make a client of ours that signs with the key."""

    def unopened(**options):
        credentials = {"access_key_id": key.access_key_id, "secret_access_key": "env:SECRET"}
        if key.session_token:
            credentials["session_token"] = "env:TOKEN"
        environ = {"SECRET": key.secret_access_key, "TOKEN": key.session_token}
        return bedrock.unopened(
            auth={"type": "iam", "credentials": credentials},
            models=[*MODELS.values(), EMBEDDING, IMAGE],
            options=options,
            settings={"environ": environ},
        )

    return unopened


@pytest.fixture
def ours(unopened):
    """Our client, open."""
    with unopened() as client:
        yield client


@pytest.fixture
def theirs(bedrock, key):
    """Make clients of AWS that sign with the key."""
    credentials = {
        "aws_access_key_id": key.access_key_id,
        "aws_secret_access_key": key.secret_access_key,
        "aws_session_token": key.session_token or None,
    }
    return lambda service="bedrock-runtime", **more: bedrock.official(service, **credentials, **more)


def use(client, model):
    """Make a call of every kind."""
    client.chat("Grüß Gott", model=model)
    client.stream("Hello there", model=model)
    client.embed("Hello there")
    client.image(size="320x320")
    client.models()
    client.health()
    if model == CLAUDE:
        client.count(model=model)


@pytest.mark.parametrize("kind", MODELS)
def test_ours_is_what_botocore_would_sign(wire, key, ours, monkeypatch, kind):
    use(ours, MODELS[kind])
    assert len(wire) >= 7
    for request in wire:
        assert header(request, "authorization") == by_botocore(request, key, monkeypatch)
        signed, _ = parts_of(request)
        # All that is sent is signed, but what somebody on the way may change.
        assert set(signed) == {name.lower() for name, _ in request.headers} - UNSIGNED


@pytest.mark.parametrize("kind", MODELS)
def test_what_boto3_signs_is_what_we_would_sign(bedrock, wire, key, ours, theirs, kind):
    said = {"modelId": MODELS[kind], "messages": [{"role": "user", "content": [{"text": "Hello there"}]}]}
    bedrock.blocking(theirs().converse, **said)
    bedrock.blocking(theirs().converse_stream, **said)["stream"].close()
    bedrock.blocking(theirs("bedrock").list_inference_profiles, typeEquals="APPLICATION", maxResults=7)
    assert len(wire) == 3
    for request in wire:
        assert header(request, "authorization") == by_us(request, key)
    # Ours is the same request: method, path and body, and of the headers all that means anything to the service.
    ours.chat("Hello there", model=MODELS[kind])
    one, other = wire[0], wire[-1]
    assert (one.method, one.path, one.query) == (other.method, other.path, other.query)
    both = set(parts_of(one)[0]) ^ set(parts_of(other)[0])
    assert both <= {"accept", "amz-sdk-invocation-id", "amz-sdk-request", "content-length"}


def test_with_the_same_headers_the_signatures_are_the_same(bedrock, wire, key, ours, theirs, monkeypatch):
    ours.chat("Hello there", model=CLAUDE)
    [sent] = wire
    client = theirs()

    def alike(request, **_):
        # The body as we write it, and the headers that we have.
        request.data = sent.body
        for name in list(request.headers):
            del request.headers[name]
        for name, value in given(sent).items():
            request.headers[name] = value

    client.meta.events.register_last("before-sign.bedrock-runtime", alike)
    with monkeypatch.context() as at:
        at.setattr(botocore_auth, "get_current_datetime", lambda: moment(sent))
        said = {"modelId": CLAUDE, "messages": [{"role": "user", "content": [{"text": "Hello there"}]}]}
        # Of the answer nothing counts here.
        with suppress(Exception):
            bedrock.blocking(client.converse, **said)
    assert header(wire[-1], "authorization") == header(sent, "authorization")
    assert wire[-1] is not sent


def test_large_bodies_are_signed_the_same(wire, key, ours, monkeypatch):
    picture = "iVBORw0KGgo" + "A" * 1_000_001
    content = [TextPart(text="What is this?"), ImagePart(data=picture, media_type="image/png")]
    ours.chat([{"role": "user", "content": content}], model="amazon.nova-lite-v1:0")
    [request] = wire
    assert len(request.body) > 1_000_000
    assert header(request, "authorization") == by_botocore(request, key, monkeypatch)


def test_a_retry_is_signed_anew(bedrock, wire, monkeypatch):
    now = moment_of_tests = 1_900_000_000.0
    key = bedrock.emulator.keys.find(bedrock.emulator.access_key_id)

    def later():
        nonlocal now
        now += 1.0
        return now

    monkeypatch.setattr("apex_llm_bedrock.client.time.time", later)
    monkeypatch.setattr(bedrock.emulator._access, "_wall", lambda: moment_of_tests)
    client = bedrock.client(retry_count=1, tables={"retry": {"base": 0.001}})
    bedrock.faults.add("internal_server")
    client.chat()
    first, second = wire
    assert moment(first) < moment(second)
    assert first.body == second.body
    for request in wire:
        assert header(request, "authorization") == by_botocore(request, key, monkeypatch)


# -- paths ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", MODELS)
def test_ids_are_encoded_once(bedrock, wire, ours, kind):
    ours.chat("Hello there", model=MODELS[kind])
    # An application profile was looked up before.
    received = bedrock.journal[-1]
    assert received.deployment == MODELS[kind]
    [_, model, segment, operation] = wire[-1].path.split("/")
    assert (model, operation) == ("model", "converse")
    assert ":" not in segment
    assert segment.count("%3A") == MODELS[kind].count(":")
    assert segment.count("%2F") == MODELS[kind].count("/")


ANSWER = {
    "output": {"message": {"role": "assistant", "content": [{"text": "Hello."}]}},
    "stopReason": "end_turn",
    "usage": {"inputTokens": 1, "outputTokens": 1, "totalTokens": 2},
}


@asynccontextmanager
async def gateway(requests):
    """Give the address of something that answers at every path, and notes what it got."""

    async def answer(request):
        path, _, query = request.raw_path.partition("?")
        headers = [(name.decode(), value.decode()) for name, value in request.raw_headers]
        body = await request.read()
        requests.append(WireRequest(method=request.method, path=path, query=query, headers=headers, body=body))
        return web.json_response(ANSWER)

    application = web.Application()
    application.router.add_route("*", "/{rest:.*}", answer)
    runner = web.AppRunner(application)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        host, port = runner.addresses[0]
        yield f"http://{host}:{port}"
    finally:
        await runner.cleanup()


@pytest.mark.parametrize(
    ("prefix", "path"), [("/bedrock", "/bedrock"), ("/a%20b/ü/", "/a%20b/%C3%BC"), ("//x//", "/x")]
)
@pytest.mark.parametrize("kind", MODELS)
def test_the_path_of_an_endpoint_is_signed_too(bedrock, key, unopened, monkeypatch, kind, prefix, path):
    requests = []

    async def served():
        async with gateway(requests) as url, unopened(endpoint=url + prefix, look_up_profiles=False).opened() as client:
            return await client.manager.generate_chat("Hello there", model=MODELS[kind])

    assert bedrock.run(served()).message.text == "Hello."
    [request] = requests
    assert request.path.startswith(f"{path}/model/")
    assert request.path.endswith("/converse")
    assert header(request, "authorization") == by_botocore(request, key, monkeypatch)
    # A service behind it that gets the path as it is takes the signature.
    bedrock.emulator._access.check(request)
