from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apex_llm_core.config import parse_config
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


def test_capabilities_are_known_words():
    models = [{"id": "m", "capabilities": ["chat", "visoin"]}]
    assert problems({"providers": [provider(models=models)]}) == [
        "providers[0].models[0].capabilities[1]: unknown capability 'visoin'; did you mean 'vision'?"
    ]


def test_fallback_models_are_sane():
    assert problems({"fallback": {"models": {"gpt-4.1": ["gpt-4.1"], "b": [], "c": ["x", "x"]}}}) == [
        "fallback.models[\"gpt-4.1\"][0]: 'gpt-4.1' cannot stand in for itself",
        "fallback.models.b: names no model to go on with",
        "fallback.models.c[1]: 'x' stands here twice",
    ]


def test_models_nobody_serves_are_warnings():
    tables = {
        "manager": {"default_model": "gpt-4"},
        "providers": [provider(models=[{"id": "gpt-4o"}])],
        "routes": [{"to_model": "claude"}],
        "fallback": {"models": {"gpt-4o": ["gpt-5"]}},
    }
    assert [warning.partition(": ")[0] for warning in parse_config(tables).warnings] == [
        "manager.default_model",
        "routes[0].to_model",
        "fallback.models.gpt-4o[0]",
    ]
    assert "did you mean 'gpt-4o'?" in parse_config(tables).warnings[0]
    # A provider without models offers those of its type.
    tables["providers"].append(provider("b"))
    assert parse_config(tables).warnings == ()


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
