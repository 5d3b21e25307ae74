from __future__ import annotations

import datetime as dt
import subprocess
import sys
from hashlib import sha256

import pytest
from apex_llm_bedrock.signing import UNSIGNED_HEADERS, BearerSignature, SigV4Signature, canonical_path, canonical_query
from botocore import auth as botocore_auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from hypothesis import given, settings
from hypothesis import strategies as st

from apex_llm_core.redaction import Secret

HOST = "bedrock-runtime.us-east-1.amazonaws.com"
NOON = 1_767_268_800.0
DAY = 86_400.0
HEADERS = {"Content-Type": "application/json", "Accept": "application/json"}

segments = st.sampled_from(
    [
        "model",
        "a",
        "converse",
        "%3A",
        "%2F",
        "%25",
        "%253A",
        "..",
        ".",
        "",
        "a%3A0",
        "amazon.nova-lite-v1%3A0",
        "~",
        "x-_y",
    ]
)
paths = st.builds(lambda parts: "/" + "/".join(parts), st.lists(segments, max_size=6))
words = st.text(alphabet="abzAZ019-_.~%+*", max_size=6)
queries = st.lists(st.one_of(words, st.tuples(words, words).map("=".join)), max_size=4).map("&".join)
names = st.sampled_from(
    [
        "Content-Type",
        "Accept",
        "X-Amzn-Bedrock-Trace",
        "User-Agent",
        "x-amzn-trace-id",
        "Traceparent",
        "X-Custom",
        "A",
        "Zz",
    ]
)
values = st.text(alphabet="ab \t/;=,ä", max_size=12)
headers = st.dictionaries(names, values, max_size=6)
tokens = st.sampled_from(["", "IQoJb3JpZ2luX2Vj+/=="])
regions = st.sampled_from(["us-east-1", "eu-central-1", "us-gov-west-1"])
times = st.floats(min_value=0, max_value=4e9)


def by_botocore(method, path, query, given_headers, body, *, region, now, token="", host=HOST):
    """Return the headers that botocore sends, signed at *now*."""
    request = AWSRequest(
        method=method, url=f"https://{host}{path}{'?' if query else ''}{query}", headers=given_headers, data=body
    )
    patch = pytest.MonkeyPatch()
    with patch.context() as at:
        at.setattr(botocore_auth, "get_current_datetime", lambda: dt.datetime.fromtimestamp(int(now), dt.UTC))
        botocore_auth.SigV4Auth(Credentials("AKID", "secret", token or None), "bedrock", region).add_auth(request)
    return dict(request.headers.items())


def sign(signature, *, path="/model/m/converse", region="us-east-1", now=NOON, body=b"{}", given=HEADERS, payload=None):
    return signature.headers("POST", HOST, path, "", given, payload, body, region=region, now=now)


def make(token=""):
    return SigV4Signature("AKID", Secret("secret"), Secret(token) if token else None)


class TestParity:
    @given(
        method=st.sampled_from(["POST", "GET", "post"]),
        path=paths,
        query=queries,
        given_headers=headers,
        body=st.binary(max_size=40),
        token=tokens,
        region=regions,
        now=times,
    )
    @settings(deadline=None, max_examples=300)
    def test_with_botocore(self, method, path, query, given_headers, body, token, region, now):
        ours = make(token).headers(method, HOST, path, query, given_headers, None, body, region=region, now=now)
        assert ours == by_botocore(method, path, query, given_headers, body, region=region, now=now, token=token)

    @given(requests=st.lists(st.tuples(paths, headers, regions, times), min_size=2, max_size=6), token=tokens)
    @settings(deadline=None, max_examples=60)
    def test_with_botocore_when_one_signature_makes_many(self, requests, token):
        signature = make(token)
        for path, given_headers, region, now in requests:
            ours = signature.headers("POST", HOST, path, "", given_headers, None, b"x", region=region, now=now)
            assert ours == by_botocore("POST", path, "", given_headers, b"x", region=region, now=now, token=token)

    @given(host=st.sampled_from(["localhost:8080", "[::1]:9", "vpce-1.bedrock-runtime.us-east-1.vpce.amazonaws.com"]))
    @settings(deadline=None)
    def test_with_botocore_at_other_hosts(self, host):
        ours = make().headers("GET", host, "/foundation-models", "", {}, None, b"", region="us-east-1", now=NOON)
        assert ours == by_botocore("GET", "/foundation-models", "", {}, b"", region="us-east-1", now=NOON, host=host)

    def test_with_botocore_for_an_arn_and_a_colon(self):
        arn = "arn%3Aaws%3Abedrock%3Aus-east-1%3A123456789012%3Ainference-profile%2Fus.amazon.nova-lite-v1%3A0"
        path = f"/model/{arn}/converse"
        assert canonical_path(path).count("%253A") == 6
        assert "%252F" in canonical_path(path)
        ours = sign(make(), path=path)
        assert ours == by_botocore("POST", path, "", HEADERS, b"{}", region="us-east-1", now=NOON)

    def test_lists_the_same_unsigned_headers_as_botocore(self):
        assert frozenset(botocore_auth.SIGNED_HEADERS_BLACKLIST) == UNSIGNED_HEADERS


