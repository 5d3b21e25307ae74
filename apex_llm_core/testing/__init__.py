"""The conformance kit: what every provider, strategy and middleware must do, as test classes to subclass.

Needs the extra ``testing``. Names are imported when first used: the virtual clock alone does not need pytest.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from apex_llm_core.testing.clock import FakeClock, run_virtual

if TYPE_CHECKING:
    from apex_llm_core.testing.guard import ConformanceBase, overrides_standard_test
    from apex_llm_core.testing.middleware import MiddlewareConformance
    from apex_llm_core.testing.provider import ProviderConformance
    from apex_llm_core.testing.runtime import FakeRuntime, make_candidate, make_context
    from apex_llm_core.testing.strategy import StrategyConformance

_HOMES = {
    "ConformanceBase": "guard",
    "FakeRuntime": "runtime",
    "MiddlewareConformance": "middleware",
    "ProviderConformance": "provider",
    "StrategyConformance": "strategy",
    "make_candidate": "runtime",
    "make_context": "runtime",
    "overrides_standard_test": "guard",
}


def __getattr__(name: str) -> object:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        module = importlib.import_module(f"{__name__}.{home}")
    except ModuleNotFoundError as error:
        raise ImportError(f'{name} needs {error.name}: pip install "apex-llm-core[testing]"') from error
    value: object = getattr(module, name)
    globals()[name] = value
    return value


__all__ = [
    "ConformanceBase",
    "FakeClock",
    "FakeRuntime",
    "MiddlewareConformance",
    "ProviderConformance",
    "StrategyConformance",
    "make_candidate",
    "make_context",
    "overrides_standard_test",
    "run_virtual",
]
