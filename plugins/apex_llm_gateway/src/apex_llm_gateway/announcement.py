"""What a gateway tells whoever runs it: lines for people, one document for programs."""

from __future__ import annotations

import os
import socket
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Self

import attrs

from apex_llm_gateway.listening import is_everywhere, url_of

if TYPE_CHECKING:
    from apex_llm_gateway.serving import Service


@attrs.frozen(kw_only=True)
class Facts:
    """What is told of a gateway that serves now."""

    host: str
    port: int
    #: How many keys open it; 0: it is open to everybody on this machine.
    keys: int
    #: How many providers are enabled.
    providers: int

    @classmethod
    def of(cls, service: Service) -> Self:
        """Return the facts of a started *service*."""
        return cls(
            host=service.settings.host,
            port=service.port,
            keys=len(service.gateway.ring.keys),
            providers=sum(handle.enabled for handle in service.manager.providers),
        )

    @property
    def url(self) -> str:
        """Where clients on this machine reach it."""
        return url_of(self.host, self.port)


def announce(facts: Facts, *, pid: int, workers: int, as_json: bool) -> None:
    """Tell that the gateway serves: on standard error, or as a document on standard output, and to systemd where it asks.

    Raises:
        OutputError: standard output cannot be written.
    """
    _notify("READY=1")
    if as_json:
        from apex_llm_cli.output import print_document

        print_document({"url": facts.url, "pid": pid, "workers": workers})
        return
    access = _counted(facts.keys, "key") if facts.keys else "open: no keys"
    everywhere = ", at every address of this machine" if is_everywhere(facts.host) else ""
    shared = f" · {workers} workers" if workers > 1 else ""
    text = (
        f"apex-llm gateway at {facts.url} ({access}{everywhere})"
        f" · dashboard {facts.url}/ · {_counted(facts.providers, 'provider')}{shared}\n"
    )
    if not facts.keys:
        text += "Everybody on this machine may use it; `apex-llm serve --new-key` makes a key for [gateway] api_keys.\n"
    sys.stderr.write(text)
    sys.stderr.flush()


def tell(line: str) -> None:
    """Write one line about what happens to the gateway on standard error."""
    sys.stderr.write(f"apex-llm gateway: {line}\n")
    sys.stderr.flush()


def _notify(state: str) -> None:
    """Send *state* to the service manager that started us, if it wants to know (``sd_notify``)."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if address.startswith(("/", "@")):
        # Whoever started us may not listen any more; that is no reason not to serve.
        with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.setblocking(False)
            sender.sendto(state.encode(), "\0" + address[1:] if address[0] == "@" else address)


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


__all__ = ["Facts", "announce", "tell"]
