"""Addresses to listen at: as people write them, as a browser takes them, and why one cannot be had."""

from __future__ import annotations

import errno
import socket

from apex_llm_core.errors import ConfigurationError

#: Hosts that mean every address of this machine, with the one of them that a client here can use.
_ALL = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "[::1]"}  # noqa: S104 - known, not listened at


def url_of(host: str, port: int) -> str:
    """Return the URL at which a client on this machine reaches a gateway that listens at *host*."""
    name = _ALL.get(host) or (f"[{host}]" if ":" in host else host)
    return f"http://{name}:{port}"


def is_everywhere(host: str) -> bool:
    """Tell whether *host* means every address of this machine."""
    return host in _ALL


def cannot_listen(error: OSError, host: str, port: int) -> ConfigurationError:
    """Return what *error* means for whoever chose *host* and *port*."""
    key, reason = "gateway.port", error.strerror or str(error)
    if isinstance(error, socket.gaierror):
        key, reason = "gateway.host", f"{host!r} is no address, and no name that is known here ({reason})"
    elif error.errno == errno.EADDRINUSE:
        reason = f"port {port} at {host} is taken; choose another by --port or [gateway] port, 0 takes a free one"
    elif error.errno in {errno.EACCES, errno.EPERM}:
        reason = f"port {port} is not for this user; choose one above 1023 by --port or [gateway] port"
    elif error.errno == errno.EADDRNOTAVAIL:
        key, reason = "gateway.host", f"{host} is not an address of this machine"
    return ConfigurationError(f"cannot listen: {reason}", key=key)


__all__ = ["cannot_listen", "is_everywhere", "url_of"]
