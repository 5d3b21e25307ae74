from __future__ import annotations

import builtins
import errno
import json
import math
import os
import re
from pathlib import Path

import pytest
import yaml

from apex_llm_core.config import (
    AuthConfig,
    Config,
    FallbackConfig,
    FlagConfig,
    ManagerConfig,
    ModelConfig,
    ProviderConfig,
    checked_config,
    load_config,
    parse_config,
    parse_provider,
)
from apex_llm_core.config.overlays import Document
from apex_llm_core.errors import ConfigurationError
from apex_llm_core.redaction import Secret

TOML = """
[manager]
default_provider = "a"
deadline = 30

[[providers]]
name = "a"
type = "mock"
options = { seed = 1, reply = "x" }
models = [ { id = "m", max_tokens = 100 }, { id = "n" } ]

[[providers]]
name = "b"
type = "mock"
tags = ["x", "y"]
"""
TABLES = {
    "manager": {"default_provider": "a", "deadline": 30},
    "providers": [
        {
            "name": "a",
            "type": "mock",
            "options": {"seed": 1, "reply": "x"},
            "models": [{"id": "m", "max_tokens": 100}, {"id": "n"}],
        },
        {"name": "b", "type": "mock", "tags": ["x", "y"]},
    ],
}


def write(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def fails(path: Path | None, **environ: str) -> ConfigurationError:
    with pytest.raises(ConfigurationError) as caught:
        load_config(path, environ=environ)
    return caught.value


def rejects(tables: object, **options: object) -> ConfigurationError:
    with pytest.raises(ConfigurationError) as caught:
        parse_config(tables, **options)
    return caught.value


def notes(error: ConfigurationError) -> list[str]:
    return getattr(error, "__notes__", [])


# -- sources -----------------------------------------------------------------------------------------------------------


def test_no_source_is_none():
    assert load_config(environ={}) is None
    assert load_config(environ={"APEX_LLM_CONFIG": ""}) is None


def test_the_path_goes_before_the_variable(tmp_path):
    first = write(tmp_path / "first.toml", "seed = 1")
    second = write(tmp_path / "second.toml", "seed = 2")
    environ = {"APEX_LLM_CONFIG": str(second)}
    assert load_config(first, environ=environ).seed == 1
    assert load_config(str(first), environ=environ).seed == 1
    assert load_config(environ=environ).seed == 2


def test_the_home_directory_is_known(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    write(tmp_path / "c.toml", "seed = 3")
    assert load_config("~/c.toml", environ={}).seed == 3


def test_the_real_environment_is_the_default(tmp_path, monkeypatch):
    monkeypatch.setenv("APEX_LLM_CONFIG", str(write(tmp_path / "c.toml", "seed = 4")))
    monkeypatch.delenv("APEX_LLM_ENV", raising=False)
    assert load_config().seed == 4


def test_all_formats_say_the_same(tmp_path):
    files = [
        write(tmp_path / "c.toml", TOML),
        write(tmp_path / "c.json", json.dumps(TABLES)),
        write(tmp_path / "c.yaml", yaml.safe_dump(TABLES)),
        write(tmp_path / "c.YML", b"\xef\xbb\xbf" + yaml.safe_dump(TABLES).encode()),
    ]
    configs = [load_config(file, environ={}) for file in files]
    for file, config in zip(files, configs, strict=True):
        assert config.files == (str(file),)
        assert (config.manager, config.providers) == (configs[0].manager, configs[0].providers)
        assert config == parse_config(TABLES, file=str(file))
    assert configs[0].manager == ManagerConfig(default_provider="a", deadline=30.0)
    assert configs[0].providers[0].models == (ModelConfig(id="m", max_tokens=100), ModelConfig(id="n"))


def test_an_empty_file_is_an_empty_configuration(tmp_path):
    assert load_config(write(tmp_path / "c.toml", ""), environ={}).manager == ManagerConfig()
    assert load_config(write(tmp_path / "c.yaml", "# nothing"), environ={}).providers == ()


def test_later_changes_to_a_dict_have_no_effect():
    tables = {"providers": [{"name": "a", "type": "mock", "options": {"inner": {"x": 1}}}]}
    config = parse_config(tables)
    tables["providers"][0]["options"]["inner"]["x"] = 2
    tables["providers"].append({})
    assert config.providers[0].options == {"inner": {"x": 1}}
    assert (config.files, len(config.providers)) == ((), 1)


# -- files that cannot be used -----------------------------------------------------------------------------------------


def test_a_named_file_that_is_missing(tmp_path):
    file = tmp_path / "none.toml"
    assert str(fails(file)) == f"{file}: there is no such file"
    error = fails(None, APEX_LLM_CONFIG=str(file))
    assert str(error) == f"{file}: there is no such file, which APEX_LLM_CONFIG names"
    assert error.file == str(file)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("c.toml", "a = \n", r"is not valid TOML: Invalid value \(at line 1, column 5\)"),
        ("c.toml", "[a]\n[a]\n", r"is not valid TOML: .*\(at line 2, column 3\)"),
        ("c.json", '{"a": 1,\n "b" 2}', r"is not valid JSON: Expecting ':' delimiter \(at line 2, column 6\)"),
        ("c.json", '{"a": 1, "a": 2}', r"is not valid JSON: the key 'a' stands twice in one object"),
        ("c.json", '{"a": NaN}', r"is not valid JSON: NaN is no number"),
        ("c.json", "[" * 100_000, r"is nested too deeply"),
        ("c.json", "[1]", r"expected a table at the top, not a list"),
        ("c.json", "null", r"expected a table at the top, not a NoneType"),
        ("c.yaml", "a: [1", r"is not valid YAML: .*\(at line 1, column 6\)"),
        ("c.yaml", "a: 1\nb: 2\na: 3", r"is not valid YAML: the key 'a' stands twice .*\(at line 3, column 1\)"),
        ("c.yaml", "a: !!python/object:os.system {}", r"is not valid YAML: could not determine a constructor"),
        ("c.yaml", "a: &x [*x]", r"is nested too deeply"),
        ("c.yaml", "a: \x00", r"is not valid YAML: unacceptable character"),
        ("c.yaml", "text", r"expected a table at the top, not a str"),
        ("c.toml", b"a = '\xff'", r"is not UTF-8 text \(byte 5\)"),
        ("c.ini", "", r"unknown suffix '.ini' of a configuration file; valid: .json, .toml, .yaml, .yml"),
        ("c.tml", "", r"unknown suffix '.tml' of a configuration file; did you mean '.toml'\?"),
        ("config", "", r"unknown suffix '' of a configuration file"),
    ],
)
def test_files_that_cannot_be_understood(tmp_path, name, content, message):
    file = write(tmp_path / name, content)
    error = fails(file)
    assert error.file == str(file)
    assert re.search(f"^{re.escape(str(file))}: {message}", str(error))


