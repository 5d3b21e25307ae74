"""Addresses: which are this machine's own, and which pages of a browser may come through an open door."""

from __future__ import annotations

import ipaddress
import re
from functools import lru_cache

from apex_llm_gateway.http import HttpError, Request

_HOST = re.compile(r"(?P<name>\[[0-9a-fA-F:.]+\]|[^\s:/@\[\]]+)(?::(?P<port>\d{1,5}))?", re.ASCII)
_ORIGIN = re.compile(r"(?P<scheme>https?)://(?P<host>[^\s/]+)", re.ASCII | re.IGNORECASE)
_PORTS = {"http": "80", "https": "443"}


def is_loopback(host: str) -> bool:
    """Tell whether *host*, an address or a name, is reached from this machine only."""
    name = host.strip().removeprefix("[").removesuffix("]")
    if name.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def guard_browser(request: Request) -> None:
    """Refuse what a page of another site makes a browser on this machine send.

    For a gateway without keys: whoever reaches it may use it, and a browser here reaches it on behalf of any page. A name of
    the page's that suddenly means 127.0.0.1 is told by the Host header, the page itself by Origin or Sec-Fetch-Site.

    Raises:
        HttpError: it is refused (403).
    """
    headers = request.headers
    host = _own_host(headers.get("host", ""))
    if host is None:
        raise HttpError(
            403,
            "without keys this gateway answers to localhost and 127.0.0.1 only, and the Host header names something else;"
            " configure [gateway] api_keys to use it under other names",
            code="host_not_allowed",
        )
    origin = headers.get("origin")
    if origin is not None:
        foreign = not _is_same(origin, host)
    else:
        foreign = headers.get("sec-fetch-site", "none") not in {"none", "same-origin"}
    if foreign:
        raise HttpError(
            403,
            "without keys this gateway does not answer pages of other sites; configure [gateway] api_keys to let them in",
            code="origin_not_allowed",
        )


# Clients send the same few again and again.
@lru_cache(maxsize=64)
def _own_host(host: str) -> re.Match[str] | None:
    """Take the Host header apart, None when it names anything but this machine."""
    found = _HOST.fullmatch(host)
    return found if found is not None and is_loopback(found["name"]) else None


def _is_same(origin: str, host: re.Match[str]) -> bool:
    parts = _ORIGIN.fullmatch(origin)
    named = _HOST.fullmatch(parts["host"]) if parts is not None else None
    if parts is None or named is None:
        return False
    usual = _PORTS[parts["scheme"].lower()]
    return (named["name"].lower(), named["port"] or usual) == (host["name"].lower(), host["port"] or usual)


__all__ = ["guard_browser", "is_loopback"]
