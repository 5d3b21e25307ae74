"""Who the Bedrock emulator lets in, and what it says to the others."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from urllib.parse import quote

import pytest
from apex_llm_mock.emulation.answers import RefusedError
from apex_llm_mock.emulation.aws_identity.keybook import KeyBook
from apex_llm_mock.emulation.bedrock import sigv4
from apex_llm_mock.emulation.bedrock.access import Access
from apex_llm_mock.emulation.bedrock.sigv4 import WireRequest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from hypothesis import given
from hypothesis import strategies as st

ARN = "arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/chatsupport1"
HOST = "bedrock-runtime.us-east-1.amazonaws.com"
ID, SECRET = "AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"


class Door:
    """Signs requests with botocore, and knocks."""

    def __init__(self):
        self.now = datetime.now(UTC).timestamp()
        self.keys = KeyBook(wall=lambda: self.now)
        self.keys.add(ID, SECRET)
        self.access = Access(region="us-east-1", api_key="the-key", keys=self.keys, wall=lambda: self.now)

    def signed(
        self,
        target,
        *,
        body=b"{}",
        headers=None,
        key=ID,
        secret=SECRET,
        token=None,
        region="us-east-1",
        service="bedrock",
    ):
        """Return the request as it would come over the wire."""
        url = f"https://{HOST}{target}"
        request = AWSRequest("POST", url, data=body, headers={"content-type": "application/json", **(headers or {})})
        SigV4Auth(Credentials(key, secret, token), service, region).add_auth(request)
        path, _, query = target.partition("?")
        wire = [("Host", HOST), ("User-Agent", "test"), *request.headers.items()]
        return WireRequest(method="POST", path=path, query=query, headers=wire, body=body)

    def refusal(self, request):
        """Return status, code and document of the refusal."""
        with pytest.raises(RefusedError) as caught:
            self.access.check(request)
        answer = caught.value.answer
        return answer.status, answer.headers.get("x-amzn-errortype", "").partition(":")[0], json.loads(answer.body)


@pytest.fixture
def door():
    return Door()


def changed(request, **headers):
    """Return *request* with other headers; None takes one away."""
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    kept = [(name, value) for name, value in request.headers if name.lower() not in names]
    added = [(name, value) for name, value in names.items() if value is not None]
    return WireRequest(
        method=request.method, path=request.path, query=request.query, headers=[*kept, *added], body=request.body
    )


def test_the_signature_of_the_published_example():
    # "get-vanilla" of the test suite that AWS publishes.
    request = WireRequest(
        method="GET",
        path="/",
        query="",
        headers=[("Host", "example.amazonaws.com"), ("X-Amz-Date", "20150830T123600Z")],
        body=b"",
    )
    scope = "20150830/us-east-1/service/aws4_request"
    claimed = sigv4.parse_authorization(
        f"AWS4-HMAC-SHA256 Credential={ID}/{scope}, SignedHeaders=host;x-amz-date, "
        "Signature=5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"
    )
    canonical = sigv4.canonical_request(request, claimed.signed_headers)
    text = sigv4.string_to_sign(canonical, time="20150830T123600Z", scope=claimed.scope)
    assert sigv4.signature(SECRET, claimed, text) == claimed.signature


@pytest.mark.parametrize("model", ["amazon.nova-lite-v1:0", ARN, "us.anthropic.claude-sonnet-4-20250514-v1:0"])
def test_ids_with_colons_and_slashes_escaped_once(door, model):
    door.access.check(door.signed(f"/model/{quote(model, safe='')}/converse"))


def test_an_id_whose_escapes_were_undone_on_the_way(door):
    request = door.signed(f"/model/{quote(ARN, safe='')}/converse")
    undone = WireRequest(
        method="POST", path=request.path.replace("%3A", ":"), query="", headers=request.headers, body=request.body
    )
    status, code, document = door.refusal(undone)
    assert (status, code) == (403, "InvalidSignatureException")
    assert document["message"].startswith("The request signature we calculated does not match")
    # What was signed had the escapes escaped once more.
    assert "The Canonical String for this request should have been" in document["message"]
    assert "POST\n/model/arn%3Aaws%3Abedrock" in document["message"]


def test_a_body_that_was_changed_on_the_way(door):
    request = door.signed("/model/a/converse", body=b'{"a": 1}')
    other = WireRequest(method="POST", path=request.path, query="", headers=request.headers, body=b'{"a":1}')
    assert door.refusal(other)[:2] == (403, "InvalidSignatureException")


def test_headers_that_were_signed_and_changed(door):
    request = door.signed("/model/a/converse", headers={"accept": "application/json"})
    assert door.refusal(changed(request, accept="*/*"))[1] == "InvalidSignatureException"
    door.access.check(changed(request, user_agent="another"))


def test_session_tokens(door):
    key = door.keys.issue(lifetime=600.0)
    signed = {"key": key.access_key_id, "secret": key.secret_access_key}
    door.access.check(door.signed("/", token=key.session_token, **signed))
    invalid = (
        403,
        "UnrecognizedClientException",
        {"message": "The security token included in the request is invalid."},
    )
    assert door.refusal(door.signed("/", token="another", **signed)) == invalid
    assert door.refusal(door.signed("/", **signed)) == invalid
    late = door.signed("/", token=key.session_token, **signed)
    door.now += 600
    late = changed(late, x_amz_date=sigv4.format_time(datetime.fromtimestamp(door.now, UTC)))
    expired = (403, "ExpiredTokenException", {"message": "The security token included in the request is expired"})
    assert door.refusal(late) == expired


def test_keys_that_nobody_knows_or_that_were_revoked(door):
    assert door.refusal(door.signed("/", key="AKIDNOBODY"))[:2] == (403, "UnrecognizedClientException")
    door.keys.revoke_all()
    assert door.refusal(door.signed("/"))[:2] == (403, "UnrecognizedClientException")


def test_a_wrong_secret(door):
    assert door.refusal(door.signed("/", secret="wrong"))[:2] == (403, "InvalidSignatureException")


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"region": "eu-west-1"}, "Credential should be scoped to a valid region."),
        ({"service": "bedrock-runtime"}, "Credential should be scoped to correct service: 'bedrock'."),
    ],
)
def test_a_scope_that_is_not_ours(door, wrong, message):
    assert door.refusal(door.signed("/", **wrong)) == (403, "InvalidSignatureException", {"message": message})


@pytest.mark.parametrize(("seconds", "words"), [(400, "Signature expired: "), (-400, "Signature not yet current: ")])
def test_clocks_that_disagree(door, seconds, words):
    request = door.signed("/")
    door.now += seconds
    status, code, document = door.refusal(request)
    assert (status, code) == (403, "InvalidSignatureException")
    assert document["message"].startswith(words)
    assert "5 min.)" in document["message"]


@pytest.mark.parametrize("seconds", [290, -290])
def test_clocks_that_disagree_a_little(door, seconds):
    request = door.signed("/")
    door.now += seconds
    door.access.check(request)


def test_a_scope_of_another_day(door):
    request = door.signed("/")
    value = dict(request.headers)["Authorization"]
    day = value.split("/")[1]
    status, code, document = door.refusal(changed(request, authorization=value.replace(day, "20200101")))
    assert (status, code) == (403, "InvalidSignatureException")
    assert document["message"].startswith("Date in Credential scope does not match")


def test_headers_that_must_be_signed(door):
    request = door.signed("/", headers={"x-amz-meaning": "1"})
    value = dict(request.headers)["Authorization"]
    without_host = changed(request, authorization=value.replace("host;", ""))
    assert "'Host' or ':authority' must be a 'SignedHeader'" in door.refusal(without_host)[2]["message"]
    unsigned = changed(request, authorization=value.replace(";x-amz-meaning", ""))
    assert "'x-amz-meaning' must be a 'SignedHeader'" in door.refusal(unsigned)[2]["message"]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("AWS4-HMAC-SHA256 Credential=a/b", "'Signature' parameter. Authorization header requires 'SignedHeaders'"),
        ("AWS4-HMAC-SHA256 Credential=a/b, SignedHeaders=host, Signature=1", "at least 5 slash-delimited elements"),
        ("AWS4-HMAC-SHA1 x", "Unsupported AWS 'algorithm': 'AWS4-HMAC-SHA1'."),
    ],
)
def test_half_an_authorization(door, value, message):
    status, code, document = door.refusal(changed(door.signed("/"), authorization=value))
    assert (status, code) == (400, "IncompleteSignatureException")
    assert message in document["message"]


@pytest.mark.parametrize("value", [None, "yesterday"])
def test_no_date(door, value):
    assert door.refusal(changed(door.signed("/"), x_amz_date=value))[:2] == (400, "IncompleteSignatureException")


def test_no_credentials_at_all(door):
    expected = (403, "MissingAuthenticationTokenException", {"message": "Missing Authentication Token"})
    assert door.refusal(changed(door.signed("/"), authorization=None)) == expected


def test_bearers(door):
    door.access.check(changed(door.signed("/"), authorization="Bearer the-key"))
    status, code, document = door.refusal(changed(door.signed("/"), authorization="Bearer another"))
    assert (status, code) == (403, "")
    assert document == {"Message": "Authentication failed: Please make sure your API Key is valid."}


SEGMENTS = st.lists(
    st.sampled_from(["", ".", "..", "model", "a%3Ab", "a%2Fb", "a%252Fb", "a%20b", "%C3%BC", "~x", "a+b"]), max_size=6
)
VALUES = st.text(alphabet="ab \t,;=%ü", max_size=8).map(lambda text: "x" + text.strip())
PAIRS = st.lists(st.tuples(st.sampled_from(["a", "b", "type", "next%2BToken"]), st.sampled_from(["", "1", "a%2Fb%3D"])))


@given(segments=SEGMENTS, value=VALUES, pairs=PAIRS, body=st.binary(max_size=64))
def test_whatever_botocore_signs_is_right(segments, value, pairs, body):
    door = Door()
    query = "&".join(f"{name}={text}" for name, text in pairs)
    target = "/" + "/".join(segments) + (f"?{query}" if query else "")
    if target.startswith("//"):
        target = "/x" + target
    door.access.check(door.signed(target, body=body, headers={"x-amz-anything": value}))
