"""A throw-away certificate authority, for clients that insist on https: nothing of it is trusted anywhere else."""

from __future__ import annotations

import ssl
import tempfile
from pathlib import Path
from typing import Any

import attrs


@attrs.frozen(kw_only=True)
class Certificate:
    """A server's certificate with its key, and the authority that vouches for it. All three are PEM."""

    #: What a client must trust.
    ca_pem: bytes
    #: The server's own certificate, then those between it and the authority.
    chain_pem: bytes
    key_pem: bytes = attrs.field(repr=False)

    def ssl_context(self) -> ssl.SSLContext:
        """Return what a server needs to speak TLS with this certificate. Touches the disk."""
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        # The standard library reads keys from files only.
        with tempfile.TemporaryDirectory(prefix="apex-llm-") as folder:
            chain, key = Path(folder, "chain.pem"), Path(folder, "key.pem")
            chain.write_bytes(self.chain_pem)
            key.touch(mode=0o600)
            key.write_bytes(self.key_pem)
            context.load_cert_chain(chain, key)
        return context

    def write_ca(self, path: str | Path) -> Path:
        """Write the authority's certificate to *path*, for a client's ``ca_file``, and return the path."""
        path = Path(path)
        path.write_bytes(self.ca_pem)
        return path


def throw_away_certificate(*hosts: str) -> Certificate:
    """Make an authority and a certificate of it for *hosts*: names or addresses, loopback without any.

    Raises:
        ModuleNotFoundError: trustme is not installed; the message says how to get it.
    """
    trustme = _trustme()
    authority = trustme.CA()
    issued = authority.issue_cert(*(hosts or ("127.0.0.1", "localhost", "::1")))
    return Certificate(
        ca_pem=authority.cert_pem.bytes(),
        chain_pem=b"".join(blob.bytes() for blob in issued.cert_chain_pems),
        key_pem=issued.private_key_pem.bytes(),
    )


def _trustme() -> Any:
    try:
        import trustme
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "a throw-away certificate needs trustme: pip install 'apex-llm-mock[emulate]'", name="trustme"
        ) from error
    return trustme


__all__ = ["Certificate", "throw_away_certificate"]
