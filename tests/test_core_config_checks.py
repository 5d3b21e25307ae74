from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apex_llm_core.config import checked_config, load_config, parse_config
from apex_llm_core.config.secrets import is_reference, looks_secret
from apex_llm_core.converters import dumps, unstructure
from apex_llm_core.errors import ConfigurationError
from apex_llm_core.redaction import Secret


def provider(name: str = "a", **more: Any) -> dict[str, Any]:
    return {"name": name, "type": "mock", **more}


def problems(tables: dict[str, Any], file: str | None = None) -> list[str]:
    with pytest.raises(ConfigurationError) as caught:
        parse_config(tables, file=file)
    first = str(caught.value).partition(" (and ")[0]
    return [first, *getattr(caught.value, "__notes__", ())]


# -- names -------------------------------------------------------------------------------------------------------------


def test_two_providers_with_one_name():
    assert problems({"providers": [provider("a"), provider("b"), provider("a")]}) == [
        "providers[2].name: another provider is named 'a', too"
    ]


def test_two_limits_or_routes_with_one_name():
    limit = {"name": "l", "requests": 1}
    assert problems({"limits": [limit, limit]}) == ["limits[1].name: another limit is named 'l', too"]
    assert problems({"routes": [{"name": "r"}, {"name": "r"}]}) == ["routes[1].name: another route is named 'r', too"]
    assert len(parse_config({"routes": [{}, {}]}).routes) == 2


def test_two_models_of_one_provider_with_one_id():
    models = [{"id": "m"}, {"id": "m"}]
    assert problems({"providers": [provider(models=models)]}) == [
        "providers[0].models[1].id: another model of this provider has the id 'm', too"
    ]
    assert parse_config({"providers": [provider("a", models=models[:1]), provider("b", models=models[:1])]})


def test_empty_names():
    assert problems({"providers": [{"name": "", "type": " ", "models": [{"id": ""}]}]}) == [
        "providers[0].name: is empty",
        "providers[0].type: is empty",
        "providers[0].models[0].id: is empty",
    ]


def test_a_slash_separates_provider_and_model():
    assert problems({"providers": [provider("a/b")]})[0].startswith("providers[0].name: must not contain '/'")


def test_every_provider_disabled():
    assert problems({"providers": [provider(enabled=False)]}) == [
        "providers: every provider is disabled; enable at least one"
    ]


def test_the_default_provider_exists():
    tables = {"manager": {"default_provider": "azure-eastsu"}, "providers": [provider("azure-eastus")]}
    assert problems(tables) == [
        "manager.default_provider: there is no provider 'azure-eastsu'; did you mean 'azure-eastus'?"
    ]
    assert parse_config({"manager": {"default_provider": "mock"}}).manager.default_provider == "mock"


def test_a_disabled_default_provider_is_a_warning():
    tables = {"manager": {"default_provider": "a"}, "providers": [provider("a", enabled=False), provider("b")]}
    assert parse_config(tables, file="f").warnings == ("f: manager.default_provider: the provider 'a' is disabled",)


def test_providers_of_routes_exist():
    tables = {"providers": [provider("alpha")], "routes": [{"providers": ["alpha", "alhpa"]}]}
    assert problems(tables) == ["routes[0].providers[1]: there is no provider 'alhpa'; did you mean 'alpha'?"]


def test_providers_of_shadow_traffic_exist():
    providers = [provider("alpha"), provider("beta", enabled=False)]
    tables = {"providers": providers, "routes": [{"shadow_provider": "alhpa"}]}
    assert problems(tables) == ["routes[0].shadow_provider: there is no provider 'alhpa'; did you mean 'alpha'?"]
    tables["routes"] = [{"shadow_provider": "beta", "shadow_model": "passed-through"}]
    assert parse_config(tables).warnings == ("routes[0].shadow_provider: the provider 'beta' is disabled",)


def test_a_limit_of_a_provider_that_is_not_there_is_a_warning():
    limit = {"name": "l", "requests": 1, "scope": "provider"}
    tables = {"providers": [provider("alpha")], "limits": [limit | {"match": "alhpa"}]}
    assert parse_config(tables).warnings == ("limits[0].match: there is no provider 'alhpa'; did you mean 'alpha'?",)
    for limits in ([limit], [limit | {"match": "al*"}], [limit | {"match": "alpha"}]):
        assert parse_config(tables | {"limits": limits}).warnings == ()


def test_flags_of_routes_exist():
    tables = {"flags": {"new-search": False}, "routes": [{"flag": "new-search"}, {"flag": "new_serach"}]}
    assert problems(tables) == [
        "routes[1].flag: there is no feature flag 'new_serach'; did you mean 'new-search'?",
    ]
    assert problems({"routes": [{"flag": "x"}]}) == [
        "routes[0].flag: there is no feature flag 'x'; there is none to choose from"
    ]