def test_a_directory_and_other_unreadable_things(tmp_path):
    (tmp_path / "d.toml").mkdir()
    assert "cannot be read: Is a directory" in str(fails(tmp_path / "d.toml"))
    file = write(tmp_path / "f.toml", "")
    assert "cannot be read: Not a directory" in str(fails(file / "c.toml"))
    assert "cannot be read" in str(fails(Path("a\x00b.toml")))
    loop = tmp_path / "l.toml"
    loop.symlink_to(loop)
    assert "cannot be read" in str(fails(loop))


def test_a_file_without_permission(tmp_path, monkeypatch):
    file = write(tmp_path / "c.toml", "")

    # The superuser, as whom tests may run, reads everything.
    def denied(_path):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(Path, "read_bytes", denied)
    assert "cannot be read: Permission denied" in str(fails(file))


def test_yaml_without_the_extra(tmp_path, monkeypatch):
    real_import = builtins.__import__

    def without_yaml(name, *args, **keywords):
        if name == "yaml":
            raise ImportError(name)
        return real_import(name, *args, **keywords)

    monkeypatch.setattr(builtins, "__import__", without_yaml)
    assert 'pip install "apex-llm-core[yaml]"' in str(fails(write(tmp_path / "c.yaml", "a: 1")))
    assert load_config(write(tmp_path / "c.toml", ""), environ={}) is not None


def test_yaml_merge_keys_and_numbers_without_a_point(tmp_path):
    file = write(
        tmp_path / "c.yaml",
        """
        providers:
        - &first {name: a, type: mock, models: [{id: m, cost_per_input_token: 1e-5}]}
        - <<: *first
          name: b
        """,
    )
    first, second = load_config(file, environ={}).providers
    assert (second.name, second.models) == ("b", first.models)
    assert first.models[0].cost_per_input_token == 1e-5


# -- overlays ----------------------------------------------------------------------------------------------------------

OVERLAY = """
[manager]
deadline = 60

[[providers]]
name = "c"
type = "mock"

[[providers]]
name = "a"
enabled = false
options = { seed = 2 }
models = [ { id = "n", max_tokens = 5 }, { id = "o" } ]

[[providers]]
name = "b"
tags = ["z"]
"""


@pytest.fixture
def base(tmp_path):
    return write(tmp_path / "config.toml", TOML)


