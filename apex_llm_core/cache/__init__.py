"""Answers kept for repeated requests, and the built-in state store they are kept in."""

from __future__ import annotations

from apex_llm_core.cache.exact import ResponseCache
from apex_llm_core.cache.memory import MemoryStore
from apex_llm_core.cache.replay import Recorder, replayed
from apex_llm_core.cache.single_flight import SingleFlight

__all__ = ["MemoryStore", "Recorder", "ResponseCache", "SingleFlight", "replayed"]
