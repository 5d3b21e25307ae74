"""A configuration of apex-llm that uses a running emulator."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from apex_llm_mock.emulation.azure.emulator import AzureEmulator


def configuration(emulator: AzureEmulator, ca_file: Path | None) -> str:
    """Return TOML with one provider; with a token authority a second one asks that for tokens."""
    credentials = f"{{ api_key = {_text(emulator.api_key)} }}"
    tables = [
        _provider(
            emulator,
            "azure",
            f'{{ type = "api_key", credentials = {credentials} }}',
            f"{{ endpoint = {_text(emulator.url)} }}",
        )
    ]
    if emulator.authority:
        entra = emulator.entra
        credentials = (
            f"{{ tenant_id = {_text(entra.tenant)}, client_id = {_text(entra.client_id)}, "
            f"client_secret = {_text(entra.client_secret)} }}"
        )
        options = (
            f"{{ endpoint = {_text(emulator.url)}, authority = {_text(emulator.authority.rpartition('/')[0])}, "
            f"ca_file = {_text(str(ca_file))} }}"
        )
        tables.append(
            _provider(emulator, "azure-entra", f'{{ type = "azure_ad", credentials = {credentials} }}', options)
        )
    return "\n".join(tables)


def _provider(emulator: AzureEmulator, name: str, auth: str, options: str) -> str:
    models = "".join(
        f"  {{ id = {_text(deployment)}, base_model = {_text(model)} }},\n"
        for deployment, model in emulator.deployments.items()
    )
    return (
        f'[[providers]]\nname = "{name}"\ntype = "azure"\nauth = {auth}\noptions = {options}\nmodels = [\n{models}]\n'
    )


def _text(value: str) -> str:
    # JSON's strings are TOML's basic strings, but for one control character.
    return json.dumps(value).replace("\x7f", "\\u007f")


__all__ = ["configuration"]
