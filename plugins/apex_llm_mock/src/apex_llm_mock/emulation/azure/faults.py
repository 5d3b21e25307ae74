"""Everything that goes wrong with Azure OpenAI, by name."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from apex_llm_mock.emulation.azure.fault_bodies import BODY_FAULTS
from apex_llm_mock.emulation.azure.refusals import REFUSALS
from apex_llm_mock.emulation.azure.stream_faults import STREAM_FAULTS
from apex_llm_mock.emulation.azure.throttling import THROTTLING
from apex_llm_mock.emulation.fault_forms import Fault

#: All faults: refusals, throttling and failures of the service, broken answers and connections, broken streams.
FAULTS: Mapping[str, Fault] = MappingProxyType({**REFUSALS, **THROTTLING, **BODY_FAULTS, **STREAM_FAULTS})

__all__ = ["FAULTS"]
