"""Client assertions: the JWT with which an application proves itself by its certificate (RFC 7523)."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from apex_llm_mock.emulation.entra.tokenbook import decode_segment, encode_segment


def assertion_fault(
    assertion: str, *, client_id: str, audience: str, certificate: bytes | None, now: float
) -> str | None:
    """Return the name of the error that *assertion* deserves, None when it is in order.

    Args:
        assertion: what came as ``client_assertion``.
        client_id: whom it must speak for.
        audience: the address of the token endpoint it was sent to.
        certificate: PEM; its key must have signed the assertion. None: the form is enough.
        now: seconds since 1970.
    """
    try:
        head, claims, signature, signed = _take_apart(assertion)
    except (ValueError, TypeError):
        return "malformed_assertion"
    thumbprints = {name: head.get(name) for name in ("x5t", "x5t#S256")}
    if head.get("alg") not in {"RS256", "PS256"} or not any(thumbprints.values()):
        return "malformed_assertion"
    if claims.get("iss") != client_id or claims.get("sub") != client_id or claims.get("aud") != audience:
        return "malformed_assertion"
    if not isinstance(claims.get("exp"), int | float) or claims["exp"] <= now or claims.get("nbf", 0) > now:
        return "expired_assertion"
    if certificate is not None and not _signed_by(certificate, head, thumbprints, signature, signed):
        return "invalid_assertion_signature"
    return None


def _take_apart(assertion: str) -> tuple[dict[str, Any], dict[str, Any], bytes, bytes]:
    signed, _, signature = assertion.rpartition(".")
    head, claims = (json.loads(decode_segment(part)) for part in signed.split("."))
    if not isinstance(head, dict) or not isinstance(claims, dict):
        raise TypeError("not JSON objects")
    return head, claims, decode_segment(signature), signed.encode()


def _signed_by(pem: bytes, head: dict[str, Any], thumbprints: dict[str, Any], signature: bytes, signed: bytes) -> bool:
    # Not needed for anything else here; it comes with trustme.
    from cryptography import x509
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric import padding, rsa
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.serialization import Encoding

    certificate = x509.load_pem_x509_certificate(pem)
    der = certificate.public_bytes(Encoding.DER)
    known = {
        "x5t": encode_segment(hashlib.sha1(der).digest()),  # noqa: S324 - the thumbprint of RFC 7515
        "x5t#S256": encode_segment(hashlib.sha256(der).digest()),
    }
    key = certificate.public_key()
    if not isinstance(key, rsa.RSAPublicKey) or not any(
        sent and sent.rstrip("=") == known[name] for name, sent in thumbprints.items()
    ):
        return False
    scheme = padding.PKCS1v15() if head["alg"] == "RS256" else padding.PSS(padding.MGF1(SHA256()), SHA256.digest_size)
    try:
        key.verify(signature, signed, scheme, SHA256())
    except InvalidSignature:
        return False
    return True


__all__ = ["assertion_fault"]
