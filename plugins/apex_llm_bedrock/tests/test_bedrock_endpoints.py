from __future__ import annotations

import itertools
import subprocess
import sys

import botocore.session
import pytest
from apex_llm_bedrock.endpoints import Endpoints, check_endpoint, check_region
from botocore.config import Config
from botocore.endpoint_provider import EndpointProvider
from botocore.loaders import Loader
from hypothesis import example, given, settings
from hypothesis import strategies as st

PARTITIONS = Loader().load_data("partitions")["partitions"]
REGIONS = sorted(
    region for partition in PARTITIONS for region in partition["regions"] if not region.endswith("-global")
)
SERVICES = ("bedrock-runtime", "bedrock")
FLAGS = tuple(itertools.product((False, True), repeat=2))


@pytest.fixture(scope="module")
def rules():
    loader = Loader()
    partitions = loader.load_data("partitions")
    return {
        service: EndpointProvider(loader.load_service_model(service, "endpoint-rule-set-1"), partitions)
        for service in SERVICES
    }


def test_trap_10_there_are_regions_of_several_partitions_to_try():
    assert len(PARTITIONS) >= 5
    assert {"us-east-1", "cn-north-1", "us-gov-west-1", "eusc-de-east-1"} <= set(REGIONS)


@pytest.mark.parametrize("service", SERVICES)
@pytest.mark.parametrize(("use_fips", "use_dualstack"), FLAGS)
def test_trap_10_every_region_is_resolved_as_botocore_does(rules, service, use_fips, use_dualstack):
    endpoints = Endpoints(use_fips=use_fips, use_dualstack=use_dualstack)

    for region in REGIONS:
        expected = rules[service].resolve_endpoint(Region=region, UseFIPS=use_fips, UseDualStack=use_dualstack).url
        assert endpoints.resolve(service, region) == expected


@pytest.mark.parametrize(("use_fips", "use_dualstack"), FLAGS)
def test_trap_10_real_client_calls_the_same_address(monkeypatch, tmp_path, use_fips, use_dualstack):
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "none"))
    for name in ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_BEDROCK_RUNTIME", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    client = botocore.session.Session().create_client(
        "bedrock-runtime",
        region_name="eu-west-1",
        aws_access_key_id="AKIDEXAMPLE",
        aws_secret_access_key="secret",
        config=Config(use_fips_endpoint=use_fips, use_dualstack_endpoint=use_dualstack),
    )

    endpoints = Endpoints(use_fips=use_fips, use_dualstack=use_dualstack)

    assert endpoints.resolve("bedrock-runtime", "eu-west-1") == client.meta.endpoint_url


@pytest.mark.parametrize(
    ("service", "region", "flags", "url"),
    [
        ("bedrock-runtime", "us-east-1", {}, "https://bedrock-runtime.us-east-1.amazonaws.com"),
        ("bedrock", "us-east-1", {}, "https://bedrock.us-east-1.amazonaws.com"),
        ("bedrock-runtime", "us-east-1", {"use_fips": True}, "https://bedrock-runtime-fips.us-east-1.amazonaws.com"),
        ("bedrock-runtime", "us-east-1", {"use_dualstack": True}, "https://bedrock-runtime.us-east-1.api.aws"),
        (
            "bedrock-runtime",
            "us-east-1",
            {"use_fips": True, "use_dualstack": True},
            "https://bedrock-runtime-fips.us-east-1.api.aws",
        ),
        ("bedrock-runtime", "cn-north-1", {}, "https://bedrock-runtime.cn-north-1.amazonaws.com.cn"),
        ("bedrock-runtime", "eusc-de-east-1", {}, "https://bedrock-runtime.eusc-de-east-1.amazonaws.eu"),
    ],
)
def test_addresses_are_those_of_the_documentation(service, region, flags, url):
    assert Endpoints(**flags).resolve(service, region) == url


def test_region_that_botocore_does_not_know_yet_is_taken_for_a_new_one():
    assert Endpoints().resolve("bedrock", "eu-south-9") == "https://bedrock.eu-south-9.amazonaws.com"


