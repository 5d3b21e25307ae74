"""A configuration of apex-llm that uses a running emulator."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from apex_llm_mock.emulation.toml_text import quoted

if TYPE_CHECKING:
    from apex_llm_mock.emulation.azure.emulator import AzureEmulator


def configuration(emulator: AzureEmulator, ca_file: Path | None) -> str:
    """Return TOML with one provider; with a token authority a second one asks that for tokens."""
    credentials = f"{{ api_key = {quoted(emulator.api_key)} }}"
    tables = [
        _provider(
            emulator,
            "azure",
            f'{{ type = "api_key", credentials = {credentials} }}',
            f"{{ endpoint = {quoted(emulator.url)} }}",
        )
    ]
    if emulator.authority:
        entra = emulator.entra
        credentials = (
            f"{{ tenant_id = {quoted(entra.tenant)}, client_id = {quoted(entra.client_id)}, "
            f"client_secret = {quoted(entra.client_secret)} }}"
        )
        options = (
            f"{{ endpoint = {quoted(emulator.url)}, authority = {quoted(emulator.authority.rpartition('/')[0])}, "
            f"ca_file = {quoted(str(ca_file))} }}"
        )
        tables.append(
            _provider(emulator, "azure-entra", f'{{ type = "azure_ad", credentials = {credentials} }}', options)
        )
    return "\n".join(tables)


def _provider(emulator: AzureEmulator, name: str, auth: str, options: str) -> str:
    models = "".join(
        f"  {{ id = {quoted(deployment)}, base_model = {quoted(model)} }},\n"
        for deployment, model in emulator.deployments.items()
    )
    return (
        f'[[providers]]\nname = "{name}"\ntype = "azure"\nauth = {auth}\noptions = {options}\nmodels = [\n{models}]\n'
    )


__all__ = ["configuration"]
