"""File descriptors: every connection takes one, and a process may have so many only.

Without any left nothing can be accepted, no provider asked, no secret read: strangers who do nothing but connect would stop the
gateway. So the limit is raised as far as the process may, and connections take three quarters of it at most.
"""

from __future__ import annotations

import sys
from contextlib import suppress

if sys.platform != "win32":
    import resource

#: Those of the process itself: libraries, logs, databases.
_OWN = 64


def room_for(connections: int) -> int:
    """Raise the limit so that *connections* find room if possible; return how many do."""
    if sys.platform == "win32":
        # It has no such limit.
        return connections
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = -(-connections * 4 // 3) + _OWN
    if soft != resource.RLIM_INFINITY and soft < wanted:
        reachable = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        # Some systems have another bound that they do not tell.
        with suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, reachable), hard))
        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return connections if soft == resource.RLIM_INFINITY else min(connections, max(1, (soft - _OWN) * 3 // 4))


__all__ = ["room_for"]
