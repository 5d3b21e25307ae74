from __future__ import annotations

import pytest
from apex_llm_azure.clouds import CHINA, PUBLIC, US_GOVERNMENT
from apex_llm_azure.endpoints import LATEST_DATED, LATEST_PREVIEW, Endpoint, parse_endpoint
from hypothesis import example, given, settings
from hypothesis import strategies as st

from apex_llm_core.errors import ModelNotFoundError

R = "https://r.openai.azure.com"
F = "https://r.services.ai.azure.com"

PASTED = [
    # pasted, base, surface, api-version, deployment
    (R, R, "v1", "", ""),
    (f"{R}/", R, "v1", "", ""),
    (f"  {R}//  ", R, "v1", "", ""),
    ("r.openai.azure.com", R, "v1", "", ""),
    ("//r.openai.azure.com", R, "v1", "", ""),
    ("HTTPS://R.OpenAI.Azure.COM:443/", R, "v1", "", ""),
    ("https://r.openai.azure.com.", R, "v1", "", ""),
    ("https://r.cognitiveservices.azure.com/", "https://r.cognitiveservices.azure.com", "v1", "", ""),
    ("https://eastus.api.cognitive.microsoft.com/", "https://eastus.api.cognitive.microsoft.com", "v1", "", ""),
    (f"{R}/openai", R, "v1", "", ""),
    (f"{R}/openai/", R, "v1", "", ""),
    (f"{R}/openai/v1", R, "v1", "", ""),
    (f"{R}/openai/v1/", R, "v1", "", ""),
    (f"{R}/v1", R, "v1", "", ""),
    (f"{R}/openai/v1/chat/completions", R, "v1", "", ""),
    (f"{R}/openai/v1/images/generations?api-version=preview", R, "v1", "preview", ""),
    (f"{R}/openai/v1?api-version=v1", R, "v1", "v1", ""),
    (f"{R}/openai/v1/anything/new", R, "v1", "", ""),
    (f"{R}?api-version=2024-06-01", R, "dated", "2024-06-01", ""),
    (f"{R}/openai?API-Version=2025-04-01-PREVIEW", R, "dated", "2025-04-01-preview", ""),
    (f"{R}/openai/deployments", R, "dated", LATEST_DATED, ""),
    (f"{R}/openai/deployments/gpt4", R, "dated", LATEST_DATED, "gpt4"),
    (f"{R}/deployments/gpt4", R, "dated", LATEST_DATED, "gpt4"),
    (f"{R}/openai/deployments/gpt4/chat/completions?api-version=2024-02-01", R, "dated", "2024-02-01", "gpt4"),
    (f"{R}/OpenAI/Deployments/GPT4/Chat/Completions?api-version=2024-02-01", R, "dated", "2024-02-01", "GPT4"),
    (f"{R}/openai/deployments/e/embeddings?api-version=2024-02-01", R, "dated", "2024-02-01", "e"),
    (f"{R}/openai/deployments/i/images/edits?api-version={LATEST_PREVIEW}", R, "dated", LATEST_PREVIEW, "i"),
    (f"{R}/openai/deployments/a%20b%2Fc/embeddings", R, "dated", LATEST_DATED, "a b/c"),
    (f"{R}/openai/deployments/openai/chat/completions", R, "dated", LATEST_DATED, "openai"),
    (f"{R}/openai/responses?api-version=2025-04-01-preview", R, "dated", "2025-04-01-preview", ""),
    (f"{R}/openai/models?api-version=2024-10-21", R, "dated", "2024-10-21", ""),
    (F, F, "v1", "", ""),
    (f"{F}/openai/v1/", F, "v1", "", ""),
    (f"{F}/api/projects/p", F, "v1", "", ""),
    (f"{F}/api/projects/p?api-version=2025-05-15-preview", F, "v1", "", ""),
    (f"{F}/api/projects/p/openai/v1/responses?api-version=2025-11-15-preview", F, "v1", "", ""),
    (f"{F}/models", F, "v1", "", ""),
    (f"{F}/models/chat/completions?api-version=2024-05-01-preview", F, "v1", "", ""),
    ("https://gw.example", "https://gw.example", "v1", "", ""),
    ("https://gw.example:8443/team/", "https://gw.example:8443/team", "v1", "", ""),
    ("https://gw.example/team/openai/v1/chat/completions", "https://gw.example/team", "v1", "", ""),
    ("https://gw.example/a/b/openai/deployments/d/embeddings", "https://gw.example/a/b", "dated", LATEST_DATED, "d"),
    ("https://gw.example/openai/openai/v1", "https://gw.example/openai", "v1", "", ""),
    ("https://gw.example/t%C3%A9am%20x/openai", "https://gw.example/t%C3%A9am%20x", "v1", "", ""),
    ("https://apim.azure-api.net/ai/openai?subscription-key=abc", "https://apim.azure-api.net/ai", "v1", "", ""),
    ("https://gw.example/api/projects/p", "https://gw.example/api/projects/p", "v1", "", ""),
    ("http://127.0.0.1:8080", "http://127.0.0.1:8080", "v1", "", ""),
    ("http://localhost:80/openai", "http://localhost", "v1", "", ""),
    ("localhost:8080/openai/v1", "http://localhost:8080", "v1", "", ""),
    ("http://[::1]:8080/openai/v1", "http://[::1]:8080", "v1", "", ""),
    ("https://[2001:DB8:0:0::1]/", "https://[2001:db8::1]", "v1", "", ""),
    ("https://bücher.example/openai", "https://xn--bcher-kva.example", "v1", "", ""),
]


