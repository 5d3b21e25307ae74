"""The page, the commands and a real gateway understand each other."""

from __future__ import annotations

import asyncio
import json

import pytest
from apex_llm_cli.main import cli
from click.testing import CliRunner

LIVE = "document.getElementById('connection').textContent === 'live'"


@pytest.fixture
def gateway(served, tmp_path):
    with served.Served(tmp_path, tables={"manager": {"fallback_enabled": False}}) as running:
        yield running


@pytest.fixture
def look(chromium, gateway):
    def look(story):
        async def run():
            async with chromium.tab() as tab:
                await tab.go(f"{gateway.url}/")
                await story(tab)
                assert tab.problems == []

        asyncio.run(run())

    return look


@pytest.fixture
def ask(gateway, served, monkeypatch):
    """Run a command against the gateway and return what it prints."""
    monkeypatch.setenv("APEX_LLM_KEY", served.KEYS["admin"])

    def ask(*arguments):
        result = CliRunner().invoke(cli, [*arguments, "--url", gateway.url], prog_name="apex-llm")
        assert result.exit_code == 0, result.output
        return result.stdout

    return ask


async def sign_in(tab, key):
    await tab.until("document.activeElement.id === 'key'")
    await tab.write(key)
    await tab.press("Enter")


def test_it_is_watched_used_and_steered(look, served, ask):
    async def story(tab):
        await sign_in(tab, served.KEYS["admin"])
        await tab.until(f"{LIVE} && document.querySelector('#chat-model option')")
        await tab.js("document.getElementById('chat-model').value = 'mock/mock-small'")
        await tab.focus("#chat-prompt")
        await tab.write("Is anybody there?")
        await tab.press("Enter")
        await tab.until("document.querySelector('.log .note button')")
        assert await tab.text(".log .answer") == "Is anybody there?"
        assert (await tab.text(".log .note")).startswith("mock, mock-small")
        await tab.until_says("1", "#figures")
        await tab.until_says("mock-small", "#usage")
        await tab.until_says("admin", "#users")
        await tab.until_says("mock-small", "#decisions")
        await tab.click(".log .note button")
        await tab.until_says("taken", "#decisions .why")

        await tab.click('[aria-label="Isolate mock-small at mock"]')
        await tab.click("#confirm-yes")
        await tab.until_says("isolated", "#providers")
        await tab.until_says("forced open", "#events")
        listed = (await asyncio.to_thread(ask, "breakers")).splitlines()
        assert [line.split()[:3] for line in listed if "isolated" in line] == [["mock", "mock-small", "isolated"]]

        await tab.focus("#chat-prompt")
        await tab.write("And now?")
        await tab.press("Enter")
        await tab.until("document.querySelector('.log .refusal')")
        assert await asyncio.to_thread(ask, "breakers", "close", "mock", "mock-small") == "1 breaker moved\n"
        await tab.until("!document.getElementById('providers').innerText.includes('isolated')")

    look(story)
    state = json.loads(ask("stats", "--json"))
    assert state["totals"]["requests"] == 2
    assert {row["user"] for row in state["usage"]["by_user"]} == {"admin"}
    assert "admin" in ask("stats")


def test_a_key_that_may_only_talk_sees_nothing(look, served):
    async def story(tab):
        await sign_in(tab, served.KEYS["user"])
        await tab.until_says("role 'admin'", "#key-refused")
        assert "mock" not in await tab.text("main")

    look(story)
