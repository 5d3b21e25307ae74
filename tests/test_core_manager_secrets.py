"""`resolve_secret`: references of applications, through the same schemes as those of providers."""

from __future__ import annotations

import asyncio

import pytest

from apex_llm_core.blocking import BlockingManager
from apex_llm_core.errors import ConfigurationError, PluginError
from apex_llm_core.markers import hookimpl
from apex_llm_core.models.events import PluginFailed
from apex_llm_core.plugin.discovery import EXTENSIONS
from apex_llm_core.redaction import Secret

VAULT = """
import asyncio

import attrs

from apex_llm_core.errors import ConfigurationError
from apex_llm_core.markers import hookimpl
from apex_llm_core.redaction import Secret

MADE = []


@attrs.frozen(kw_only=True)
class Settings:
    realm: str = "default"


class Vault:
    def __init__(self, config, settings, runtime):
        self.settings = settings
        MADE.append(self)

    @hookimpl
    async def apex_startup(self, runtime):
        await asyncio.sleep(0)

    @hookimpl
    async def apex_resolve_secret(self, reference):
        if reference == "nothing":
            raise ConfigurationError("the vault holds nothing of that name")
        return Secret(f"{self.settings.realm}-{reference}-value")


@hookimpl
def apex_register(registrar):
    registrar.secret_scheme("vault", Vault, settings=Settings)
"""


@pytest.fixture
def vault(install):
    """An installed secret scheme that no provider uses."""

    def vault(source=VAULT):
        install("acme-vault", modules={"acme_vault": source}, entry_points={EXTENSIONS: {"vault": "acme_vault"}})
        import acme_vault

        return acme_vault

    return vault


def resolved(stage, *values, **options):
    async def body(manager):
        return [(await manager.resolve_secret(value)).reveal() for value in values]

    return stage({"a": []}, **options).run(body)


def failed(stage, kind, value, **options):
    with pytest.raises(kind) as caught:
        resolved(stage, value, **options)
    return caught.value


def test_built_in_schemes_literals_and_secrets(stage, tmp_path):
    (tmp_path / "key").write_text("from a file\n")
    values = ("env:KEY", f"file:{tmp_path}/key", "literal", Secret("wrapped"), "https://host/path")
    expected = ["from the environment", "from a file", "literal", "wrapped", "https://host/path"]
    assert resolved(stage, *values, environ={"KEY": "from the environment"}) == expected


def test_a_scheme_nobody_has_used_yet_is_loaded_with_its_table(stage, vault):
    vault()
    assert resolved(stage, "vault:a", vault={"realm": "acme"}) == ["acme-a-value"]


def test_a_scheme_is_made_once_for_all_who_ask_at_once(stage, vault):
    made = vault().MADE

    async def body(manager):
        assert made == []
        answers = await asyncio.gather(*(manager.resolve_secret(f"vault:{number}") for number in range(20)))
        return [answer.reveal() for answer in answers]

    assert stage({"a": []}).run(body) == [f"default-{number}-value" for number in range(20)]
    assert len(made) == 1


def test_a_scheme_given_in_code(stage):
    class Scheme:
        @hookimpl
        async def apex_resolve_secret(self, reference):
            return Secret(f"{reference} of code")

    class Plugin:
        @hookimpl
        def apex_register(self, registrar):
            registrar.secret_scheme("code", lambda config, settings, runtime: Scheme())

    assert resolved(stage, "code:key", plugins=(Plugin(),)) == ["key of code"]


def test_a_scheme_is_there_after_a_reload(stage, vault):
    vault()

    async def body(manager):
        await manager.resolve_secret("vault:a")
        await manager.reload()
        return (await manager.resolve_secret("vault:b")).reveal()

    assert stage({"a": []}).run(body) == "default-b-value"


def test_what_was_resolved_is_removed_from_events(stage):
    scene = stage({"a": []}, environ={"KEY": "canary-4711-canary"})

    async def body(manager):
        await manager.resolve_secret("env:KEY")
        manager._generation.bus.emit(PluginFailed(plugin="x", message="it said canary-4711-canary"))

    scene.run(body)
    assert [event.message for event in scene.events_of(PluginFailed)] == ["it said ***"]


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("env:NONE", "the environment variable NONE is not set"),
        ("env:", "names nothing"),
        ("file:/no/such/file", "cannot be read"),
        ("valt:team/key", "unknown secret scheme in 'valt:…'"),
    ],
)
def test_a_reference_that_leads_nowhere(stage, value, reason):
    assert reason in str(failed(stage, ConfigurationError, value))


def test_what_the_scheme_refuses(stage, vault):
    vault()
    assert "holds nothing" in str(failed(stage, ConfigurationError, "vault:nothing"))


def test_settings_of_a_scheme_that_do_not_fit(stage, vault):
    vault()
    assert "did you mean 'realm'" in str(failed(stage, ConfigurationError, "vault:a", vault={"relm": "acme"}))


def test_an_extension_of_that_name_that_is_no_scheme(stage, vault):
    vault(VAULT.replace('secret_scheme("vault"', 'secret_scheme("strongbox"'))
    assert "unknown secret scheme in 'vault:…'" in str(failed(stage, ConfigurationError, "vault:a"))


def test_a_broken_scheme_is_named_with_its_distribution(stage, install):
    install("acme-vault", modules={"acme_vault": "1 / 0"}, entry_points={EXTENSIONS: {"vault": "acme_vault"}})
    assert "acme-vault 1.0" in str(failed(stage, PluginError, "vault:a"))


def test_before_the_start(stage):
    manager = stage({"a": []}).make()
    with pytest.raises(RuntimeError, match="not running"):
        asyncio.run(manager.resolve_secret("literal"))


def test_synchronously(stage):
    scene = stage({"a": []})
    with BlockingManager(scene.config, plugins=scene.plugins, environ={"KEY": "value"}) as manager:
        assert manager.resolve_secret("env:KEY").reveal() == "value"
