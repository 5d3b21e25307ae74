"""Keeps secrets out of the log while botocore works for us, and leaves the application's logging as it is.

At level DEBUG botocore logs bodies of answers (new credentials among them), requests (tokens of other issuers among them)
and everything that it signs; and it warns with a traceback of each failure, which the error that is raised tells already.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager

#: Loggers that say more than they should; a test watches over the list.
_LOGGERS = (
    "botocore.auth",
    "botocore.awsrequest",
    "botocore.client",
    "botocore.configprovider",
    "botocore.credentials",
    "botocore.endpoint",
    "botocore.handlers",
    "botocore.hooks",
    "botocore.httpchecksum",
    "botocore.httpsession",
    "botocore.parsers",
    "botocore.regions",
    "botocore.retries.standard",
    "botocore.retryhandler",
    "botocore.tokens",
    "botocore.utils",
)


class _QuietThreads(logging.Filter):
    """Drops what is said in threads that are marked, unless it is news and without a traceback."""

    def __init__(self) -> None:
        super().__init__()
        self.marked = threading.local()

    def filter(self, record: logging.LogRecord) -> bool:
        depth = getattr(self.marked, "depth", 0)
        return depth == 0 or (record.levelno > logging.DEBUG and record.exc_info is None)


_QUIET = _QuietThreads()


@contextmanager
def quiet() -> Iterator[None]:
    """Let botocore say nothing secret in this thread; other threads, and other users of botocore, are not concerned."""
    for name in _LOGGERS:
        # Adding it again changes nothing; it stays, since another thread may be inside.
        logging.getLogger(name).addFilter(_QUIET)
    marked = _QUIET.marked
    marked.depth = getattr(marked, "depth", 0) + 1
    try:
        yield
    finally:
        marked.depth -= 1


__all__ = ["quiet"]