class TestKey:
    def test_is_derived_once_per_day_and_region(self, monkeypatch):
        signature = make()
        derived = []
        derive = SigV4Signature._derive
        monkeypatch.setattr(
            SigV4Signature,
            "_derive",
            lambda self, date, region: derived.append((date, region)) or derive(self, date, region),
        )
        for now in (NOON, NOON + 1, NOON + DAY, NOON, NOON + DAY):
            for region in ("us-east-1", "eu-west-1"):
                sign(signature, now=now, region=region)
        assert len(derived) == len(set(derived)) == 4

    @pytest.mark.parametrize("region", ["us-east-1", "eu-west-1"])
    def test_changes_at_midnight(self, region):
        signature = make("token")
        midnight = NOON - NOON % DAY + DAY
        for now in (midnight - 1, midnight - 0.001, midnight, midnight + 1, midnight - 1):
            ours = sign(signature, now=now, region=region)
            assert ours == by_botocore(
                "POST", "/model/m/converse", "", HEADERS, b"{}", region=region, now=now, token="token"
            )

    def test_keeps_few_of_many_days(self):
        signature = make()
        for day in range(500):
            sign(signature, now=NOON + day * DAY)
        assert len(signature._scopes) < 100


class TestHeaders:
    def test_of_an_earlier_attempt_are_replaced(self):
        signature = make("token")
        first = sign(signature)
        again = sign(signature, given=first, now=NOON + 60)
        assert again == sign(signature, now=NOON + 60)
        assert again["X-Amz-Date"] != first["X-Amz-Date"]

    def test_are_not_changed_in_place(self):
        given = dict(HEADERS)
        sign(make("token"), given=given)
        assert given == HEADERS

    def test_with_equal_names_but_for_their_case_are_signed_as_one(self):
        ours = sign(make(), given={"X-A": "1", "x-a": "2"})
        assert ours == by_botocore(
            "POST", "/model/m/converse", "", {"X-A": "1", "x-a": "2"}, b"{}", region="us-east-1", now=NOON
        )

    def test_host_given_by_the_caller_is_the_one_that_is_signed(self):
        signature = make()
        ours = signature.headers("GET", "ignored", "/", "", {"Host": HOST}, None, b"", region="us-east-1", now=NOON)
        theirs = signature.headers("GET", HOST, "/", "", {}, None, b"", region="us-east-1", now=NOON)
        assert ours["Authorization"] == theirs["Authorization"]

    def test_take_the_hash_of_the_body_from_the_caller(self):
        digest = sha256(b"large").hexdigest()
        assert sign(make(), body=b"large", payload=digest) == sign(make(), body=b"large")
        assert sign(make(), body=b"", payload=digest) == sign(make(), body=b"large")

    def test_of_a_bearer_token_sign_nothing(self):
        signature = BearerSignature(Secret("api-key"))
        sent = sign(signature, given={**HEADERS, "authorization": "old", "X-Amz-Date": "old"})
        assert sent == {**HEADERS, "Authorization": "Bearer api-key"}


class TestQuery:
    @pytest.mark.parametrize(
        ("query", "canonical"),
        [("", ""), ("b=2&a=1", "a=1&b=2"), ("a", "a="), ("a=2&a=1", "a=1&a=2"), ("a=b=c", "a=b=c")],
    )
    def test_is_sorted(self, query, canonical):
        assert canonical_query(query) == canonical


class TestSecrets:
    def test_are_not_shown(self):
        for signature in (
            SigV4Signature("AKID", Secret("hidden"), Secret("hidden")),
            BearerSignature(Secret("hidden")),
        ):
            sign(signature)
            assert "hidden" not in f"{signature!r} {signature}"
        assert "key" not in repr(make()._derive("20260101", "us-east-1"))

    def test_are_logged_nowhere(self, caplog):
        with caplog.at_level(0):
            sign(make("token"))
        assert not caplog.records


def test_signing_imports_no_botocore():
    script = "import sys; import apex_llm_bedrock.signing; assert 'botocore' not in sys.modules"
    done = subprocess.run([sys.executable, "-W", "error", "-c", script], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
