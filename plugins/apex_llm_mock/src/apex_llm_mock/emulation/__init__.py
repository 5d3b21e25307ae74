"""Emulators: servers on loopback that speak a provider's wire protocol, for tests of anybody's client.

Importing this package imports no web server; the names below load theirs when they are first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from apex_llm_mock.emulation.azure.emulator import AzureEmulator
    from apex_llm_mock.emulation.azure.faults import FAULTS
    from apex_llm_mock.emulation.bedrock.emulator import BedrockEmulator
    from apex_llm_mock.emulation.bedrock.faults import BEDROCK_FAULTS
    from apex_llm_mock.emulation.journal import Received

_HOMES = {
    "AzureEmulator": "azure.emulator",
    "BEDROCK_FAULTS": "bedrock.faults",
    "BedrockEmulator": "bedrock.emulator",
    "FAULTS": "azure.faults",
    "Received": "journal",
}


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{home}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})


__all__ = ["BEDROCK_FAULTS", "FAULTS", "AzureEmulator", "BedrockEmulator", "Received"]