@pytest.mark.parametrize(("pasted", "base", "surface", "api_version", "deployment"), PASTED)
def test_endpoint_pasted_in_any_shape_is_normalised(pasted, base, surface, api_version, deployment):
    endpoint = parse_endpoint(pasted)

    assert (endpoint.base, endpoint.surface, endpoint.api_version, endpoint.deployment) == (
        base,
        surface,
        api_version,
        deployment,
    )


def test_endpoint_with_and_without_openai_deployments_call_the_same_url():
    shapes = (
        f"{R}/openai/deployments/d/chat/completions?api-version=2024-10-21",
        f"{R}/openai/deployments/d?api-version=2024-10-21",
        f"{R}/openai/?api-version=2024-10-21",
        f"{R}?api-version=2024-10-21",
    )

    urls = {parse_endpoint(shape).url("chat/completions", "d") for shape in shapes}

    assert urls == {f"{R}/openai/deployments/d/chat/completions?api-version=2024-10-21"}


REFUSED = [
    ("", "the endpoint is empty"),
    ("   ", "the endpoint is empty"),
    ("https://", "no valid host"),
    ("https:///openai", "no valid host"),
    ("https://r..openai.azure.com", "no valid host"),
    ("https://-r.example", "no valid host"),
    ("https://r%2eexample", "no valid host"),
    ("https://[::1", "cannot be read"),
    ("https://[fe80::1%25eth0]/", "zone"),
    ("https://host:port/", "cannot be read"),
    ("https://host:99999/", "cannot be read"),
    ("ftp://r.openai.azure.com", "'ftp' is none of https and http"),
    ("file:///etc/passwd", "'file' is none of https and http"),
    (f"{R}/#/resource", "fragment"),
    (f"{R}/a b", "a space, a backslash or a control character"),
    ("https://r.example\\@evil.example/", "a space, a backslash or a control character"),
    ("https://r.example/\r\nx: y", "a space, a backslash or a control character"),
    ("https://gw.example/a/../b/openai", "'.', '..'"),
    ("https://gw.example/a/%2e%2E/openai", "'.', '..'"),
    ("https://gw.example/a%0Ab/openai", "escaped control character"),
    ("https://gw.example/%ff/openai", "not UTF-8"),
    ("https://gw.example/openai/team", "what follows '/openai'"),
    (f"{R}/some/page", "none of Azure OpenAI"),
    (f"https://{'x' * 3000}", "more than 2048 characters"),
    ("https://portal.azure.com/#home", "fragment"),
    ("https://ai.azure.com/resource", "web portal"),
    (f"{R}?api-version=2024-10-21&api-version=2024-06-01", "several api-versions"),
    (f"{R}?api-version=2024-13-01", "'2024-13-01' is no api-version"),
    (f"{R}?api-version=latest", "'latest' is no api-version"),
]