def test_capabilities_are_known_words():
    models = [{"id": "m", "capabilities": ["chat", "visoin"]}]
    assert problems({"providers": [provider(models=models)]}) == [
        "providers[0].models[0].capabilities[1]: unknown capability 'visoin'; did you mean 'vision'?"
    ]


def test_fallback_models_are_sane():
    chains = {"gpt-4.1": ["gpt-4.1"], "b": [], "c": ["x", "x"]}
    for table in ("models", "context_length", "content_filter"):
        assert problems({"fallback": {table: chains}}) == [
            f"fallback.{table}[\"gpt-4.1\"][0]: 'gpt-4.1' cannot stand in for itself",
            f"fallback.{table}.b: names no model to go on with",
            f"fallback.{table}.c[1]: 'x' stands here twice",
        ]


def test_a_smaller_model_is_another_one():
    step = {"step": "smaller_model", "model": "m", "to_model": "m"}
    assert problems({"degradation": [step]}) == ["degradation[0].to_model: 'm' cannot stand in for itself"]
    assert parse_config({"degradation": [step | {"model": "*"}]}).warnings == ()


def test_models_nobody_serves_are_warnings():
    tables = {
        "manager": {"default_model": "gpt-4"},
        "providers": [provider(models=[{"id": "gpt-4o"}])],
        "routes": [{"model": "x", "to_model": "claude"}, {"shadow_model": "gpt-6"}],
        "fallback": {
            "models": {"gpt-4o": ["gpt-5"]},
            "context_length": {"gpt-4": ["gpt-4o"]},
            "content_filter": {"gpt-4o": ["gpt-7"]},
        },
        "degradation": [{"step": "smaller_model", "to_model": "gpt-4o-mini"}],
        "limits": [
            {"name": "a", "scope": "model", "match": "gpt-40", "requests": 1},
            {"name": "b", "scope": "model", "match": "claude-*", "requests": 1},
            {"name": "c", "scope": "user", "match": "alice", "requests": 1},
        ],
    }
    assert [warning.partition(": ")[0] for warning in parse_config(tables).warnings] == [
        "manager.default_model",
        "routes[0].to_model",
        "routes[1].shadow_model",
        "fallback.models.gpt-4o[0]",
        "fallback.context_length.gpt-4",
        "fallback.content_filter.gpt-4o[0]",
        "degradation[0].to_model",
        "limits[0].match",
    ]
    assert "did you mean 'gpt-4o'?" in parse_config(tables).warnings[0]
    # A provider without models offers those of its type.
    tables["providers"].append(provider("b"))
    assert parse_config(tables).warnings == ()


# -- keys that contradict one another, and those that do nothing ---------------------------------------------------------


@pytest.mark.parametrize(
    ("tables", "message"),
    [
        ({"concurrency": {"adaptive": True, "initial": 3}}, "concurrency.initial: is 3, less than min, which is 4"),
        ({"concurrency": {"adaptive": True, "max": 10}}, "concurrency.initial: is 20, more than max, which is 10"),
        ({"concurrency": {"adaptive": True, "max": 3}}, "concurrency.max: is 3, less than min, which is 4"),
        (
            {"hedging": {"operations": ["chat", "embd"]}},
            "hedging.operations[1]: unknown operation 'embd'; did you mean",
        ),
        ({"manager": {"watch": 5}}, "manager.watch: there is no file to watch: the configuration was made in code"),
    ],
)
def test_policies_that_contradict_themselves(tables, message):
    assert problems(tables)[0].startswith(message)
    assert len(problems(tables)) == 1


@pytest.mark.parametrize(
    "tables",
    [
        {"manager": {"circuit_breaker_reset_timeout": 600}},
        {"circuit_breaker": {"window_size": 10}},
        {"circuit_breaker": {"window_size": 20}},
        {"circuit_breaker": {"slow_call_rate": 0.5}},
        {"concurrency": {"max": 3}},
        {"concurrency": {"adaptive": True}},
        {"concurrency": {"adaptive": True, "initial": 7, "min": 7, "max": 7}},
        {"hedging": {"enabled": True, "operations": []}},
        {"hedging": {"enabled": True}, "retry": {"budget": 0}},
        {"routes": [{"percentage": 5}, {"tier": "gold"}, {"model": "a*"}, {"flag": "f"}, {}], "flags": {"f": True}},
        {"routes": [{"shadow_provider": "a", "shadow_percentage": 1}]},
        {
            "degradation": [
                {"step": "refuse", "model": "a", "message": "x"},
                {"step": "shorter_answer", "max_tokens": 1},
            ]
        },
        {
            "degradation": [{"step": "cached_answer"}],
            "manager": {"cache_enabled": True},
            "cache": {"stale_ttl": 60},
        },
    ],
)
def test_policies_that_are_sound(tables):
    assert parse_config(tables).warnings == ()


