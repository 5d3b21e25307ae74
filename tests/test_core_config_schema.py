from __future__ import annotations

import math
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest
from jsonschema import Draft202012Validator

from apex_llm_core import config as config_package
from apex_llm_core.config import (
    Config,
    LimitConfig,
    ManagerConfig,
    ProviderConfig,
    all_defaults,
    config_json_schema,
    load_config,
    parse_config,
    setting,
    settings_from,
    settings_json_schema,
)
from apex_llm_core.config.loading import TABLES
from apex_llm_core.config.reference import reference_markdown
from apex_llm_core.converters import unstructure
from apex_llm_core.errors import ConfigurationError

DOCUMENT = Path(__file__).parent.parent / "docs" / "configuration.md"
SCHEMA = config_json_schema()
VALIDATOR = Draft202012Validator(SCHEMA)

FULL: dict[str, Any] = {
    "manager": {"default_provider": "a", "strategy_options": {"x": 1}, "deadline": 0, "default_model": None},
    "providers": [
        {
            "name": "a",
            "type": "mock",
            "weight": 1,
            "region": "eu",
            "tags": ["x"],
            "auth": {"type": "api_key", "credentials": {"api_key": "env:X"}},
            "options": {"endpoint": "https://x"},
            "models": [{"id": "m", "capabilities": ["chat"], "cost_per_input_token": 1e-6, "max_tokens": 1}],
        }
    ],
    "middleware": [{"type": "x", "options": {}}],
    "routes": [{"operation": "chat", "providers": ["a"], "percentage": 5, "shadow_model": "m"}],
    "fallback": {"models": {"m": ["n"]}, "content_filter": {"m": ["n"]}, "missing_features": "drop"},
    "circuit_breaker": {"half_open_permits": 2, "window": "time"},
    "retry": {"base": 0.1, "budget": 0},
    "load_balancer": {"algorithm": "p2c"},
    "concurrency": {"adaptive": True, "max": 40},
    "hedging": {"enabled": True, "delay": None, "operations": ["chat"]},
    "degradation": [
        {"step": "smaller_model", "to_model": "m"},
        {"step": "shorter_answer", "max_tokens": 10},
        {"step": "cached_answer", "to_model": None, "message": ""},
        {"step": "refuse", "model": "gpt-*", "message": "Later, please."},
    ],
    "decisions": {"keep": 0},
    "limits": [
        {"name": "l", "requests": 1},
        {"name": "money", "scope": "key", "match": "k-*", "cost": 0.5, "per": 86400, "requests": None},
    ],
    "cache": {"max_entries": 1},
    "state": {"type": "memory"},
    "flags": {"f": True, "g": {"percentage": 20, "users": ["alice"]}},
    "logging": {"level": "DEBUG"},
    "seed": 1,
}


# -- JSON Schema -------------------------------------------------------------------------------------------------------


