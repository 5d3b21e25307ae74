from __future__ import annotations

import asyncio
import json
import re
import sqlite3
import stat
import tomllib
from pathlib import Path

import pytest

from apex_llm_core.errors import ConfigurationError, QuotaExceededError, RateLimitError
from apex_llm_core.manager import LLMProviderManager
from apex_llm_core.models import Caller
from apex_llm_core.models.events import PluginFailed

ALICE = Caller(user="alice", key="ci")


@pytest.fixture
def config(tmp_path):
    return {
        "manager": {"cache_enabled": True},
        "state": {"type": "sqlite", "options": {"path": str(tmp_path / "state.db")}},
        "limits": [
            {"name": "pace", "requests": 3, "per": 3600},
            {"name": "tpm", "scope": "user", "tokens": 10_000, "per": 3600},
        ],
        "providers": [{"name": "mock", "type": "mock"}],
    }


def run(config, body):
    async def main():
        async with LLMProviderManager(config) as manager:
            return await body(manager)

    return asyncio.run(main())


async def ask(manager, text, **options):
    return await manager.generate_chat(text, model="mock-small", **{"caller": ALICE, "max_tokens": 100, **options})


async def limits(manager):
    return {found.limit: found for found in await manager.get_limits()}


def test_limits_and_answers_outlive_the_process(config):
    async def first(manager):
        for text in ("one", "two"):
            await ask(manager, text)
        assert not (await ask(manager, "three")).cached
        return (await limits(manager))["tpm"].tokens.used

    async def second(manager):
        # What is known already is answered, and is no request upstream.
        assert (await ask(manager, "one")).cached
        with pytest.raises(RateLimitError, match="'pace' is reached") as caught:
            await ask(manager, "four")
        assert 3500 < caught.value.retry_after <= 3660
        # Whom this process has not let in, it has seen all the same.
        return (await limits(manager))["tpm"].tokens.used

    used = run(config, first)
    assert 0 < used < 300
    assert run(config, second) == used


def test_managers_at_the_same_file_share_their_limits(config):
    config["manager"]["cache_enabled"] = False

    async def body(first):
        async with LLMProviderManager(config) as second:
            asked = [ask(manager, f"{number}") for number, manager in enumerate([first, second] * 4)]
            answers = await asyncio.gather(*asked, return_exceptions=True)
            assert sum(not isinstance(answer, Exception) for answer in answers) == 3
            assert {type(answer) for answer in answers if isinstance(answer, Exception)} == {RateLimitError}

    run(config, body)


def test_a_reload_goes_on_with_the_same_file(config):
    async def body(manager):
        await ask(manager, "one")
        config["limits"][0]["requests"] = 2
        await manager.reload(config)
        await ask(manager, "two")
        with pytest.raises(RateLimitError):
            await ask(manager, "three")

    run(config, body)


def test_a_file_that_fails_later_costs_no_request(config, tmp_path):
    events = []

    async def body(manager):
        manager.subscribe("test", events.append)
        await ask(manager, "one")
        connection = sqlite3.connect(tmp_path / "state.db", isolation_level=None)
        connection.execute("DROP TABLE entries")
        connection.close()
        for number in range(5):
            await ask(manager, f"later {number}")

    run(config, body)
    told = {(event.plugin, event.message) for event in events if isinstance(event, PluginFailed)}
    assert told == {("state_store:sqlite", "no such table: entries")}