def test_an_overlay_is_merged(base, tmp_path):
    overlay = write(tmp_path / "config.prod.toml", OVERLAY)
    config = load_config(base, environ={"APEX_LLM_ENV": "prod"})
    assert config.files == (str(base), str(overlay))
    assert config.manager == ManagerConfig(default_provider="a", deadline=60.0)
    assert [provider.name for provider in config.providers] == ["a", "b", "c"]
    a, b, _ = config.providers
    assert (a.enabled, a.options) == (False, {"seed": 2, "reply": "x"})
    assert a.models == (ModelConfig(id="m", max_tokens=100), ModelConfig(id="n", max_tokens=5), ModelConfig(id="o"))
    assert b.tags == ("z",)


def test_the_overlay_is_used_with_the_variable_as_source_too(base, tmp_path):
    write(tmp_path / "config.prod.toml", "[manager]\ndeadline = 1")
    assert load_config(environ={"APEX_LLM_CONFIG": str(base), "APEX_LLM_ENV": "prod"}).manager.deadline == 1.0
    assert load_config(base, environ={"APEX_LLM_ENV": ""}).manager.deadline == 30.0


def test_nameless_routes_are_added_and_named_ones_changed(tmp_path):
    base = write(tmp_path / "c.toml", '[[routes]]\nto_model = "x"\n[[routes]]\nname = "r"\nmodel = "a*"\n')
    write(tmp_path / "c.e.toml", '[[routes]]\nto_model = "y"\n[[routes]]\nname = "r"\nto_model = "z"\n')
    routes = load_config(base, environ={"APEX_LLM_ENV": "e"}).routes
    assert [(route.name, route.model, route.to_model) for route in routes] == [
        ("", "*", "x"),
        ("r", "a*", "z"),
        ("", "*", "y"),
    ]


def test_a_missing_overlay_is_an_error_where_overlays_are_in_use(base, tmp_path):
    environ = {"APEX_LLM_ENV": "prodution"}
    assert load_config(base, environ=environ).files == (str(base),)
    write(tmp_path / "config.production.toml", "")
    error = fails(base, **environ)
    assert error.file == str(tmp_path / "config.prodution.toml")
    assert str(error).endswith("there is no such overlay; did you mean 'production'?")


@pytest.mark.parametrize("word", ["../x", "a.b", "-a", "a b"])
def test_an_environment_is_a_word(base, word):
    assert f"APEX_LLM_ENV is {word!r}; expected a word" in str(fails(base, APEX_LLM_ENV=word))


def test_an_error_names_the_file_that_set_the_key(base, tmp_path):
    overlay = tmp_path / "config.prod.toml"

    def error_of(text: str) -> ConfigurationError:
        write(overlay, text)
        return fails(base, APEX_LLM_ENV="prod")

    assert str(error_of("[manager]\ndeadline = -1")).startswith(f"{overlay}: manager.deadline: must be a finite number")
    assert error_of("[[providers]]\nname = 'b'\nprioity = 1").file == str(overlay)
    assert error_of("[[providers]]\nname = 'b'\nprioity = 1").key == "providers[1].prioity"
    # The overlay's second 'z' is the mistake, not something to be merged.
    error = error_of("[[providers]]\nname = 'z'\ntype = 'mock'\n[[providers]]\nname = 'z'\ntype = 'mock'")
    assert (error.file, error.key) == (str(overlay), "providers[3].name")
    assert error_of("[[providers]]\nname = ['b']").file == str(overlay)
    # What the base said and the overlay left alone is the base's mistake.
    write(base, TOML + "weight = -1\n")
    error = error_of("[[providers]]\nname = 'b'\ntype = 'mock'\npriority = 1.5")
    assert (error.file, error.key) == (str(overlay), "providers[1].priority")
    assert notes(error) == [f"{base}: providers[1].weight: must be a finite number of at least 0, not -1.0"]
    assert error_of("providers = 3").file == str(overlay)


def test_origins_below_a_replaced_value_are_forgotten():
    document = Document.of({"a": {"b": {"c": 1}}}, "1").overlaid({"a": {"b": {"c": 2}}}, "2").overlaid({"a": 3}, "3")
    assert document.data == {"a": 3}
    assert [document.file_of(path) for path in (("a", "b", "c"), ("a",), ("x",))] == ["3", "3", "1"]


