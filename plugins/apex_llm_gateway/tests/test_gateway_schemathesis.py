"""Requests made up from the document, good ones and bad ones: the gateway keeps to what it says."""

from __future__ import annotations

import re
import warnings

import pytest
from apex_llm_gateway.openapi.document import build
from hypothesis import HealthCheck, Phase, settings

with warnings.catch_warnings():
    # Its dependencies are other people's business.
    warnings.simplefilter("ignore")
    schemathesis = pytest.importorskip("schemathesis")
    from schemathesis.checks import not_a_server_error
    from schemathesis.specs.openapi import checks

SCHEMA = schemathesis.openapi.from_dict(build())
#: What a model may be called, so that good requests get somewhere.
MODELS = {
    "ChatCompletionRequest": "mock-large",
    "CompletionRequest": "mock-large",
    "EmbeddingsRequest": "mock-embed",
    "ImageRequest": "mock-image",
}
#: Good bodies may be refused for what a schema cannot say: which names are forbidden, which message answers which, which
#: tools there are to choose from, and that 52.0 is no whole number.
BEYOND_SCHEMAS = re.compile(
    r"callers cannot set|is the result of (tool call|function)|is no base64|"
    r"names the tool .* not offered|no tools are given|is \d+\.0; expected a whole number"
)
CHECKS = [
    not_a_server_error,
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_headers_conformance,
    checks.response_schema_conformance,
    checks.negative_data_rejection,
    checks.allow_header_conformance,
]


@pytest.fixture(scope="module")
def session(house):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        requests = pytest.importorskip("requests")
    with requests.Session() as session:
        session.trust_env = False
        yield session


@SCHEMA.exclude(path="/admin/events").exclude(path="/admin/reload").parametrize()
@settings(
    max_examples=25,
    deadline=None,
    derandomize=True,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
def test_keeps_to_its_document(case, house, served, session):
    good = case.meta.generation.mode.is_positive
    if good and isinstance(case.body, dict):
        _name_a_model(case)
    response = case.call(
        base_url=house.url, session=session, headers={"Authorization": f"Bearer {served.KEYS['admin']}"}, timeout=20
    )
    case.validate_response(response, checks=CHECKS)
    if good and response.status_code == 400:
        assert BEYOND_SCHEMAS.search(response.json()["error"]["message"]), response.text


def _name_a_model(case):
    schema = case.operation.definition.raw["requestBody"]["content"]["application/json"]["schema"]["$ref"]
    model = MODELS.get(schema.rpartition("/")[2])
    if model is not None:
        case.body["model"] = model
    if model == "mock-embed":
        # Nobody wants vectors of a million numbers.
        case.body.pop("dimensions", None)
    if model == "mock-image":
        case.body["size"] = "64x64"
        case.body["n"] = 1