@pytest.mark.parametrize(("pasted", "complaint"), REFUSED)
def test_endpoint_that_cannot_be_meant_is_refused_with_advice(pasted, complaint):
    with pytest.raises(ValueError, match=r".") as caught:
        parse_endpoint(pasted)

    assert complaint in str(caught.value)


@pytest.mark.parametrize("pasted", ["https://api.openai.com/v1", "api.openai.com", "https://eu.api.openai.com"])
def test_endpoint_of_openai_itself_is_refused_with_a_hint(pasted):
    with pytest.raises(ValueError, match=r"openai\.com is OpenAI's own API.*https://RESOURCE\.openai\.azure\.com"):
        parse_endpoint(pasted)


SECRET = "c0ffee00c0ffee00c0ffee00c0ffee00"


@pytest.mark.parametrize(
    "pasted",
    [
        f"https://user:{SECRET}@r.openai.azure.com",
        f"https://{SECRET}@r.openai.azure.com",
        f"https://user:{SECRET}@r.openai.azure.com:99999",
        f"https://user:{SECRET}@[::1",
        f"https://u:{SECRET}@r.example℀.com",
        f"{R}?api-version={SECRET}",
        f"{R}?api-version=2024-13-01&api-key={SECRET}",
        f"{R}?subscription-key={SECRET}#x",
        f"{R}/{SECRET}",
        f"https://gw.example/openai/{SECRET}",
        f"https://gw.example/{SECRET}/%ff",
    ],
)
def test_endpoint_refusal_never_repeats_a_pasted_secret(pasted):
    with pytest.raises(ValueError, match=r".") as caught:
        parse_endpoint(pasted)

    assert SECRET not in str(caught.value)
    assert caught.value.__context__ is None or caught.value.__suppress_context__


@pytest.mark.parametrize(
    ("pasted", "surface", "api_version", "expected"),
    [
        (f"{R}/openai/deployments/d?api-version=2024-06-01", "v1", "", ("v1", "")),
        (f"{R}/openai/deployments/d?api-version=2024-06-01", "", "2024-10-21", ("dated", "2024-10-21")),
        (f"{R}/openai/deployments/d?api-version=preview", "dated", "", ("dated", LATEST_DATED)),
        (f"{R}/openai/deployments/d?api-version=preview", "v1", "", ("v1", "preview")),
        (f"{R}/openai/deployments/d", "", "preview", ("v1", "preview")),
        (f"{R}/openai/v1", "dated", "", ("dated", LATEST_DATED)),
        (f"{R}/openai/v1", "", "2025-04-01-preview", ("dated", "2025-04-01-preview")),
        (f"{R}/openai/v1?api-version=2024-10-21", "v1", "", ("v1", "")),
        (R, "dated", "2024-06-01", ("dated", "2024-06-01")),
        (R, " V1 ", " v1 ", ("v1", "v1")),
        (R, "", "2024-06-01", ("dated", "2024-06-01")),
    ],
)
def test_settings_beat_what_was_pasted(pasted, surface, api_version, expected):
    endpoint = parse_endpoint(pasted, surface=surface, api_version=api_version)

    assert (endpoint.surface, endpoint.api_version) == expected


@pytest.mark.parametrize(
    ("pasted", "surface", "api_version"),
    [
        (R, "v1", "2024-10-21"),
        (f"{R}/openai/v1/chat/completions?api-version=2024-10-21", "", ""),
    ],
)
def test_dated_version_on_the_v1_surface_is_refused_before_the_service_answers_400(pasted, surface, api_version):
    with pytest.raises(ValueError, match=r"contradict each other; a dated version belongs to /openai/deployments"):
        parse_endpoint(pasted, surface=surface, api_version=api_version)