def test_what_was_resolved_is_known_from_then_on():
    endpoints = Endpoints()

    assert endpoints.known("bedrock-runtime", "us-west-2") is None
    url = endpoints.resolve("bedrock-runtime", "us-west-2")
    assert endpoints.known("bedrock-runtime", "us-west-2") is url
    assert endpoints.resolve("bedrock-runtime", "us-west-2") is url
    assert endpoints.known("bedrock", "us-west-2") is None


def test_rules_are_read_once_for_all_regions(monkeypatch):
    read = []
    load = Loader.load_service_model
    monkeypatch.setattr(Loader, "load_service_model", lambda *words: read.append(words[1]) or load(*words))
    endpoints = Endpoints()

    for region in REGIONS[:5]:
        endpoints.resolve("bedrock-runtime", region)

    assert read == ["bedrock-runtime"]


def test_custom_endpoint_wins_in_every_region_for_the_runtime_alone():
    endpoints = Endpoints(endpoint="http://127.0.0.1:8000/aws")

    assert endpoints.resolve("bedrock-runtime", "us-east-1") == "http://127.0.0.1:8000/aws"
    assert endpoints.resolve("bedrock-runtime", "eu-west-1") == "http://127.0.0.1:8000/aws"
    assert endpoints.resolve("bedrock", "us-east-1") == "https://bedrock.us-east-1.amazonaws.com"


def test_control_endpoint_of_its_own_leaves_the_other_alone():
    endpoints = Endpoints(control_endpoint="https://control.example")

    assert endpoints.resolve("bedrock", "us-east-1") == "https://control.example"
    assert endpoints.resolve("bedrock-runtime", "us-east-1") == "https://bedrock-runtime.us-east-1.amazonaws.com"


@pytest.mark.parametrize(
    ("flags", "named"),
    [
        ({"use_fips": True}, "use_fips only"),
        ({"use_dualstack": True}, "use_dualstack only"),
        ({"use_fips": True, "use_dualstack": True}, "use_fips and use_dualstack only"),
    ],
)
def test_trap_10_custom_endpoint_with_fips_or_dual_stack_is_refused(flags, named):
    endpoints = Endpoints(endpoint="https://gw.example", **flags)

    with pytest.raises(ValueError, match=rf"{named} chooses among AWS's own endpoints.*https://gw\.example"):
        endpoints.resolve("bedrock-runtime", "us-east-1")


def test_partition_without_such_an_endpoint_is_told_with_what_to_leave_out(monkeypatch):
    load = Loader.load_data

    def poorer(self, name):
        data = load(self, name)
        for partition in data.get("partitions", ()):
            partition["outputs"]["supportsDualStack"] = False
        return data

    monkeypatch.setattr(Loader, "load_data", poorer)

    with pytest.raises(
        ValueError, match=r"no endpoint of bedrock in us-east-1 with use_dualstack.*or leave out use_dualstack"
    ):
        Endpoints(use_dualstack=True).resolve("bedrock", "us-east-1")


def test_region_is_checked_before_anything_is_asked_there():
    with pytest.raises(ValueError, match="did you mean 'us-east-1'"):
        Endpoints(endpoint="https://gw.example").resolve("bedrock-runtime", "us-east")


def test_importing_reads_nothing_of_botocore():
    script = "import sys, apex_llm_bedrock.endpoints; sys.exit('botocore' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


@pytest.mark.parametrize("region", REGIONS)
def test_every_region_of_aws_is_one(region):
    assert check_region(region) == region


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "the region is empty"),
        ("  ", "the region is empty"),
        ("us-east", "did you mean 'us-east-1'?"),
        ("eu-west", "did you mean 'eu-west-1'?"),
        ("us-east-1a", "is an availability zone; write its region 'us-east-1'"),
        ("US-EAST-1", "did you mean 'us-east-1'?"),
        (" us-east-1", "did you mean 'us-east-1'?"),
        ("us_east_1", "did you mean 'us-east-1'?"),
        ("us-est-1", "is no region; did you mean"),
        ("useast1", "did you mean 'us-east-1'?"),
        ("eu-cental-1", "did you mean 'eu-central-1'?"),
        ("aws-global", "is no region"),
        ("global", "is no region"),
        ("us-east-1/../x", "is no region"),
        ("us-east-1.evil.example", "is no region"),
        ("x" * 5_000, "is no region"),
    ],
)
def test_what_is_no_region_is_refused_with_the_nearest(text, complaint):
    with pytest.raises(ValueError, match=r".") as caught:
        check_region(text)

    assert complaint in str(caught.value)
    assert len(str(caught.value)) < 400


