"""The conformance kit: what every provider, strategy and middleware must do, as test classes to subclass."""

from __future__ import annotations

from apex_llm_core.testing.clock import FakeClock, run_virtual

__all__ = ["FakeClock", "run_virtual"]