@pytest.mark.parametrize("version", ["preview", "v1"])
def test_v1_and_preview_versions_never_reach_deployments_and_their_404(version):
    with pytest.raises(ValueError, match=rf"'{version}' belongs to /openai/v1"):
        parse_endpoint(f"{R}/openai/deployments/d/chat/completions?api-version={version}")
    with pytest.raises(ValueError, match=rf"'{version}' belongs to /openai/v1"):
        parse_endpoint(R, surface="dated", api_version=version)

    assert "/deployments/" not in parse_endpoint(R, api_version=version).url("chat/completions", "d")


@pytest.mark.parametrize("version", ["2024-1-1", "2024-02-30", "20241021", "2024-10-21-beta", "latest", "2024"])
def test_malformed_version_is_refused_with_an_example(version):
    with pytest.raises(ValueError, match=rf"{LATEST_DATED}.*leave it out"):
        parse_endpoint(R, api_version=version)


def test_unknown_surface_names_the_nearest():
    with pytest.raises(ValueError, match="did you mean 'dated'"):
        parse_endpoint(R, surface="date")


def test_images_edits_path_and_version_on_both_surfaces():
    v1 = parse_endpoint(R)
    dated = parse_endpoint(R, api_version=LATEST_PREVIEW)

    assert v1.url("images/edits", "i") == f"{R}/openai/v1/images/edits?api-version=preview"
    assert v1.url("images/generations", "i") == f"{R}/openai/v1/images/generations?api-version=preview"
    assert dated.url("images/edits", "i") == f"{R}/openai/deployments/i/images/edits?api-version={LATEST_PREVIEW}"


def test_v1_version_that_was_chosen_holds_for_images_too():
    endpoint = parse_endpoint(R, api_version="v1")

    assert endpoint.url("images/generations", "i") == f"{R}/openai/v1/images/generations?api-version=v1"


def test_models_url_on_both_surfaces():
    assert parse_endpoint(R).models_url() == f"{R}/openai/v1/models"
    assert parse_endpoint(R, surface="dated").models_url() == f"{R}/openai/models?api-version={LATEST_DATED}"


def test_the_same_resource_on_the_dated_surface():
    v1 = parse_endpoint("https://gw.example/team/openai/v1?api-version=preview")

    dated = v1.dated()

    assert dated.url("embeddings", "e") == (
        f"https://gw.example/team/openai/deployments/e/embeddings?api-version={LATEST_DATED}"
    )
    assert dated.dated("2024-06-01") is dated


@pytest.mark.parametrize("name", ["", ".", "..", "\ud800"])
def test_deployment_that_would_change_the_path_is_no_deployment(name):
    with pytest.raises(ModelNotFoundError, match="cannot be the name"):
        parse_endpoint(R, surface="dated").url("chat/completions", name)


def test_deployment_is_escaped_in_the_path():
    url = parse_endpoint(R, surface="dated").url("chat/completions", "../a b?c#d%2F")

    assert url.startswith(f"{R}/openai/deployments/..%2Fa%20b%3Fc%23d%252F/chat/completions?api-version=")


@pytest.mark.parametrize(
    ("host", "cloud"),
    [
        ("r.openai.azure.com", PUBLIC),
        ("r.openai.azure.us", US_GOVERNMENT),
        ("r.cognitiveservices.azure.us", US_GOVERNMENT),
        ("r.services.ai.azure.us", US_GOVERNMENT),
        ("apim.azure-api.us", US_GOVERNMENT),
        ("r.openai.azure.cn", CHINA),
        ("R.OPENAI.AZURE.CN", CHINA),
        ("gateway.example", PUBLIC),
        ("notazure.us", PUBLIC),
    ],
)
def test_cloud_follows_from_the_host(host, cloud):
    assert parse_endpoint(host).cloud is cloud


