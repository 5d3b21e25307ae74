"""Tables that extensions describe: checked whenever the configuration is loaded, and part of its JSON Schema."""

from __future__ import annotations

import attrs
import pytest
from jsonschema import Draft202012Validator

from apex_llm_core.config import config_json_schema, setting
from apex_llm_core.errors import ConfigurationError, PluginError
from apex_llm_core.plugin.discovery import EXTENSIONS
from apex_llm_core.plugin.registrar import PluginRegistrar

EXTENSION = """
import attrs

from apex_llm_core.config import setting
from apex_llm_core.markers import hookimpl


@attrs.frozen(kw_only=True)
class Settings:
    place: str = setting("attic", doc="Where.")
    steps: int = setting(3, low=1, doc="How many.")


@hookimpl
def apex_register(registrar):
    registrar.table("ladder", Settings)
"""


@pytest.fixture
def ladder(install):
    install("acme-ladder", modules={"acme_ladder": EXTENSION}, entry_points={EXTENSIONS: {"ladder": "acme_ladder"}})


async def tables(manager):
    return manager.config.extensions


@pytest.mark.usefixtures("ladder")
class TestAtTheStart:
    @pytest.mark.parametrize("table", [{}, {"place": "cellar"}, {"place": "cellar", "steps": 12}])
    def test_a_table_that_fits_stands_there_as_it_was_written(self, stage, table):
        assert stage({"a": []}, ladder=table).run(tables) == {"ladder": table}

    @pytest.mark.parametrize(
        ("table", "key", "reason"),
        [
            ({"plase": "cellar"}, "ladder.plase", "did you mean 'place'"),
            ({"steps": 0}, "ladder.steps", "at least 1"),
            ({"steps": "3"}, "ladder.steps", "expected"),
        ],
    )
    def test_one_that_does_not_is_told_with_its_place(self, stage, table, key, reason):
        with pytest.raises(ConfigurationError) as caught:
            stage({"a": []}, ladder=table).run(tables)
        assert caught.value.key == key
        assert reason in caught.value.reason

    def test_and_with_its_file(self, stage, tmp_path):
        (tmp_path / "apex.toml").write_text("[ladder]\nplase = 1\n")
        scene = stage({"a": []})
        manager = scene.make(tmp_path / "apex.toml")

        async def start(_):
            async with manager:
                pass

        with pytest.raises(ConfigurationError) as caught:
            scene.run(start)
        assert (caught.value.file, caught.value.key) == (str(tmp_path / "apex.toml"), "ladder.plase")

    def test_a_reload_that_breaks_it_leaves_the_old_one(self, stage):
        scene = stage({"a": []}, ladder={"steps": 2})

        async def body(manager):
            with pytest.raises(ConfigurationError, match=r"ladder\.steps"):
                await manager.reload({**scene.config, "ladder": {"steps": 0}})
            return manager.config.extensions

        assert scene.run(body) == {"ladder": {"steps": 2}}


def test_only_attrs_classes_describe_tables():
    with pytest.raises(PluginError, match="settings that are no attrs class"):
        PluginRegistrar().table("ladder", dict)


@attrs.frozen(kw_only=True)
class RetryConfig:
    """Has the name of a class of the core."""

    rungs: int = setting(1, low=1, doc="How many.")


@attrs.frozen(kw_only=True)
class Ladder:
    """A ladder."""

    retry: RetryConfig = setting(factory=RetryConfig, doc="Again.")
    upper: Ladder | None = setting(None, doc="The next.")


def test_the_schema_has_described_tables_and_allows_others():
    schema = config_json_schema({"ladder": Ladder})
    Draft202012Validator.check_schema(schema)
    validator = Draft202012Validator(schema)
    assert validator.is_valid({"ladder": {"retry": {"rungs": 2}, "upper": {"upper": None}}, "other": {"x": 1}})
    assert validator.is_valid({"retry": {"base": 1}})
    assert not validator.is_valid({"ladder": {"rety": {}}})
    assert not validator.is_valid({"ladder": {"retry": {"base": 1}}})
    assert not validator.is_valid({"ladder": {"upper": {"retry": {"rungs": 0}}}})
    assert not validator.is_valid({"retry": {"rungs": 1}})
    assert "ladder" not in config_json_schema()["properties"]