# -- what does not fit -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("tables", "message"),
    [
        ({"provider": []}, "provider: unknown table; did you mean 'providers'?"),
        ({"xyzzy": {}}, "xyzzy: unknown table; valid: "),
        ({"gateway": {"port": 1}}, "gateway: the gateway is not installed: pip install apex-llm-gateway"),
        ({"hedgin": {}}, "hedgin: unknown table; did you mean 'hedging'?"),
        ({"warnings": []}, "warnings: unknown table"),
        ({"files": []}, "files: unknown table"),
        ({"extensions": {}}, "extensions: unknown table"),
        ({"manager": []}, "manager: expected an object, not a list"),
        (
            {"manager": {"default_provder": "a"}},
            "manager.default_provder: unknown key; did you mean 'default_provider'?",
        ),
        ({"manager": {"retryCount": 1}}, "manager.retryCount: unknown key; valid: "),
        ({"manager": {"cache_enabled": "false"}}, "manager.cache_enabled: expected true or false, not a string"),
        ({"manager": {"max_attempts": 2.9}}, "manager.max_attempts: expected a whole number, not 2.9"),
        ({"manager": {"max_attempts": 0}}, "manager.max_attempts: must be a finite number of at least 1, not 0"),
        ({"manager": {"deadline": float("nan")}}, "manager.deadline: expected a finite number, not nan"),
        ({"manager": {"deadline": float("inf")}}, "manager.deadline: expected a finite number, not inf"),
        ({"manager": {"deadline": True}}, "manager.deadline: expected a number, not true"),
        ({"retry": {"base": 0}}, "retry.base: must be a finite number above 0, not 0.0"),
        ({"logging": {"level": "DEBG"}}, "logging.level: unknown value 'DEBG'; did you mean 'DEBUG'?"),
        ({"flags": {"x": 1}}, "flags.x: expected true, false or an object, not 1"),
        ({"flags": {"a b": "on"}}, 'flags["a b"]: expected true, false or an object, not a string'),
        ({"flags": {"x": {"percentag": 1}}}, "flags.x.percentag: unknown key; did you mean 'percentage'?"),
        (
            {"flags": {"x": {"percentage": 101}}},
            "flags.x.percentage: must be a finite number of at least 0 and at most",
        ),
        ({"flags": {"x": {"users": "alice"}}}, "flags.x.users: expected a list, not a string"),
        ({"flags": ["x"]}, "flags: expected an object, not a list"),
        ({"seed": 1.5}, "seed: expected a whole number, not 1.5"),
        ({"limits": [{"name": "x"}]}, "limits[0]: give at least one of 'requests', 'tokens', 'cost' and 'concurrent'"),
        ({"fallback": {"models": {"a": "b"}}}, "fallback.models.a: expected a list, not a string"),
        ({"providers": {}}, "providers: expected a list, not an object"),
        ({"providers": [3]}, "providers[0]: expected an object, not 3"),
        ({"providers": [{"type": "mock"}]}, "providers[0].name: is required"),
        ({"providers": [{"name": "a", "type": "m", "timeout": -1}]}, "providers[0].timeout: must be a finite number"),
        (
            {"providers": [{"name": "a", "type": "m", "auth": {"type": "apikey"}}]},
            "providers[0].auth.type: unknown value 'apikey'; did you mean 'api_key'?",
        ),
        (
            {"providers": [{"name": "a", "type": "m", "models": [{"id": "x", "cost_per_input_token": -1}]}]},
            "providers[0].models[0].cost_per_input_token: must be a finite number of at least 0, not -1.0",
        ),
        ([], "expected a table at the top, not a list"),
    ],
)
def test_tables_that_do_not_fit(tables, message):
    assert str(rejects(tables)).startswith(message)


def test_all_problems_are_told_with_their_file():
    error = rejects(
        {
            "managr": {},
            "manager": {"deadline": -1, "max_attempts": "x"},
            "providers": [{"nam": "x", "type": "m"}],
        },
        file="c.toml",
    )
    assert str(error) == "c.toml: managr: unknown table; did you mean 'manager'? (and 4 more)"
    assert (error.file, error.key) == ("c.toml", "managr")
    assert notes(error) == [
        "c.toml: manager.max_attempts: expected a whole number, not a string",
        "c.toml: manager.deadline: must be a finite number of at least 0, not -1.0",
        "c.toml: providers[0].nam: unknown key; did you mean 'name'?",
        "c.toml: providers[0].name: is required",
    ]


def test_tables_of_installed_extensions(tmp_path):
    file = write(tmp_path / "c.toml", "[gateway]\nport = 1\n[gateway.tls]\nkey_file = 'x'\n")
    config = load_config(file, environ={}, extensions={"gateway"})
    assert config.extensions == {"gateway": {"port": 1, "tls": {"key_file": "x"}}}
    assert str(rejects({"gatway": {}}, extensions={"gateway"})) == "gatway: unknown table; did you mean 'gateway'?"
    assert str(rejects({"gateway": 3}, extensions={"gateway"})) == "gateway: expected a table, not a int"


