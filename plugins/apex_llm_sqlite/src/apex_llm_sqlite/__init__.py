"""The state store `sqlite`: one file that the processes of one machine share."""

from __future__ import annotations

from apex_llm_sqlite.store import SqliteStore

__all__ = ["SqliteStore"]
