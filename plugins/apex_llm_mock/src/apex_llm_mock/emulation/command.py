"""``apex-llm emulate``: a provider on loopback, for tests of anybody's client."""

from __future__ import annotations

import asyncio
import signal
import tempfile
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from apex_llm_cli.options import Invocation

    from apex_llm_mock.emulation.azure.emulator import AzureEmulator
    from apex_llm_mock.emulation.bedrock.emulator import BedrockEmulator
    from apex_llm_mock.emulation.server import Emulator

_PORT = click.IntRange(0, 65_535)


def _pairs(context: click.Context, parameter: click.Parameter, values: tuple[str, ...]) -> dict[str, str]:
    pairs: dict[str, str] = {}
    for value in values:
        name, equals, model = value.partition("=")
        if not name or (equals and not model):
            raise click.BadParameter(f"{value!r} is not {parameter.metavar}", context, parameter)
        pairs[name] = model or name
    return pairs


def _listening(command: Callable[..., None]) -> Callable[..., None]:
    """Give *command* the options of every emulator."""
    for option in (
        click.option(
            "--pause", type=click.FloatRange(min=0), default=0.0, help="Seconds between two chunks of a stream."
        ),
        click.option(
            "--chunk-size", type=click.IntRange(min=1), default=16, show_default=True, help="Characters per chunk."
        ),
        click.option("--port", type=_PORT, default=0, metavar="N", help="The port; default: a free one."),
        click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on."),
    ):
        command = option(command)
    return command


@click.group("emulate")
def command() -> None:
    """Run an emulator of a provider on this machine; Ctrl-C ends it."""


@command.command("azure")
@_listening
@click.option(
    "--token-port", type=_PORT, metavar="N", help="Give tokens of Entra ID there, with https; 0: a free port."
)
@click.option("--api-key", metavar="KEY", help="The resource's key; default: one that is printed.")
@click.option(
    "--deployment",
    "deployments",
    multiple=True,
    metavar="NAME=MODEL",
    callback=_pairs,
    help="A deployment and its base model; repeatable. Default: one for each base model.",
)
@click.option(
    "--ca-file",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Where to write the certificate to trust for the tokens; default: a temporary file.",
)
@click.pass_obj
def azure(
    invocation: Invocation,
    /,
    host: str,
    port: int,
    token_port: int | None,
    api_key: str | None,
    deployments: dict[str, str],
    chunk_size: int,
    pause: float,
    ca_file: Path | None,
) -> None:
    """Emulate an Azure OpenAI resource.

    It prints where it is, what opens it, and a configuration that uses it. A deployment called fault-NAME always fails in
    that way, for example fault-rate-limit; POST /emulator/faults orders faults for the next calls.
    """
    from apex_llm_cli.running import run

    from apex_llm_mock.emulation.azure.emulator import API_KEY, AzureEmulator

    if ca_file is not None and token_port is None:
        raise click.UsageError("--ca-file needs --token-port: without it there is no certificate")
    try:
        emulator = AzureEmulator(
            host=host,
            port=port,
            token_port=token_port,
            api_key=api_key or API_KEY,
            deployments=deployments or None,
            chunk_size=chunk_size,
            read_pause=pause,
        )
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--deployment") from error

    async def announce(folder: Path) -> None:
        trusted = ca_file
        if emulator.certificate is not None:
            trusted = trusted or folder / "ca.pem"
            try:
                await asyncio.to_thread(emulator.certificate.write_ca, trusted)
            except OSError as error:
                raise click.UsageError(f"cannot write {str(trusted)!r}: {error.strerror}") from error
        _print_azure(emulator, trusted, as_json=invocation.json)

    try:
        run(_serve(emulator, announce))
    except ModuleNotFoundError as error:
        raise click.UsageError(str(error)) from error