# -- one provider at run time ------------------------------------------------------------------------------------------


def test_parse_provider():
    provider, warnings = parse_provider(
        {"name": "a", "type": "t", "auth": {"type": "api_key", "credentials": {"api_key": "hush"}}}
    )
    assert provider.auth.credentials == {"api_key": Secret("hush")}
    assert [warning.partition(":")[0] for warning in warnings] == ["auth.credentials.api_key"]
    again, _ = parse_provider(provider)
    assert again == provider
    for bad in ({"name": "a"}, {"name": "a/b", "type": "t"}):
        with pytest.raises(ConfigurationError):
            parse_provider(bad)


def test_a_configuration_made_in_code_is_checked():
    auth = AuthConfig(type="api_key", credentials={"api_key": "hush"})
    made = Config(providers=(ProviderConfig(name="a", type="t", auth=auth),))
    checked = checked_config(made)
    assert checked.providers[0].auth.credentials == {"api_key": Secret("hush")}
    assert len(checked.warnings) == 1
    assert checked_config(checked) == checked
    with pytest.raises(ConfigurationError, match="another provider is named 'a'"):
        checked_config(Config(providers=made.providers * 2))


@pytest.mark.parametrize(
    ("made", "key"),
    [
        (lambda: Config(providers="x"), "providers"),
        (lambda: Config(providers=["x"]), "providers[0]"),
        (lambda: Config(providers=(ProviderConfig(name=5, type="t"),)), "providers[0].name"),
        (lambda: Config(providers=(ProviderConfig(name="a", type="t", enabled="no"),)), "providers[0].enabled"),
        (lambda: Config(manager=ManagerConfig(max_attempts=2.5)), "manager.max_attempts"),
        (lambda: Config(manager=5), "manager"),
        (lambda: Config(flags={"a": "yes"}), "flags.a"),
        (lambda: Config(flags={"b": True, "a": FlagConfig(users="alice")}), "flags.a.users"),
        (lambda: Config(fallback=FallbackConfig(content_filter={"m": "n"})), "fallback.content_filter.m"),
        (lambda: Config(manager=ManagerConfig(watch=1)), "manager.watch"),
    ],
)
def test_wrong_types_in_a_configuration_made_in_code_are_named(made, key):
    with pytest.raises(ConfigurationError) as caught:
        checked_config(made())
    assert caught.value.key == key


def test_flags_are_true_false_or_a_table(tmp_path):
    text = "[flags]\na = true\nb = false\n[flags.c]\npercentage = 5\ntiers = ['gold']\n"
    config = load_config(write(tmp_path / "c.toml", text), environ={})
    made = {"a": True, "b": False, "c": FlagConfig(percentage=5.0, tiers=("gold",))}
    assert config.flags == made
    assert checked_config(Config(flags=made)).flags == made
    # An overlay changes one key of a flag, or makes a plain one of it.
    write(tmp_path / "c.prod.toml", "[flags]\nb = { users = ['alice'] }\n[flags.c]\npercentage = 20\n")
    assert load_config(tmp_path / "c.toml", environ={"APEX_LLM_ENV": "prod"}).flags == {
        "a": True,
        "b": FlagConfig(users=("alice",)),
        "c": FlagConfig(percentage=20.0, tiers=("gold",)),
    }


def test_free_tables_of_a_configuration_made_in_code_stay_as_they_are():
    options = {"anything": object()}
    made = Config(providers=(ProviderConfig(name="a", type="t", options=options),))
    assert checked_config(made).providers[0].options == options


def test_wrong_types_in_a_provider_made_in_code_are_named():
    with pytest.raises(ConfigurationError) as caught:
        parse_provider(ProviderConfig(name="a", type="t", models=(ModelConfig(id=5),)))
    assert caught.value.key == "models[0].id"


@pytest.mark.parametrize("value", ["x", True, [1], math.nan])
def test_a_bound_tells_what_is_no_number(value):
    with pytest.raises(ValueError, match="'deadline' must be a finite number of at least 0, not "):
        ManagerConfig(deadline=value)


def test_checking_a_loaded_configuration_again_changes_nothing(tmp_path):
    file = write(
        tmp_path / "c.toml", TOML.replace('"mock"', '"mock"\nauth = {type = "none", credentials = {key = "k"}}', 1)
    )
    config = load_config(file, environ={})
    assert len(config.warnings) == 1
    assert checked_config(config) == config


def test_a_configuration_is_frozen():
    config = parse_config({})
    assert isinstance(config, Config)
    with pytest.raises(AttributeError):
        config.seed = 1
