"""What ``[state] options`` of a SQLite store may say."""

from __future__ import annotations

import attrs

from apex_llm_core.config import setting


@attrs.frozen(kw_only=True)
class SqliteSettings:
    """The options of the state store ``sqlite``."""

    path: str = setting(doc="The file; it is made when it is not there, its folder is not. '~' is the home folder.")
    busy_timeout: float = setting(5.0, low=0, doc="Seconds to wait for another process that writes.")
    max_entries: int | None = setting(None, low=1, doc="Cached answers kept at most; default: what [cache] says.")
    max_bytes: int | None = setting(None, low=1, doc="Bytes of them kept at most; default: what [cache] says.")

    def __attrs_post_init__(self) -> None:
        if not self.path or self.path.startswith(":"):
            raise ValueError(f"path {self.path!r} names no file; for state in memory there is the state store 'memory'")
