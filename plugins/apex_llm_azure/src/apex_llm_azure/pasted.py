"""The reading of a pasted URL: scheme, host and port in one canonical form, and what the path says.

No message repeats a user name, a password, a path or a query: people paste keys in all of them.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence
from urllib.parse import SplitResult, quote, unquote, urlsplit

import attrs

from apex_llm_azure.clouds import Surface, is_resource_host

_EXAMPLE = "https://RESOURCE.openai.azure.com"
_LONGEST = 2048
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_PORTS = {"https": 443, "http": 80}
#: Space, control characters, the backslash that some clients read as a slash, and halves of surrogate pairs.
_HERE = re.compile(r"(localhost|127(?:\.\d{1,3}){3}|\[::1\])(?=[:/]|$)", re.IGNORECASE)
_UNUSABLE = re.compile(r"[\x00-\x20\x7f-\xa0\\\ud800-\udfff\u2028\u2029]")
_LABEL = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?")
#: What may stand unescaped in a segment of a path.
_SEGMENT_SAFE = "!$&'()*+,;=:@"
_PORTALS = frozenset({"portal.azure.com", "ai.azure.com", "oai.azure.com", "portal.azure.us", "portal.azure.cn"})
#: Paths after ``/openai`` that name no deployment.
_OPERATIONS = frozenset(
    {
        ("chat", "completions"),
        ("completions",),
        ("embeddings",),
        ("images", "generations"),
        ("images", "edits"),
        ("responses",),
        ("models",),
        ("files",),
        ("assistants",),
        ("threads",),
        ("realtime",),
    }
)


@attrs.frozen(kw_only=True)
class PastedUrl:
    """What a pasted URL says."""

    #: ``scheme://host[:port][/gateway-prefix]``: everything before ``/openai``, without a slash at the end.
    base: str
    host: str
    #: As it stands in the URL.
    query: str
    deployment: str = ""
    #: The surface whose path it is, None when the path fits both.
    hint: Surface | None = None
    #: The URL is of another API of the same host (Foundry projects, model inference), whose versions mean nothing here.
    foreign: bool = False


@attrs.frozen(kw_only=True)
class _Path:
    prefix: str = ""
    deployment: str = ""
    hint: Surface | None = None
    foreign: bool = False


def read_url(pasted: str) -> PastedUrl:
    """Return what *pasted* says; https where it names no scheme.

    Raises:
        ValueError: it is no URL that can lead to an Azure OpenAI resource; the message says what to write.
    """
    split, host = _split(pasted.strip())
    path = _read_path(split.path, resource=is_resource_host(host))
    return PastedUrl(
        base=f"{split.scheme}://{split.netloc}{path.prefix}",
        host=host,
        query=split.query,
        deployment=path.deployment,
        hint=path.hint,
        foreign=path.foreign,
    )


def _split(text: str) -> tuple[SplitResult, str]:
    """Return the parts of *text* with scheme and netloc in their canonical form, and the host."""
    if not text:
        raise ValueError(f"the endpoint is empty; write {_EXAMPLE}")
    if len(text) > _LONGEST:
        raise ValueError(f"the endpoint has more than {_LONGEST} characters; write {_EXAMPLE}")
    if _UNUSABLE.search(text):
        raise ValueError(f"the endpoint has a space, a backslash or a control character; write {_EXAMPLE}")
    if text.startswith(("env:", "file:")) and not _SCHEME.match(text):
        raise ValueError("references such as env:NAME stand in auth.credentials only; write the endpoint itself")
    if not _SCHEME.match(text):
        text = text.removeprefix("//")
        # On this machine nobody speaks https without saying so.
        text = f"{'http' if _HERE.match(text) else 'https'}://{text}"
    if "#" in text:
        raise ValueError("the endpoint has a fragment ('#…'); remove it")
    try:
        split = urlsplit(text)
        port = split.port
        name = split.hostname or ""
    except ValueError:
        # The parser's own message repeats the whole authority, password included.
        raise ValueError(f"host or port of the endpoint cannot be read; write {_EXAMPLE}") from None
    if "@" in split.netloc:
        raise ValueError("the endpoint has a user name or a password; credentials belong in [providers.auth]")
    if split.scheme not in _PORTS:
        raise ValueError(f"the endpoint's scheme {split.scheme!r} is none of https and http; write {_EXAMPLE}")
    host = _host(name, bracketed="[" in split.netloc)
    _refuse_other_services(host)
    netloc = f"[{host}]" if ":" in host else host
    if port is not None and port != _PORTS[split.scheme]:
        netloc = f"{netloc}:{port}"
    return split._replace(netloc=netloc), host


def _host(name: str, *, bracketed: bool) -> str:
    """Return *name* in ASCII and lower case.

    Raises:
        ValueError: it is neither a host name nor an IP address.
    """
    unreadable = f"the endpoint has no valid host; write {_EXAMPLE}"
    if bracketed:
        try:
            address = ipaddress.IPv6Address(name)
        except ValueError:
            raise ValueError(unreadable) from None
        if address.scope_id:
            raise ValueError("the endpoint's IPv6 address has a zone; write it without")
        return str(address)
    try:
        host = name.encode("idna").decode("ascii").lower().removesuffix(".")
    except ValueError:
        raise ValueError(unreadable) from None
    if len(host) > 253 or not all(_LABEL.fullmatch(label) for label in host.split(".")):
        raise ValueError(unreadable)
    return host


def _refuse_other_services(host: str) -> None:
    if host == "openai.com" or host.endswith(".openai.com"):
        raise ValueError(
            f"{host} is OpenAI's own API, not an Azure resource; write the resource's endpoint ({_EXAMPLE}), or use a "
            "provider type that speaks to OpenAI"
        )
    if host in _PORTALS:
        raise ValueError(
            f"{host} is a web portal; write the resource's endpoint ({_EXAMPLE}), which the portal shows under "
            "'Keys and Endpoint'"
        )


def _read_path(path: str, *, resource: bool) -> _Path:
    segments = [_clean_segment(segment) for segment in path.split("/") if segment]
    words = [segment.lower() for segment in segments]
    project = resource and words[:2] == ["api", "projects"]
    for position, word in enumerate(words):
        found = _after_openai(segments[position + 1 :]) if word == "openai" else None
        if found is not None:
            return attrs.evolve(found, prefix="" if resource else _joined(segments[:position]), foreign=project)
    if "openai" in words:
        raise ValueError(
            "what follows '/openai' in the endpoint's path is no operation of Azure OpenAI; write the endpoint up to the "
            "host, or up to the '/openai' of a gateway"
        )
    if not resource:
        return _Path(prefix=_joined(segments))
    if not segments:
        return _Path()
    if project or words[0] == "models":
        return _Path(foreign=True)
    found = _after_openai(segments)
    if found is not None:
        return found
    raise ValueError(f"the endpoint's path is none of Azure OpenAI; write only {_EXAMPLE}")


def _after_openai(rest: Sequence[str]) -> _Path | None:
    """Return what the segments after ``/openai`` say, None if they are not Azure OpenAI's."""
    words = tuple(segment.lower() for segment in rest)
    if not words:
        return _Path()
    if words[0] == "v1":
        return _Path(hint="v1")
    if words[0] == "deployments":
        return _Path(deployment=rest[1] if len(rest) > 1 else "", hint="dated")
    return _Path() if words in _OPERATIONS else None


def _clean_segment(segment: str) -> str:
    try:
        plain = unquote(segment, errors="strict")
    except UnicodeDecodeError:
        raise ValueError("the endpoint's path has percent-escapes that are not UTF-8; correct or remove them") from None
    if plain in {".", ".."} or _UNUSABLE.search(plain.replace(" ", "")):
        raise ValueError("the endpoint's path has '.', '..' or an escaped control character; remove it")
    return plain


def _joined(segments: Sequence[str]) -> str:
    return "".join(f"/{quote(segment, safe=_SEGMENT_SAFE)}" for segment in segments)


__all__ = ["PastedUrl", "read_url"]