def test_the_schema_is_a_schema_of_the_whole_configuration():
    Draft202012Validator.check_schema(SCHEMA)
    assert SCHEMA["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert set(SCHEMA["properties"]) == TABLES
    classes = [cls for cls in vars(config_package).values() if attrs.has(cls) and cls is not Config]
    assert {cls.__name__ for cls in classes} == set(SCHEMA["$defs"])
    for cls in classes:
        assert set(SCHEMA["$defs"][cls.__name__]["properties"]) == set(attrs.fields_dict(cls))


def every_field() -> Iterator[tuple[str, dict[str, Any]]]:
    yield from SCHEMA["properties"].items()
    for name, definition in SCHEMA["$defs"].items():
        for key, field in definition["properties"].items():
            yield f"{name}.{key}", field


def test_every_field_has_a_description():
    assert [name for name, field in every_field() if not field.get("description")] == []
    assert all(definition["description"] for definition in SCHEMA["$defs"].values())


def test_defaults_and_bounds_are_those_of_the_classes():
    retry_count = SCHEMA["$defs"]["ProviderConfig"]["properties"]["retry_count"]
    assert (retry_count["type"], retry_count["default"], retry_count["minimum"]) == ("integer", 2, 0)
    base = SCHEMA["$defs"]["RetryConfig"]["properties"]["base"]
    assert (base["exclusiveMinimum"], base["default"]) == (0, 0.25)
    assert SCHEMA["$defs"]["ProviderConfig"]["required"] == ["name", "type"]
    capabilities = SCHEMA["$defs"]["ModelConfig"]["properties"]["capabilities"]
    assert "vision" in capabilities["items"]["enum"]
    assert SCHEMA["properties"]["flags"]["additionalProperties"] == {
        "anyOf": [{"type": "boolean"}, {"$ref": "#/$defs/FlagConfig"}]
    }


@pytest.mark.parametrize("tables", [{}, FULL, {"gateway": {"port": 1}}, *({key: value} for key, value in FULL.items())])
def test_valid_configurations_validate(tables):
    VALIDATOR.validate(tables)
    assert parse_config({key: value for key, value in tables.items() if key != "manager"}, extensions={"gateway"})


def test_the_defaults_validate_as_a_document():
    document = unstructure(parse_config(FULL))
    for key in ("extensions", "warnings", "files"):
        del document[key]
    VALIDATOR.validate(document)
    assert parse_config(document) == parse_config(FULL)


@pytest.mark.parametrize(
    "tables",
    [
        {"providers": {}},
        {"provider": []},
        {"seed": "1"},
        {"manager": {"deadlin": 1}},
        {"manager": {"deadline": -1}},
        {"manager": {"deadline": "1"}},
        {"manager": {"cache_ttl": 0}},
        {"manager": {"max_attempts": 2.5}},
        {"manager": {"cache_enabled": "false"}},
        {"providers": [{"name": "a"}]},
        {"providers": [{"name": "a", "type": "t", "auth": {"type": "apikey"}}]},
        {"providers": [{"name": "a", "type": "t", "tags": "x"}]},
        {"providers": [{"name": "a", "type": "t", "models": [{"id": "m", "capabilities": ["chatt"]}]}]},
        {"limits": [{"name": "x"}]},
        {"limits": [{"name": "x", "requests": 0}]},
        {"limits": [{"name": "x", "requests": None, "tokens": None}]},
        {"limits": [{"name": "x", "cost": 0}]},
        {"limits": [{"name": "x", "requests": 1, "match": "alice"}]},
        {"limits": [{"name": "x", "requests": 1, "match": "alice", "scope": "all"}]},
        {"degradation": [{}]},
        {"degradation": [{"step": "refuse"}]},
        {"degradation": [{"step": "refuse", "message": ""}]},
        {"degradation": [{"step": "refuse", "message": "no", "max_tokens": 1}]},
        {"degradation": [{"step": "smaller_model"}]},
        {"degradation": [{"step": "smaller_model", "to_model": None}]},
        {"degradation": [{"step": "shorter_answer", "to_model": "m"}]},
        {"degradation": [{"step": "cached_answer", "message": "x"}]},
        {"degradation": [{"step": "cached"}]},
        {"logging": {"level": "debug"}},
        {"flags": {"x": 1}},
        {"flags": {"x": None}},
        {"flags": {"x": {"percentage": 101}}},
        {"flags": {"x": {"share": 1}}},
        {"hedging": {"operations": ["stream"]}},
        {"fallback": {"models": {"a": "b"}}},
        {"routes": [{"operation": "caht"}]},
    ],
)
def test_invalid_configurations_do_not_validate(tables):
    assert not VALIDATOR.is_valid(tables)
    with pytest.raises(ConfigurationError):
        parse_config(tables)


@pytest.mark.parametrize("value", [-1, math.nan, math.inf])
def test_classes_made_in_code_are_checked_too(value):
    with pytest.raises(ValueError, match="'deadline' must be a finite number of at least 0"):
        ManagerConfig(deadline=value)
    with pytest.raises(ValueError, match="at least one"):
        LimitConfig(name="x")


# -- settings of plugins -----------------------------------------------------------------------------------------------


@attrs.frozen(kw_only=True)
class Settings:
    endpoint: str = setting("https://x", doc="Where.")
    share: float = setting(0.5, above=0, high=1, doc="How much.")
    size: int = attrs.field(default=1, validator=attrs.validators.in_([1, 2]))

    def __attrs_post_init__(self) -> None:
        if self.endpoint == "wrong":
            raise ConfigurationError("does not exist", key="endpoint")


@attrs.frozen(kw_only=True)
class Demanding:
    name: str
    hidden: int = attrs.field(init=False, default=1)


def refused(options: dict[str, Any], cls: type | None = Settings) -> list[str]:
    with pytest.raises(ConfigurationError) as caught:
        settings_from(options, cls, key="providers[0].options", file="c.toml")
    assert caught.value.file == "c.toml"
    return [str(caught.value).removeprefix("c.toml: "), *getattr(caught.value, "__notes__", ())]


def test_settings_are_built():
    assert settings_from({"share": 1}, Settings, key="k") == Settings(share=1.0)
    assert settings_from({}, None, key="k") is None


def test_settings_that_do_not_fit():
    assert refused({"endpont": "x"}) == ["providers[0].options.endpont: unknown key; did you mean 'endpoint'?"]
    assert refused({"share": 0, "endpoint": 3}) == [
        "providers[0].options.endpoint: expected a string, not 3 (and 1 more)",
        "c.toml: providers[0].options.share: must be a finite number above 0 and at most 1, not 0.0",
    ]
    assert refused({"share": 2})[0].startswith("providers[0].options.share: must be")
    assert refused({"size": 3})[0].startswith("providers[0].options.size: 'size' must be in")
    assert refused({"endpoint": "wrong"}) == ["providers[0].options.endpoint: does not exist"]
    assert refused({}, Demanding) == ["providers[0].options.name: is required"]
    assert refused({"name": "x", "hidden": 2}, Demanding)[0].startswith("providers[0].options.hidden: unknown key")


def test_settings_where_there_are_none():
    assert refused({"a": 1, "b": 2}, None) == [
        "providers[0].options.a: unknown key; there are no settings here (and 1 more)",
        "c.toml: providers[0].options.b: unknown key; there are no settings here",
    ]


def test_all_defaults():
    assert all_defaults(None)
    assert all_defaults(Settings)
    assert not all_defaults(Demanding)
    assert not all_defaults(ProviderConfig)


def test_settings_have_a_schema():
    schema = settings_json_schema(Settings)
    Draft202012Validator.check_schema(schema)
    assert schema["properties"]["share"] == {
        "type": "number",
        "description": "How much.",
        "exclusiveMinimum": 0,
        "maximum": 1,
        "default": 0.5,
    }


# -- the document ------------------------------------------------------------------------------------------------------


def test_the_document_has_every_table_and_key_as_generated():
    text = DOCUMENT.read_text(encoding="utf-8")
    begin = text.index("-->", text.index("<!-- generated by")) + len("-->")
    assert text[begin : text.index("<!-- end of the generated part -->")].strip() == reference_markdown().strip()


def test_tables_under_free_names_have_a_row_and_a_section():
    reference = reference_markdown()
    assert "| `flags` | table of booleans or tables |" in reference
    assert "### `[flags.NAME]`" in reference
    assert "### `[[degradation]]`" in reference


def test_every_key_is_in_the_reference():
    reference = reference_markdown()
    for name, _ in every_field():
        key = name.rpartition(".")[2]
        assert f"`{key}`" in reference or f"{key}]" in reference, name


def test_the_example_of_the_document_is_a_configuration(tmp_path):
    example = re.search(r"```toml\n(.*?)```", DOCUMENT.read_text(encoding="utf-8"), re.DOTALL)
    assert example is not None
    file = tmp_path / "config.toml"
    file.write_text(example[1])
    config = load_config(file, environ={})
    assert [provider.name for provider in config.providers] == ["azure-eastus", "bedrock-us"]
    assert config.warnings == ()
    VALIDATOR.validate(tomllib.loads(example[1]))
