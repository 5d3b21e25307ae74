"""Signature Version 4 from the side of the service: what a request's signature should have been.

It works on what came over the wire: the path as it was escaped, header values as they were sent. The path is normalised
and then escaped once more, which is how every service but S3 reads it: the ``%3A`` of a model id counts as ``%253A``.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from urllib.parse import quote, unquote

import attrs

ALGORITHM = "AWS4-HMAC-SHA256"
TERMINATOR = "aws4_request"
_PARAMETERS = ("Credential", "Signature", "SignedHeaders")
_BLANKS = re.compile(r"\s+")
_TIME = "%Y%m%dT%H%M%SZ"


@attrs.frozen(kw_only=True)
class WireRequest:
    """A request as it came in."""

    method: str
    #: Escaped as it was sent, without the query.
    path: str
    #: Escaped as it was sent, without the question mark.
    query: str
    #: In the order of the wire; a name may come more than once.
    headers: Sequence[tuple[str, str]]
    body: bytes = attrs.field(repr=False)


@attrs.frozen(kw_only=True)
class Authorization:
    """What the header ``Authorization`` claims."""

    access_key_id: str
    date: str
    region: str
    service: str
    terminator: str
    signed_headers: tuple[str, ...]
    signature: str

    @property
    def scope(self) -> str:
        """The scope of the credentials."""
        return f"{self.date}/{self.region}/{self.service}/{self.terminator}"


def parse_authorization(value: str) -> Authorization:
    """Return what *value* says.

    Raises:
        ValueError: a part is missing or malformed; the message is the one that AWS sends.
    """
    _, _, rest = value.partition(" ")
    given = {
        name.strip(): text.strip() for name, equals, text in (part.partition("=") for part in rest.split(",")) if equals
    }
    missing = [f"Authorization header requires '{name}' parameter." for name in _PARAMETERS if not given.get(name)]
    if missing:
        # The value itself holds the signature, which nobody needs to read again.
        raise ValueError(" ".join(missing))
    credential = given["Credential"].rsplit("/", 4)
    if len(credential) != 5:
        raise ValueError(
            "Credential must have at least 5 slash-delimited elements (AccessKeyId/YYYYMMDD/region/service/aws4_request), "
            f"got '{given['Credential']}'"
        )
    access_key_id, date, region, service, terminator = credential
    return Authorization(
        access_key_id=access_key_id,
        date=date,
        region=region,
        service=service,
        terminator=terminator,
        signed_headers=tuple(given["SignedHeaders"].split(";")),
        signature=given["Signature"],
    )


@lru_cache(maxsize=64)
def parse_time(value: str) -> datetime:
    """Return the time in a header ``X-Amz-Date``.

    Raises:
        ValueError: it is none.
    """
    return datetime.strptime(value, _TIME).replace(tzinfo=UTC)


def format_time(moment: datetime) -> str:
    """Return *moment* as ``X-Amz-Date`` has it."""
    return moment.astimezone(UTC).strftime(_TIME)


def canonical_request(request: WireRequest, signed_headers: Iterable[str]) -> str:
    """Return the text that stands for *request*, with these headers and no others."""
    names = sorted(signed_headers)
    values: dict[str, list[str]] = {}
    for name, value in request.headers:
        values.setdefault(name.lower(), []).append(_BLANKS.sub(" ", value.strip()))
    lines = [f"{name}:{','.join(values.get(name, ()))}" for name in names]
    return "\n".join(
        (
            request.method,
            canonical_path(request.path),
            canonical_query(request.query) if request.query else "",
            *lines,
            "",
            ";".join(names),
            hashlib.sha256(request.body).hexdigest(),
        )
    )


@lru_cache(maxsize=256)
def canonical_path(path: str) -> str:
    """Return *path*, without empty, "." and ".." segments, escaped once more."""
    kept: list[str] = []
    for segment in path.split("/"):
        if segment == "..":
            if kept:
                kept.pop()
        elif segment not in ("", "."):
            kept.append(segment)
    normal = "/" + "/".join(kept) + ("/" if kept and path.endswith("/") else "")
    return quote(normal, safe="/-_.~")


def canonical_query(query: str) -> str:
    """Return the pairs of *query* in order, names and values escaped as AWS wants them."""
    pairs = []
    for part in query.split("&"):
        if part:
            name, _, value = part.partition("=")
            pairs.append((quote(unquote(name), safe="-_.~"), quote(unquote(value), safe="-_.~")))
    return "&".join(f"{name}={value}" for name, value in sorted(pairs))


def string_to_sign(canonical: str, *, time: str, scope: str) -> str:
    """Return what is signed for the *canonical* request at *time*, as in ``X-Amz-Date``."""
    return f"{ALGORITHM}\n{time}\n{scope}\n{hashlib.sha256(canonical.encode('utf-8', 'surrogateescape')).hexdigest()}"


def signature(secret_access_key: str, authorization: Authorization, text: str) -> str:
    """Return the signature of *text* in hexadecimal digits."""
    key = _signing_key(secret_access_key, authorization.date, authorization.region, authorization.service)
    return hmac.new(key, text.encode(), hashlib.sha256).hexdigest()


@lru_cache(maxsize=64)
def _signing_key(secret_access_key: str, date: str, region: str, service: str) -> bytes:
    key = f"AWS4{secret_access_key}".encode()
    for part in (date, region, service, TERMINATOR):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    return key


__all__ = [
    "ALGORITHM",
    "TERMINATOR",
    "Authorization",
    "WireRequest",
    "canonical_path",
    "canonical_query",
    "canonical_request",
    "format_time",
    "parse_authorization",
    "parse_time",
    "signature",
    "string_to_sign",
]