@command.command("bedrock")
@_listening
@click.option("--region", metavar="NAME", help="The region that requests must be signed for; default: us-east-1.")
@click.option("--access-key-id", metavar="ID", help="An access key; default: one that is printed.")
@click.option("--secret-access-key", metavar="SECRET", help="Its secret; default: one that is printed.")
@click.option("--api-key", metavar="KEY", help="The bearer token; default: one that is printed.")
@click.option(
    "--model",
    "models",
    multiple=True,
    metavar="NAME=BASE",
    callback=_pairs,
    help="A model id and the model it behaves like; repeatable. Default: all that the emulator knows, and their profiles.",
)
@click.pass_obj
def bedrock(
    invocation: Invocation,
    /,
    host: str,
    port: int,
    region: str | None,
    access_key_id: str | None,
    secret_access_key: str | None,
    api_key: str | None,
    models: dict[str, str],
    chunk_size: int,
    pause: float,
) -> None:
    """Emulate Amazon Bedrock.

    It prints where it is, what opens it, and a configuration that uses it. A model called fault-NAME always fails in that
    way, for example fault-throttling; POST /emulator/faults orders faults for the next calls.
    """
    from apex_llm_cli.running import run

    from apex_llm_mock.emulation.bedrock.emulator import (
        ACCESS_KEY_ID,
        API_KEY,
        REGION,
        SECRET_ACCESS_KEY,
        BedrockEmulator,
    )

    try:
        emulator = BedrockEmulator(
            host=host,
            port=port,
            region=region or REGION,
            access_key_id=access_key_id or ACCESS_KEY_ID,
            secret_access_key=secret_access_key or SECRET_ACCESS_KEY,
            api_key=api_key or API_KEY,
            models=models or None,
            chunk_size=chunk_size,
            read_pause=pause,
        )
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--model") from error

    async def announce(_folder: Path) -> None:
        _print_bedrock(emulator, as_json=invocation.json)

    run(_serve(emulator, announce))


async def _serve(emulator: Emulator, announce: Callable[[Path], Awaitable[None]]) -> None:
    """Serve until somebody wants an end; *announce* gets a folder for files that nobody needs afterwards."""
    leave = asyncio.Event()
    with suppress(NotImplementedError):
        # SIGINT cancels; a service manager sends this one.
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, leave.set)
    with tempfile.TemporaryDirectory(prefix="apex-llm-") as folder:
        try:
            await emulator.start()
        except OSError as error:
            raise click.UsageError(f"cannot listen: {error.strerror or error}") from error
        try:
            await announce(Path(folder))
            await leave.wait()
        finally:
            await emulator.stop()


def _print_azure(emulator: AzureEmulator, ca_file: Path | None, *, as_json: bool) -> None:
    from apex_llm_mock.emulation.azure.snippet import configuration

    snippet = configuration(emulator, ca_file)
    facts: dict[str, Any] = {"address": emulator.url, "api_key": emulator.api_key}
    if emulator.authority:
        facts |= {
            "token_authority": emulator.authority,
            "client_id": emulator.entra.client_id,
            "client_secret": emulator.entra.client_secret,
            "ca_file": str(ca_file),
        }
    _print(facts, snippet, {"deployments": emulator.deployments}, as_json=as_json)


def _print_bedrock(emulator: BedrockEmulator, *, as_json: bool) -> None:
    from apex_llm_mock.emulation.bedrock.snippet import configuration, shown_models

    facts = {
        "address": emulator.url,
        "region": emulator.region,
        "access_key_id": emulator.access_key_id,
        "secret_access_key": emulator.secret_access_key,
        "api_key": emulator.api_key,
    }
    _print(facts, configuration(emulator), {"models": shown_models(emulator)}, as_json=as_json)


def _print(facts: dict[str, Any], snippet: str, more: dict[str, Any], *, as_json: bool) -> None:
    from apex_llm_cli.output import print_document, write

    if as_json:
        print_document({**facts, **more, "configuration": snippet})
    else:
        # Comments, so that the whole output is a configuration file.
        write("".join(f"# {name.replace('_', ' ')}: {value}\n" for name, value in facts.items()) + f"\n{snippet}")


__all__ = ["azure", "bedrock", "command"]
