"""Faults on order: which name strikes which call, how often, and what of it was changed."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from threading import Lock
from types import MappingProxyType
from typing import Any

import attrs

from apex_llm_core.errors import nearest

#: A deployment or model whose name begins so always fails in the way that follows.
PREFIX = "fault-"


def normalised(name: str) -> str:
    """Return the name of a fault with underscores; deployments are usually written with hyphens."""
    return name.strip().lower().replace("-", "_")


def _headers(value: Mapping[str, str] | None) -> Mapping[str, str]:
    return MappingProxyType({str(name).lower(): str(text) for name, text in (value or {}).items()})


@attrs.define(kw_only=True)
class FaultOrder:
    """A fault that waits for its call. None leaves what the fault does by itself."""

    fault: str
    #: How many calls it strikes; None: all.
    times: int | None = 1
    #: Beside those of the fault, or instead of them.
    headers: Mapping[str, str] = attrs.field(default=None, converter=_headers)
    status: int | None = None
    #: A document, text, or bytes.
    body: Any = None
    #: How many chunks with content a stream delivers before the fault.
    after_chunks: int | None = None
    #: Only calls of this deployment, or of this operation ("chat/completions", "embeddings", "models", …).
    deployment: str | None = None
    operation: str | None = None

    def concerns(self, operation: str, deployment: str) -> bool:
        """Return whether the order is about such a call."""
        return self.operation in (None, operation) and self.deployment in (None, deployment)

    def document(self) -> dict[str, Any]:
        """Return it for JSON."""
        return {
            **attrs.asdict(self, recurse=False),
            "headers": dict(self.headers),
            "body": None if self.body is None else repr(self.body),
        }


class FaultQueue:
    """Orders in the order in which they were given. Threads may give them while the emulator serves."""

    def __init__(self, names: Collection[str]) -> None:
        self._names = names
        self._orders: list[FaultOrder] = []
        self._lock = Lock()

    def __len__(self) -> int:
        return len(self._orders)

    def add(
        self,
        name: str,
        *,
        times: int | None = 1,
        headers: Mapping[str, str] | None = None,
        status: int | None = None,
        body: Any = None,
        after_chunks: int | None = None,
        deployment: str | None = None,
        operation: str | None = None,
    ) -> FaultOrder:
        """Order a fault for the next calls that it concerns; the arguments are the fields of `FaultOrder`.

        Raises:
            ValueError: there is no such fault, or an argument makes no sense.
        """
        fault = normalised(name)
        if fault not in self._names:
            raise ValueError(f"there is no fault {name!r}{nearest(fault, self._names)}")
        if times is not None and times < 1:
            raise ValueError(f"times is {times}; expected at least 1, or None for every call")
        if status is not None and not 200 <= status <= 599:
            raise ValueError(f"status is {status}; expected 200 to 599")
        if after_chunks is not None and after_chunks < 0:
            raise ValueError(f"after_chunks is {after_chunks}; expected 0 or more")
        order = FaultOrder(
            fault=fault,
            times=times,
            headers=headers,
            status=status,
            body=body,
            after_chunks=after_chunks,
            deployment=deployment,
            operation=operation,
        )
        with self._lock:
            self._orders.append(order)
        return order

    def take(self, operation: str, deployment: str, able: Collection[str]) -> FaultOrder | None:
        """Return the first order about such a call whose fault is among the *able*, and count it; None without one."""
        if not self._orders:
            return None
        with self._lock:
            for order in self._orders:
                if order.fault in able and order.concerns(operation, deployment):
                    if order.times is not None:
                        order.times -= 1
                        if order.times == 0:
                            self._orders.remove(order)
                    return order
        return None

    def clear(self) -> None:
        """Forget all orders."""
        with self._lock:
            self._orders.clear()

    def pending(self) -> list[FaultOrder]:
        """Return the orders that have not struck as often as they should."""
        with self._lock:
            return list(self._orders)


__all__ = ["PREFIX", "FaultOrder", "FaultQueue", "normalised"]