class TestStart:
    def failure(self, config):
        async def nothing(manager):
            raise AssertionError("it started")

        with pytest.raises(ConfigurationError) as caught:
            run(config, nothing)
        return caught.value

    def test_a_path_is_needed(self, config):
        config["state"]["options"] = {}
        assert "path" in str(self.failure(config))

    @pytest.mark.parametrize("path", ["", ":memory:"])
    def test_a_path_names_a_file(self, config, path):
        config["state"]["options"]["path"] = path
        assert "names no file; for state in memory there is the state store 'memory'" in str(self.failure(config))

    def test_an_unknown_option_is_told(self, config):
        config["state"]["options"]["busy_timout"] = 1
        assert "did you mean 'busy_timeout'" in str(self.failure(config))

    def test_the_folder_must_be_there(self, config, tmp_path):
        path = config["state"]["options"]["path"] = str(tmp_path / "nowhere" / "state.db")
        failure = self.failure(config)
        assert failure.key == "state.options.path"
        assert failure.reason == f"{path!r} cannot be used as a state store: No such file or directory"

    def test_a_folder_is_no_file(self, config, tmp_path):
        config["state"]["options"]["path"] = str(tmp_path)
        assert self.failure(config).reason.endswith("it is no file")

    def test_what_is_no_database_is_told_and_left_alone(self, config, tmp_path):
        (tmp_path / "state.db").write_bytes(b"dear diary\n" * 1000)
        assert self.failure(config).reason.endswith("file is not a database")
        assert (tmp_path / "state.db").read_bytes() == b"dear diary\n" * 1000

    def test_the_database_of_another_application_is_left_alone(self, config, tmp_path):
        connection = sqlite3.connect(tmp_path / "state.db")
        connection.execute("CREATE TABLE customers (name TEXT)")
        connection.close()
        before = (tmp_path / "state.db").read_bytes()
        assert self.failure(config).reason.endswith("it is the database of another application")
        assert (tmp_path / "state.db").read_bytes() == before

    def test_a_later_format_is_told(self, config, tmp_path):
        run(config, lambda manager: ask(manager, "one"))
        connection = sqlite3.connect(tmp_path / "state.db")
        connection.execute("PRAGMA user_version = 2")
        connection.close()
        assert self.failure(config).reason.endswith("a later version of apex-llm-sqlite made it")

    @pytest.mark.parametrize("damage", ["garbage", "cut off"])
    def test_a_damaged_file_is_told(self, config, tmp_path, damage):
        config["limits"] = []

        async def fill(manager):
            for number in range(200):
                await ask(manager, f"{number} " * 50)

        run(config, fill)
        file = tmp_path / "state.db"
        content = file.read_bytes()
        assert len(content) > 100_000
        half = len(content) // 2
        file.write_bytes(content[:half] if damage == "cut off" else content[:half] + b"\xaa" * (len(content) - half))
        failure = self.failure(config)
        assert failure.key == "state.options.path"
        assert str(file) in failure.reason
        assert "\n" not in failure.reason

    def test_a_file_for_reading_only_is_told(self, config, tmp_path, monkeypatch):
        # The mode of a file stops nobody who may do everything; SQLite is told to refuse itself.
        connect = sqlite3.connect

        def read_only(path, **options):
            connection = connect(path, **options)
            connection.execute("PRAGMA query_only = 1")
            return connection

        monkeypatch.setattr(sqlite3, "connect", read_only)
        assert "attempt to write a readonly database" in str(self.failure(config))


def test_the_configuration_of_the_readme_works(tmp_path, monkeypatch):
    readme = Path(__file__).parent.parent.joinpath("README.md").read_text(encoding="utf-8")
    (snippet,) = re.findall(r"```toml\n(.*?)```", readme, re.DOTALL)
    monkeypatch.setenv("HOME", str(tmp_path))
    config = tomllib.loads(snippet)

    async def body(manager):
        await ask(manager, "hello")
        assert (await ask(manager, "hello")).cached
        found = await limits(manager)
        assert found["tokens-per-minute"].tokens.used > 0
        assert found["daily-budget"].cost.used > 0
        with pytest.raises(QuotaExceededError, match="daily-budget"):
            await ask(manager, "a book", max_tokens=50_000_000, caller=Caller(key="ci"))

    run(config, body)
    assert stat.S_IMODE((tmp_path / "apex-llm.db").stat().st_mode) == 0o600
    connection = sqlite3.connect(tmp_path / "apex-llm.db")
    state = [json.loads(value) for (value,) in connection.execute("SELECT value FROM entries WHERE cached = 0")]
    connection.close()
    assert sorted(letter for entry in state for letter in entry) == ["c", "t"]