def test_us_government_endpoint_asks_its_own_authority_for_its_own_audience():
    endpoint = parse_endpoint("https://r.openai.azure.us", surface="dated")

    assert endpoint.cloud.authority == "https://login.microsoftonline.us"
    assert endpoint.scope == "https://cognitiveservices.azure.us/.default"
    assert parse_endpoint("https://r.openai.azure.us").scope == "https://cognitiveservices.azure.us/.default"


def test_public_scope_differs_by_surface():
    endpoint = parse_endpoint(R)

    assert endpoint.scope == "https://ai.azure.com/.default"
    assert endpoint.dated().scope == "https://cognitiveservices.azure.com/.default"


_labels = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,10}[a-z0-9])?", fullmatch=True).filter(lambda label: label[2:4] != "--")
_hosts = st.one_of(
    st.builds("{}.openai.azure.com".format, _labels),
    st.builds("{}.openai.azure.us".format, _labels),
    st.builds("{}.gateway.example".format, _labels),
    st.ip_addresses(v=6).map("[{}]".format),
    st.ip_addresses(v=4).map(str),
)
_segments = st.text(st.characters(exclude_categories=("Cs", "Cc", "Z")), min_size=1, max_size=8).filter(
    lambda text: text not in {".", ".."} and "\\" not in text and text.lower() not in {"openai", "api"}
)
_versions = st.one_of(
    st.dates().map(str), st.dates().map("{}-preview".format), st.sampled_from([LATEST_DATED, LATEST_PREVIEW])
)


@st.composite
def endpoints(draw):
    host = draw(_hosts)
    port = draw(st.sampled_from(["", ":8443", ":1"]))
    base = f"{draw(st.sampled_from(['https', 'http']))}://{host}{port}"
    if host.endswith("example"):
        prefix = draw(st.lists(_segments, max_size=3))
        doubled = draw(st.booleans())
        # The canonical escapes are the parser's own.
        base = parse_endpoint(base + "".join(f"/{_percent(part)}" for part in prefix)).base + "/openai" * doubled
    surface = draw(st.sampled_from(["v1", "dated"]))
    version = draw(_versions if surface == "dated" else st.sampled_from(["", "v1", "preview"]))
    return Endpoint(base=base, surface=surface, api_version=version, cloud=parse_endpoint(base + "/openai").cloud)


def _percent(text):
    return "".join(f"%{byte:02X}" for byte in text.encode())


@given(endpoints(), _segments, st.sampled_from(["chat/completions", "embeddings"]))
@settings(deadline=None)
def test_parsing_the_url_of_any_endpoint_gives_the_same_endpoint(endpoint, deployment, operation):
    again = parse_endpoint(endpoint.url(operation, deployment))

    named = deployment if endpoint.surface == "dated" else ""
    assert again == Endpoint(
        base=endpoint.base,
        surface=endpoint.surface,
        api_version=endpoint.api_version,
        deployment=named,
        cloud=endpoint.cloud,
    )
    assert again.url(operation, deployment) == endpoint.url(operation, deployment)
    assert parse_endpoint(endpoint.models_url()) == endpoint


_url_text = st.one_of(
    st.text(max_size=60),
    st.text("htps:/@[]%.#?&=-openaiv1 2\\\u3002ß℀", max_size=60),
    st.builds("https://{}".format, st.text(max_size=40)),
    st.builds("https://r.openai.azure.com/{}".format, st.text(max_size=40)),
    st.builds("https://gw.example/openai?api-version={}".format, st.text(max_size=20)),
)


@given(_url_text, st.sampled_from(["", "v1", "dated", "x"]), st.sampled_from(["", "preview", LATEST_DATED, "\ud800"]))
@example("https://[::ffff:1.2.3.4%25]", "", "")
@example("https://[v1.x]", "", "")
@example("https://" + "ß." * 60, "", "")
@settings(deadline=None, max_examples=400)
def test_endpoint_parser_raises_nothing_but_value_error(pasted, surface, api_version):
    try:
        endpoint = parse_endpoint(pasted, surface=surface, api_version=api_version)
    except ValueError:
        return
    assert endpoint.base.isascii()
    assert endpoint.url("chat/completions", "d").isprintable()
