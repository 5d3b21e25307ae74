"""docs/gateway.md says what is: settings, routes, errors, headers, metrics."""

from __future__ import annotations

import ast
import json
import re
import tomllib
from pathlib import Path

import attrs
import pytest
from apex_llm_gateway.backend import local_snapshot
from apex_llm_gateway.openai.errors import error_answer
from apex_llm_gateway.prometheus import render
from apex_llm_gateway.replies import origin_headers
from apex_llm_gateway.routes import ROUTES
from apex_llm_gateway.settings import ApiKeySettings, GatewaySettings

from apex_llm_core import errors
from apex_llm_core.config import settings_from
from apex_llm_core.errors import LLMErrorType
from apex_llm_core.manager import LLMProviderManager
from apex_llm_core.testing import FakeClock, run_virtual

ROOT = Path(__file__).resolve().parents[3]
SOURCE = ROOT / "plugins/apex_llm_gateway/src/apex_llm_gateway"
TEXT = (ROOT / "docs/gateway.md").read_text("utf-8")


def table(head):
    """Return the rows below the line that begins with *head*, each as its cells."""
    lines = TEXT[TEXT.index(head) :].partition("\n\n")[0].splitlines()[2:]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]


def written(default):
    if default is None:
        return "\N{EN DASH}"
    return f"`{json.dumps(list(default) if isinstance(default, tuple) else default)}`"


@pytest.mark.parametrize(
    ("head", "settings"), [("| key of an entry", ApiKeySettings), ("| key of `[gateway]`", GatewaySettings)]
)
def test_every_setting_stands_there_with_its_default_and_meaning(head, settings):
    expected = [[f"`{field.name}`", written(field.default), field.metadata["doc"]] for field in attrs.fields(settings)]
    assert table(head) == expected


def test_every_route_stands_there_with_its_access():
    found = {row[0].strip("`"): row[1] for row in table("| route | needs |")}
    assert found == {f"{route.method} {route.path}": route.access for route in ROUTES}


def failures():
    rows = table("| status | type | code |")
    return {(int(row[0]), row[1].strip("`"), code) for row in rows for code in re.findall(r"\w+", row[2])}


@pytest.mark.parametrize("kind", LLMErrorType)
def test_every_error_of_a_provider_stands_there(kind):
    cls = next(found for found in vars(errors).values() if getattr(found, "default_type", None) is kind)
    answer = error_answer(cls("said"), request_id="r")
    told = answer.document["error"]
    assert (answer.status, told["type"], told["code"] or "none") in failures()


def test_every_error_of_the_gateway_stands_there():
    raised = set()
    for file in SOURCE.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "HttpError":
                codes = [keyword.value.value for keyword in node.keywords if keyword.arg == "code"]
                raised |= {(node.args[0].value, code) for code in codes}
    assert len(raised) > 10
    assert raised <= {(status, code) for status, _, code in failures()}


def test_every_header_of_an_answer_stands_there():
    headers = origin_headers("r", "mock", "mock-small", 1, cost=1.0, cached=True)
    assert {name for row in table("| of an answer |") for name in re.findall(r"`(x-[a-z-]+)`", row[0])} == {
        *headers,
        "x-should-retry",
    }


def test_the_metrics_are_those_that_are_told():
    clock = FakeClock()

    async def told():
        from apex_llm_gateway.gateway import Gateway
        from apex_llm_gateway.keys import KeyRing

        async with LLMProviderManager({"providers": [{"name": "mock", "type": "mock"}]}, clock=clock) as manager:
            gateway = Gateway(manager, GatewaySettings(), KeyRing(), clock=clock)
            return render([await local_snapshot(gateway, wall=clock)]).decode()

    names = re.findall(r"^# TYPE (\w+)", run_virtual(told(), clock=clock), re.MULTILINE)
    paragraph = TEXT[TEXT.index("Names of metrics:") :].partition("\n\n")[0]
    assert set(re.findall(r"`((?:apex_llm|process)_\w+)`", paragraph)) == set(names)


def test_its_configurations_are_understood():
    blocks = re.findall(r"^```toml\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
    tables = [tomllib.loads(block).get("gateway") for block in blocks]
    assert all(settings_from(found, GatewaySettings, key="gateway") for found in tables)
    assert tables
