"""A provider without a network: everything a real one can do, deterministic and seeded."""

from __future__ import annotations

from apex_llm_mock.settings import Fault, Latency, MockSettings, Reply, ScriptedToolCall

__all__ = ["Fault", "Latency", "MockSettings", "Reply", "ScriptedToolCall"]
