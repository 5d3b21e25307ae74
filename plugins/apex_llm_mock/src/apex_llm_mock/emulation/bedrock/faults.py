"""Everything that goes wrong with Bedrock, by name."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from apex_llm_mock.emulation.bedrock.failures import FAILURES
from apex_llm_mock.emulation.bedrock.fault_bodies import BODY_FAULTS
from apex_llm_mock.emulation.bedrock.refusals import REFUSALS
from apex_llm_mock.emulation.bedrock.stream_faults import STREAM_FAULTS
from apex_llm_mock.emulation.fault_forms import Fault

#: All faults: refusals, throttling and failures, broken answers and connections, broken streams.
BEDROCK_FAULTS: Mapping[str, Fault] = MappingProxyType({**REFUSALS, **FAILURES, **BODY_FAULTS, **STREAM_FAULTS})

__all__ = ["BEDROCK_FAULTS"]