@pytest.mark.parametrize(
    ("tables", "warning"),
    [
        ({"routes": [{"percentage": 0}]}, "routes[0].percentage: applies to no request"),
        (
            {"routes": [{"shadow_percentage": 5}]},
            "routes[0].shadow_percentage: nothing is copied without shadow_model or shadow_provider",
        ),
        (
            {"routes": [{"shadow_percentage": 0, "shadow_model": "m"}]},
            "routes[0].shadow_percentage: no request is copied",
        ),
        (
            {"routes": [{"model": "a"}, {"tags": ["x"]}, {"model": "b"}]},
            "routes[2]: is never reached: routes[1] matches every request",
        ),
        (
            {"circuit_breaker": {"slow_call_rate": 0.5, "slow_call_seconds": 0}},
            "circuit_breaker.slow_call_rate: no call is slow while slow_call_seconds is 0",
        ),
        (
            {"hedging": {"enabled": True}, "manager": {"max_attempts": 1}},
            "hedging.enabled: nothing is hedged while manager.max_attempts is 1",
        ),
        (
            {"hedging": {"enabled": True}, "retry": {"budget": 0, "budget_reserve": 0}},
            "hedging.enabled: nothing is hedged while retry.budget and budget_reserve are 0",
        ),
        (
            {"degradation": [{"step": "cached_answer"}]},
            "degradation[0].step: there are no answers to give while manager.cache_enabled is false",
        ),
        (
            {"degradation": [{"step": "cached_answer"}], "manager": {"cache_enabled": True}},
            "degradation[0].step: no answer is kept beyond its time while cache.stale_ttl is 0",
        ),
        (
            {"cache": {"stale_ttl": 60}},
            "cache.stale_ttl: keeps answers for the degradation step cached_answer, which is not there",
        ),
        (
            {
                "degradation": [
                    {"step": "refuse", "message": "Later."},
                    {"step": "smaller_model", "to_model": "m"},
                ]
            },
            "degradation[1]: is never taken: degradation[0] refuses everything",
        ),
    ],
)
def test_policies_that_do_nothing_are_warnings(tables, warning):
    assert parse_config(tables).warnings == (warning,)


def test_files_can_be_watched(tmp_path):
    file = tmp_path / "config.toml"
    file.write_text("[manager]\nwatch = 5\n")
    config = load_config(file, environ={})
    assert config.manager.watch == 5
    assert checked_config(config) == config


# -- addresses ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "address",
    [
        "https://example.com",
        "http://localhost:8080/x",
        "http://127.0.0.1",
        "http://127.8.9.10:1",
        "http://[::1]:80",
        "HTTP://LOCALHOST",
        "unix:/run/x",
        "",
    ],
)
def test_addresses_that_may_be_used(address):
    assert parse_config({"providers": [provider(options={"endpoint": address})]}).warnings == ()


@pytest.mark.parametrize(
    "address",
    [
        "http://example.com",
        " http://example.com",
        "HTTP://example.com",
        "http://localhost.example.com",
        "http://localhost@example.com",
        "http://127.0.0.1.example.com",
        "http://10.0.0.1",
        "http://0.0.0.0",
        "http://127.0.0.1\\@example.com",
        "http://[::1",
        "http:/example.com",
        "http://",
    ],
)
def test_plain_http_is_refused(address):
    options = {"endpoint": address}
    (message,) = problems({"providers": [provider(options=options)]})
    assert message.startswith("providers[0].options.endpoint: ")
    assert "allow_insecure" in message or "is not a URL" in message
    for allowed in (
        provider(options=options, allow_insecure=True),
        provider(options=options | {"allow_insecure": True}),
    ):
        config = parse_config({"providers": [allowed]})
        assert config.providers[0].options == options
        assert config.providers[0].allow_insecure


def test_addresses_are_found_wherever_they_stand():
    bad = "http://example.com"
    auth = {"type": "oauth", "credentials": {"token_url": bad, "client_id": "x"}}
    options = {"base_URL": bad, "nested": {"deep": [{"sts_endpoint": bad}]}, "curl": "x", "url_note": bad}
    found = problems({"providers": [provider(options=options, auth=auth)]})
    assert [message.partition(": ")[0] for message in found] == [
        "providers[0].options.base_URL",
        "providers[0].options.nested.deep[0].sts_endpoint",
        "providers[0].auth.credentials.token_url",
    ]


