"""The root of the conformance classes, and the guard against overriding their tests silently."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

Method = TypeVar("Method", bound=Callable[..., Any])

_REASON = "__apex_overrides_standard_test__"
_GUARD = "test_no_standard_test_is_overridden"


def overrides_standard_test(*, reason: str) -> Callable[[Method], Method]:
    """Mark a test that replaces an inherited standard test on purpose.

    Args:
        reason: why the standard test does not fit; one sentence that a reviewer can judge.

    Raises:
        ValueError: the reason is empty.
    """
    if not reason.strip():
        raise ValueError("overrides_standard_test needs a reason: why does the standard test not fit?")

    def mark(method: Method) -> Method:
        setattr(method, _REASON, reason)
        return method

    return mark


def _undeclared(cls: type) -> list[str]:
    """Return one complaint per test of *cls* that hides an inherited one, or that claims to and does not."""
    complaints = []
    lineage = cls.__mro__
    for position, owner in enumerate(lineage):
        for name, value in vars(owner).items():
            if not name.startswith("test_"):
                continue
            hidden = next(
                (base for base in lineage[position + 1 :] if name in vars(base) and issubclass(base, ConformanceBase)),
                None,
            )
            reason = getattr(value, _REASON, None)
            if hidden is not None and reason is None:
                complaints.append(f"{owner.__qualname__}.{name} replaces the test of {hidden.__qualname__}")
            elif hidden is None and reason is not None:
                complaints.append(f"{owner.__qualname__}.{name} is marked as an override but replaces nothing")
    return complaints


class ConformanceBase:
    """Root of `ProviderConformance`, `StrategyConformance` and `MiddlewareConformance`.

    A standard test that does not fit is switched off with the class's capability switches, or replaced by one marked
    with `overrides_standard_test`, so that every departure from the standard can be found and has its reason.
    """

    def __init_subclass__(cls, **keywords: Any) -> None:
        super().__init_subclass__(**keywords)
        if getattr(cls, _GUARD) is not getattr(ConformanceBase, _GUARD):
            raise TypeError(f"{cls.__qualname__} replaces {_GUARD}, the one test that cannot be replaced")

    def test_no_standard_test_is_overridden(self) -> None:
        """No inherited test is replaced without a declared reason.

        Troubleshooting: rename your test if it should run beside the standard one; use the class's switches if your
        plugin does not claim the ability; otherwise mark it with ``@overrides_standard_test(reason="...")``. A mark
        that replaces nothing is stale: the standard test was renamed or removed, so look for its successor.
        """
        complaints = _undeclared(type(self))
        assert not complaints, "; ".join(complaints)


__all__ = ["ConformanceBase", "overrides_standard_test"]