@given(st.text(max_size=30) | st.from_regex(r"[a-z]{2}-[a-z]{4,9}-\d[a-z]?", fullmatch=True))
def test_any_text_is_a_region_for_a_host_name_or_refused(text):
    try:
        region = check_region(text)
    except ValueError:
        return
    assert region == text
    assert region.replace("-", "").isalnum()
    assert region.isascii()


@pytest.mark.parametrize(
    ("text", "base"),
    [
        ("https://bedrock-runtime.us-east-1.amazonaws.com", "https://bedrock-runtime.us-east-1.amazonaws.com"),
        ("https://Gateway.Example/", "https://gateway.example"),
        ("HTTPS://gateway.example:443", "https://gateway.example"),
        ("http://127.0.0.1:80", "http://127.0.0.1"),
        ("http://127.0.0.1:8000", "http://127.0.0.1:8000"),
        ("https://gateway.example/team/bedrock/", "https://gateway.example/team/bedrock"),
        ("https://gateway.example//team", "https://gateway.example/team"),
        ("https://gateway.example/t%C3%A9am x".replace(" ", "%20"), "https://gateway.example/t%C3%A9am%20x"),
        ("http://[::1]:8000/", "http://[::1]:8000"),
        ("https://[2001:DB8:0:0::1]", "https://[2001:db8::1]"),
        ("https://bücher.example", "https://xn--bcher-kva.example"),
        ("  https://gateway.example  ", "https://gateway.example"),
    ],
)
def test_endpoint_is_normalised_and_its_prefix_kept(text, base):
    assert check_endpoint(text) == base
    assert check_endpoint(base) == base


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "is empty"),
        ("gateway.example", "does not begin with https://"),
        ("localhost:8000", "does not begin with https://"),
        ("ftp://gateway.example", "does not begin with https://"),
        ("https:/gateway.example", "does not begin with https://"),
        ("https://", "no valid host"),
        ("https://gate way.example", "a space, a backslash or a control character"),
        ("https://gateway.example\\@evil.example", "a space, a backslash or a control character"),
        ("https://user:hunter2@gateway.example", "a user name or a password"),
        ("https://gateway.example?key=hunter2", "a query"),
        ("https://gateway.example/?", "a query"),
        ("https://gateway.example#hunter2", "a fragment"),
        ("https://-x.example", "no valid host"),
        ("https://x..example", "no valid host"),
        ("https://host:port", "cannot be read"),
        ("https://user:hunter2@[::1", "cannot be read"),
        ("https://[fe80::1%25eth0]", "zone"),
        ("https://gateway.example/a/../b", "'.', '..'"),
        ("https://gateway.example/%2e%2e", "'.', '..'"),
        ("https://gateway.example/%ff", "not UTF-8"),
        ("https://gateway.example/%0A", "escaped control character"),
        ("https://bedrock-runtime.us-east-1.amazonaws.com/model/x/converse", "up to what stands before '/model'"),
        ("https://" + "x" * 3_000, "more than 2048"),
    ],
)
def test_what_cannot_be_a_base_url_is_refused_with_advice(text, complaint):
    with pytest.raises(ValueError, match=r".") as caught:
        check_endpoint(text)

    assert complaint in str(caught.value)
    assert "hunter2" not in str(caught.value)
    assert caught.value.__context__ is None or caught.value.__suppress_context__


@given(st.text(max_size=60) | st.builds("https://{}".format, st.text(max_size=40)))
@example("https://[v1.x]")
@example("https://" + "ß." * 60)
@settings(deadline=None)
def test_any_text_is_an_endpoint_or_refused(text):
    try:
        base = check_endpoint(text)
    except ValueError:
        return
    assert check_endpoint(base) == base
    assert base.isascii()
    assert not base.endswith("/")
