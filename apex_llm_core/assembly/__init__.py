"""The only room that knows everyone: configuration in, a running generation out."""

from __future__ import annotations

from apex_llm_core.assembly.generation import Generation

__all__ = ["Generation"]
