"""The two pluggy markers; this module imports nothing else of the package, so any plugin can import it first."""

from __future__ import annotations

import pluggy

PROJECT_NAME = "apex_llm"
#: Every hook name begins with this; the plugin manager looks at no other attribute of a plugin.
HOOK_PREFIX = "apex_"

hookspec = pluggy.HookspecMarker(PROJECT_NAME)
hookimpl = pluggy.HookimplMarker(PROJECT_NAME)

__all__ = ["HOOK_PREFIX", "PROJECT_NAME", "hookimpl", "hookspec"]
