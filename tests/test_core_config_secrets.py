from __future__ import annotations

import asyncio
import traceback
from typing import Any

import pytest

from apex_llm_core.config import EnvSecrets, FileSecrets, SecretResolver, iter_references
from apex_llm_core.errors import ConfigurationError
from apex_llm_core.markers import PROJECT_NAME
from apex_llm_core.redaction import Redactor, Secret
from apex_llm_core.testing.clock import run_virtual


def resolver(**schemes: Any) -> tuple[SecretResolver, Redactor]:
    redactor = Redactor()
    built_in = {
        "env": EnvSecrets({"KEY": "from-environment\n", "EMPTY": "\n", "OTHER_KEY": "x"}).apex_resolve_secret,
        "file": FileSecrets().apex_resolve_secret,
    }
    return SecretResolver({**built_in, **schemes}, redactor), redactor


def resolve(value: str | Secret, **schemes: Any) -> str:
    return run_virtual(resolver(**schemes)[0].resolve(value)).reveal()


def fails(value: str | Secret, **schemes: Any) -> str:
    with pytest.raises(ConfigurationError) as caught:
        resolve(value, **schemes)
    return str(caught.value)


def test_built_in_schemes(tmp_path):
    file = tmp_path / "secret"
    file.write_text("first\nsecond\r\n")
    assert resolve("env:KEY") == "from-environment"
    assert resolve(f"file:{file}") == "first\nsecond"
    assert resolve(f"file://{file}") == "first\nsecond"


def test_the_home_directory_is_known(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "s").write_text("home")
    assert resolve("file:~/s") == "home"


@pytest.mark.parametrize("value", ["sk-literal", "https://x.y/z", "C:\\x", "arn:aws:x", "env", "a b: c"])
def test_literals_pass(value):
    assert resolve(value) == value
    assert resolve(Secret(value)) == value


def test_a_hidden_reference_is_a_reference_and_a_hidden_literal_is_not():
    assert resolve(Secret("env:KEY")) == "from-environment"
    assert resolve(Secret("word:with-colon")) == "word:with-colon"


def test_a_missing_variable_names_the_nearest_one():
    assert fails("env:KEYY") == ("secret 'env:KEYY': the environment variable KEYY is not set; did you mean 'KEY'?")
    assert fails("env:SOMETHING_ELSE") == (
        "secret 'env:SOMETHING_ELSE': the environment variable SOMETHING_ELSE is not set"
    )


def test_empty_secrets(tmp_path):
    (tmp_path / "s").write_text(" \n")
    assert fails("env:EMPTY") == "secret 'env:EMPTY': the environment variable is empty"
    assert fails(f"file:{tmp_path / 's'}").endswith("the file is empty")


def test_files_that_cannot_be_used(tmp_path):
    (tmp_path / "binary").write_bytes(b"hush\xff")
    (tmp_path / "large").write_bytes(b"x" * 70_000)
    assert fails(f"file:{tmp_path / 'none'}").endswith("cannot be read: No such file or directory")
    assert fails(f"file:{tmp_path}").endswith("cannot be read: Is a directory")
    assert "cannot be read" in fails("file:a\x00b")
    assert fails(f"file:{tmp_path / 'large'}").endswith("the file is larger than 65536 bytes")
    with pytest.raises(ConfigurationError, match="not UTF-8") as caught:
        resolve(f"file:{tmp_path / 'binary'}")
    assert caught.value.__cause__ is None
    assert "hush" not in "".join(traceback.format_exception(caught.value))


def test_a_file_is_read_in_a_thread(tmp_path, monkeypatch):
    (tmp_path / "s").write_text("x")
    calls = []
    real = asyncio.to_thread

    async def to_thread(function, *args):
        calls.append(args)
        return await real(function, *args)

    monkeypatch.setattr(asyncio, "to_thread", to_thread)
    assert resolve(f"file:{tmp_path / 's'}") == "x"
    assert calls == [(str(tmp_path / "s"),)]


def test_a_reference_to_nothing():
    assert fails("env:") == "secret 'env:' names nothing"


def test_an_unknown_scheme_names_the_nearest_one_and_never_the_value():
    message = fails("enw:S3CRET")
    assert message.startswith("unknown secret scheme in 'enw:…'; did you mean 'env'?")
    assert "S3CRET" not in message


def test_schemes_of_extensions():
    async def vault(reference: str) -> Secret:
        return Secret(f"<{reference}>")

    assert resolve("vault:kv/x#y", vault=vault) == "<kv/x#y>"
    assert resolve("vault://kv/x", vault=vault) == "<//kv/x>"


def test_failures_of_schemes_are_configuration_errors_without_known_secrets():
    async def broken(reference: str) -> Secret:
        raise RuntimeError(f"cannot open {reference} with from-environment")

    async def wrong(_reference: str) -> Any:
        return "plain"

    async def typed(_reference: str) -> Secret:
        raise ConfigurationError("its own words")

    async def both() -> None:
        subject, _ = resolver(broken=broken)
        await subject.resolve("env:KEY")
        await subject.resolve("broken:x")

    with pytest.raises(ConfigurationError, match=r"secret 'broken:x' cannot be resolved: cannot open x with \*\*\*"):
        run_virtual(both())
    assert fails("wrong:x", wrong=wrong) == "secret 'wrong:x': its scheme returned a str; expected a Secret"
    assert fails("typed:x", typed=typed) == "its own words"


def test_cancellation_passes():
    async def cancelled(_reference: str) -> Secret:
        raise asyncio.CancelledError

    async def main() -> bool:
        try:
            await resolver(slow=cancelled)[0].resolve("slow:x")
        except asyncio.CancelledError:
            return True
        return False

    assert run_virtual(main())


def test_the_redactor_learns_every_value():
    async def main() -> Redactor:
        subject, redactor = resolver()
        await subject.resolve("env:KEY")
        await subject.resolve("literal-value")
        return redactor

    assert run_virtual(main()).scrub("a from-environment b literal-value c") == "a *** b *** c"


def test_references_of_credentials():
    credentials = {
        "api_key": "env:A",
        "id": "x",
        "hidden": Secret("env:B"),
        "inner": {"token": "vault:b"},
        "flag": True,
    }
    assert list(iter_references(credentials)) == [("api_key", "env:A"), ("inner.token", "vault:b")]


def test_the_built_in_schemes_are_hook_implementations():
    for cls in (EnvSecrets, FileSecrets):
        assert hasattr(cls.apex_resolve_secret, f"{PROJECT_NAME}_impl")
        assert asyncio.iscoroutinefunction(cls.apex_resolve_secret)