def test_allow_insecure_is_a_boolean_and_does_not_reach_the_plugin():
    assert problems({"providers": [provider(options={"allow_insecure": "yes"})]}) == [
        "providers[0].options.allow_insecure: expected true or false"
    ]
    config = parse_config({"providers": [provider(options={"allow_insecure": False, "x": 1})]})
    assert (config.providers[0].options, config.providers[0].allow_insecure) == ({"x": 1}, False)


# -- literal secrets ---------------------------------------------------------------------------------------------------


def with_credentials(credentials: dict[str, Any]) -> dict[str, Any]:
    return {"providers": [provider(auth={"type": "api_key", "credentials": credentials})]}


def test_a_literal_secret_is_accepted_hidden_and_told():
    config = parse_config(with_credentials({"api_key": "hush-hush"}), file="c.toml")
    assert config.providers[0].auth.credentials == {"api_key": Secret("hush-hush")}
    (warning,) = config.warnings
    assert warning.startswith("c.toml: providers[0].auth.credentials.api_key: a literal secret")
    assert "hush" not in warning


def test_references_and_plain_facts_stay_as_they_are():
    credentials = {
        "api_key": "env:KEY",
        "client_secret": "vault:kv/x#key",
        "password": "file:/run/secret",
        "tenant_id": "t",
        "client_id": "c",
        "profile": "p",
        "role_arn": "arn:aws:iam::1:role/x",
        "certificate_path": "C:\\x.pem",
        "web_identity_token_file": "/x",
        "scope": "api://x/.default",
        "managed_identity": True,
    }
    config = parse_config(with_credentials(credentials))
    assert config.providers[0].auth.credentials == credentials
    assert config.warnings == ()


def test_secrets_in_inner_tables():
    config = parse_config(with_credentials({"inner": {"token": "hush"}}))
    assert config.providers[0].auth.credentials == {"inner": {"token": Secret("hush")}}
    assert config.warnings[0].startswith("providers[0].auth.credentials.inner.token")


@pytest.mark.parametrize("value", ["", "  ", 12345678, ["hush"]])
def test_secrets_that_cannot_be_used(value):
    (message,) = problems(with_credentials({"api_key": value}))
    assert message.startswith("providers[0].auth.credentials.api_key: ")
    assert "12345678" not in message


secret_keys = st.sampled_from(
    ["api_key", "client_secret", "session_token", "password", "private_key", "secret_access_key"]
)
literals = st.text("abcdefghijkXYZ0123456789-_", min_size=8, max_size=30).map(lambda value: f"S3CRET{value}")


@given(secret_keys, literals, st.booleans())
def test_no_repr_document_or_warning_shows_a_credential(key, value, nested):
    credentials = {"inner": {key: value}} if nested else {key: value}
    tables = with_credentials(credentials) | {"state": {"options": {"url": value}}, "gateway": {"api_keys": [value]}}
    tables["middleware"] = [{"type": "x", "options": {"token": value}}]
    tables["manager"] = {"strategy_options": {"k": value}}
    tables["providers"][0]["options"] = {"anything": value}
    config = parse_config(tables, file="c.toml", extensions={"gateway"})
    for shown in (repr(config), str(config), f"{config}", repr(config.providers), repr(config.providers[0].auth)):
        assert value not in shown
    assert all(value not in warning for warning in config.warnings)
    assert value not in dumps(config.providers[0].auth)
    assert value not in str(unstructure(config.providers[0].auth))


@given(secret_keys, literals)
def test_no_error_shows_a_credential(key, value):
    tables = with_credentials({key: value})
    tables["providers"].append(provider("a", timeout=-1, auth={"type": "none", "credential": {key: value}}))
    assert all(value not in message for message in problems(tables))


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("env:X", True),
        ("file:/x", True),
        ("file:///x", True),
        ("vault:kv/x", True),
        ("aws-sm:x", True),
        ("env:", True),
        ("env", False),
        ("x:y", False),
        ("https://x", False),
        ("vault://x", False),
        ("C:\\x", False),
        ("c:/x", False),
        ("arn:aws:x", False),
        ("urn:x:y", False),
        ("ENV:X", False),
        ("12:34", False),
        ("plain", False),
        ("", False),
    ],
)
def test_what_is_a_reference(value, expected):
    assert is_reference(value) is expected


def test_what_looks_secret():
    assert all(
        map(
            looks_secret,
            [
                "api_key",
                "API_KEY",
                "secret_access_key",
                "secret_id",
                "session_token",
                "certificate",
                "client_assertion",
            ],
        )
    )
    assert not any(
        map(
            looks_secret,
            ["tenant_id", "access_key_id", "certificate_path", "token_url", "key_file", "profile", "scope"],
        )
    )
