"""The table ``[gateway]``: every key with its meaning and its bounds."""

from __future__ import annotations

from typing import Literal

import attrs

from apex_llm_core.config import setting

#: What becomes of parameters in a body that OpenAI's API, as this gateway knows it, does not have.
UnknownParameters = Literal["pass", "drop", "reject"]


@attrs.frozen(kw_only=True)
class ApiKeySettings:
    """One key that callers may use. Exactly one of `key` and `key_sha256` is given."""

    key: str | None = setting(None, repr=False, doc="The key, better a reference to it: 'env:NAME' or 'file:PATH'.")
    key_sha256: str | None = setting(
        None, repr=False, doc="The SHA-256 of the key in hexadecimal digits, in the place of the key."
    )
    name: str = setting(
        "",
        doc="Unique name, for limits (scope 'key'), logs and the dashboard; empty: the user's, or 'key-N' by position.",
    )
    user: str | None = setting(None, doc="Who uses it: for limits, routing rules and the dashboard.")
    tier: str | None = setting(None, doc="The tier of its user, for routing rules and flags.")
    roles: tuple[str, ...] = setting(
        ("user",), doc="'user' may use /v1, 'admin' also /admin; other words are for routing rules."
    )
    models: tuple[str, ...] = setting(
        ("*",),
        doc="Patterns of the models it may name, as in the request or without its provider. Patterns know * and ?.",
    )
    providers: tuple[str, ...] = setting(("*",), doc="Patterns of the providers it may choose as 'provider/model'.")

    def __attrs_post_init__(self) -> None:
        if (self.key is None) == (self.key_sha256 is None):
            raise ValueError("give exactly one of 'key' and 'key_sha256'")


@attrs.frozen(kw_only=True)
class GatewaySettings:
    """The gateway. Times are seconds; 0 is no limit where it says so."""

    host: str = setting("127.0.0.1", doc="The address to listen at; others than loopback need keys.")
    port: int = setting(8080, low=0, high=65535, doc="The port; 0 takes a free one and tells it.")
    workers: int = setting(1, low=1, high=256, doc="Processes that share the port.")
    api_keys: tuple[str | ApiKeySettings, ...] = setting(
        (),
        repr=False,
        doc="Who may use the gateway. A text is a key with the role 'user'. None: everybody, on loopback only.",
    )
    max_body_bytes: int = setting(26_214_400, low=1, doc="The largest body of a request.")
    max_header_bytes: int = setting(16_384, low=1024, doc="The largest single header, and the longest first line.")
    header_timeout: float = setting(10.0, above=0, doc="Time for the head of a request to arrive.")
    body_timeout: float = setting(60.0, above=0, doc="Time for the body of a request to arrive.")
    idle_timeout: float = setting(75.0, above=0, doc="Time a connection may stay open between two requests.")
    write_timeout: float = setting(
        60.0, above=0, doc="Time in which a client must take at least something of what waits to be sent to it."
    )
    keep_alive: float = setting(
        15.0, above=0, doc="Silence in a streamed answer after which a comment is sent, so that nobody hangs up."
    )
    shutdown_timeout: float = setting(30.0, low=0, doc="Time that requests under way have when the gateway stops.")
    max_connections: int = setting(10_000, low=1, doc="Connections per worker at most; further ones are closed.")
    unknown_parameters: UnknownParameters = setting(
        "pass", doc="Parameters nobody here knows: 'pass' them to the provider, 'drop' them, or 'reject' the request."
    )
    metrics: Literal["open", "admin", "off"] = setting("open", doc="Who may read /metrics.")
    health_interval: float = setting(30.0, low=0, doc="Time between two health checks of all providers; 0: none.")
    access_log: bool = setting(False, doc="A line on standard error for every request: no bodies, no keys.")


__all__ = ["ApiKeySettings", "GatewaySettings", "UnknownParameters"]
