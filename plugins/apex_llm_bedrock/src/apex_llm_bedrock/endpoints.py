"""Where Bedrock is reached: by botocore's own rules for AWS's endpoints, or at the address that the operator gave.

::

    region                      bedrock-runtime                                          bedrock
    us-east-1                   https://bedrock-runtime.us-east-1.amazonaws.com          https://bedrock.us-east-1.amazonaws.com
    us-east-1, FIPS             https://bedrock-runtime-fips.us-east-1.amazonaws.com     https://bedrock-fips.us-east-1.amazonaws.com
    us-east-1, dual stack       https://bedrock-runtime.us-east-1.api.aws                https://bedrock.us-east-1.api.aws
    cn-north-1                  https://bedrock-runtime.cn-north-1.amazonaws.com.cn      https://bedrock.cn-north-1.amazonaws.com.cn

Reading the rules costs some ten milliseconds, once for each service: callers resolve in a thread.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from typing import Any, Literal
from urllib.parse import quote, unquote, urlsplit

from apex_llm_core.errors import nearest

Service = Literal["bedrock-runtime", "bedrock"]

#: Regions to suggest from; others are not refused.
_REGION_NAMES = """
us-east-1 us-east-2 us-west-1 us-west-2 us-gov-east-1 us-gov-west-1 ca-central-1 ca-west-1 mx-central-1 sa-east-1
eu-central-1 eu-central-2 eu-north-1 eu-south-1 eu-south-2 eu-west-1 eu-west-2 eu-west-3 eusc-de-east-1
ap-east-1 ap-east-2 ap-northeast-1 ap-northeast-2 ap-northeast-3 ap-south-1 ap-south-2 ap-southeast-1 ap-southeast-2
ap-southeast-3 ap-southeast-4 ap-southeast-5 ap-southeast-7 af-south-1 il-central-1 me-central-1 me-south-1
cn-north-1 cn-northwest-1
"""
_REGIONS = tuple(_REGION_NAMES.split())
#: Every region so far, and probably the next ones: letters, a direction, a number.
_REGION = re.compile(
    r"[a-z]{2,5}(?:-[a-z]{2,8}){0,2}-(?:central|(?:north|south)(?:east|west)?|east|west)-\d{1,2}", re.ASCII
)
_ZONE = re.compile(rf"({_REGION.pattern})[a-z]", re.ASCII)
_EXAMPLE = "write a region such as 'us-east-1'"
_URL_EXAMPLE = "write for example https://vpce-0123456789abcdef0.bedrock-runtime.us-east-1.vpce.amazonaws.com"
_PORTS = {"https": 443, "http": 80}
_LONGEST = 2048
_UNUSABLE = re.compile(r"[\x00-\x20\x7f-\xa0\\\ud800-\udfff\u2028\u2029]")
_LABEL = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?", re.ASCII)
_SEGMENT_SAFE = "!$&'()*+,;=:@"


class Endpoints:
    """Base URLs by service and region; what was resolved once is looked up from then on.

    Args:
        endpoint: base URL of bedrock-runtime in place of AWS's own, as `check_endpoint` returns it; "" for AWS's.
        control_endpoint: base URL of bedrock; "" for AWS's.
        use_fips: take the FIPS endpoints; only with AWS's own.
        use_dualstack: take the endpoints that know IPv6; only with AWS's own.
    """

    def __init__(
        self, *, endpoint: str = "", control_endpoint: str = "", use_fips: bool = False, use_dualstack: bool = False
    ) -> None:
        self._wished = _names(use_fips=use_fips, use_dualstack=use_dualstack)
        self._custom: dict[str, str] = {"bedrock-runtime": endpoint, "bedrock": control_endpoint}
        self._use_fips = use_fips
        self._use_dualstack = use_dualstack
        self._rules: dict[str, Any] = {}
        self._resolved: dict[tuple[str, str], str] = {}

    def known(self, service: Service, region: str) -> str | None:
        """Return the base URL if it is known without reading anything; never blocks."""
        return self._resolved.get((service, region))

    def resolve(self, service: Service, region: str) -> str:
        """Return the base URL of *service* in *region*, without a slash at the end; blocks the first time.

        Raises:
            ValueError: *region* is none, AWS has no such endpoint there, or an address and *use_fips* or *use_dualstack*
                contradict each other; the message says what to change.
        """
        found = self._resolved.get((service, region))
        if found is None:
            check_region(region)
            found = self._custom[service]
            if found and self._wished:
                raise ValueError(
                    f"{self._wished} only chooses among AWS's own endpoints; leave it out, or leave out the endpoint {found}"
                )
            found = found or self._by_rules(service, region)
            self._resolved[service, region] = found
        return found

    def _by_rules(self, service: Service, region: str) -> str:
        from botocore.exceptions import BotoCoreError  # type: ignore[import-untyped]

        rules = self._rules.get(service)
        if rules is None:
            rules = self._rules[service] = _load_rules(service)
        try:
            endpoint = rules.resolve_endpoint(Region=region, UseFIPS=self._use_fips, UseDualStack=self._use_dualstack)
        except BotoCoreError as error:
            wished = self._wished
            raise ValueError(
                f"AWS has no endpoint of {service} in {region}{f' with {wished}' if wished else ''} ({error}); choose "
                f"another region{f', or leave out {wished}' if wished else ''}"
            ) from error
        return str(endpoint.url).rstrip("/")


def _names(**wished: bool) -> str:
    return " and ".join(name for name, on in wished.items() if on)


def _load_rules(service: Service) -> Any:
    from botocore.endpoint_provider import EndpointProvider  # type: ignore[import-untyped]
    from botocore.loaders import Loader  # type: ignore[import-untyped]

    # Without the files that a user may keep in ~/.aws/models: endpoints are AWS's, or those of the settings.
    loader = Loader(include_default_search_paths=False, extra_search_paths=[Loader.BUILTIN_DATA_PATH])
    return EndpointProvider(loader.load_service_model(service, "endpoint-rule-set-1"), loader.load_data("partitions"))


def check_region(text: str) -> str:
    """Return *text* if a region can be called so.

    Raises:
        ValueError: none can; the message names what is meant, as far as one can tell.
    """
    region = text.strip()
    if not region:
        raise ValueError(f"the region is empty; {_EXAMPLE}")
    if region == text and _REGION.fullmatch(text):
        return text
    low = region.lower().replace("_", "-")
    zone = _ZONE.fullmatch(low)
    if zone is not None:
        raise ValueError(f"{text!r} is an availability zone; write its region {zone[1]!r}")
    if _REGION.fullmatch(low):
        raise ValueError(f"{text!r} is no region; did you mean {low!r}?")
    raise ValueError(f"{text[:100]!r} is no region{_nearest_region(low, _REGIONS)}")


def _nearest_region(text: str, regions: Iterable[str]) -> str:
    begun = [region for region in regions if len(text) > 4 and region.startswith(f"{text}-")]
    return f"; did you mean {begun[0]!r}?" if begun else nearest(text[:100], regions)


def check_endpoint(text: str) -> str:
    """Return the base URL *text* in its canonical form: no slash at the end, the path prefix of a gateway kept.

    Raises:
        ValueError: it cannot be a base URL. The message never repeats a user name, a password or a query: people paste
            keys there.
    """
    text = text.strip()
    if not text:
        raise ValueError(f"the endpoint is empty; {_URL_EXAMPLE}")
    if len(text) > _LONGEST:
        raise ValueError(f"the endpoint has more than {_LONGEST} characters; {_URL_EXAMPLE}")
    if _UNUSABLE.search(text):
        raise ValueError(f"the endpoint has a space, a backslash or a control character; {_URL_EXAMPLE}")
    try:
        split = urlsplit(text)
        port = split.port
        name = split.hostname or ""
    except ValueError:
        # The parser's own message repeats the whole authority, password included.
        raise ValueError(f"host or port of the endpoint cannot be read; {_URL_EXAMPLE}") from None
    if split.scheme not in _PORTS or "://" not in text:
        raise ValueError(f"the endpoint does not begin with https:// or http://; {_URL_EXAMPLE}")
    if "@" in split.netloc:
        raise ValueError("the endpoint has a user name or a password; credentials belong in [providers.auth]")
    if "?" in text:
        raise ValueError("the endpoint has a query ('?…'); remove it")
    if "#" in text:
        raise ValueError("the endpoint has a fragment ('#…'); remove it")
    host = _host(name, bracketed="[" in split.netloc)
    if port is not None and port != _PORTS[split.scheme]:
        host = f"{host}:{port}"
    return f"{split.scheme}://{host}{_prefix(split.path)}"


def _host(name: str, *, bracketed: bool) -> str:
    unreadable = f"the endpoint has no valid host; {_URL_EXAMPLE}"
    if bracketed:
        try:
            address = ipaddress.IPv6Address(name)
        except ValueError:
            raise ValueError(unreadable) from None
        if address.scope_id:
            raise ValueError("the endpoint's IPv6 address has a zone; write it without")
        return f"[{address}]"
    try:
        host = name.encode("idna").decode("ascii").lower().removesuffix(".")
    except ValueError:
        raise ValueError(unreadable) from None
    if len(host) > 253 or not all(_LABEL.fullmatch(label) for label in host.split(".")):
        raise ValueError(unreadable)
    return host


def _prefix(path: str) -> str:
    """Return *path* with every segment escaped in the one way that is also signed."""
    segments = [_clean_segment(segment) for segment in path.split("/") if segment]
    for position, segment in enumerate(segments):
        if segment == "model" and position + 1 < len(segments):
            raise ValueError("the endpoint's path goes on to a model; write it up to what stands before '/model'")
    return "".join(f"/{quote(segment, safe=_SEGMENT_SAFE)}" for segment in segments)


def _clean_segment(segment: str) -> str:
    try:
        plain = unquote(segment, errors="strict")
    except UnicodeDecodeError:
        raise ValueError("the endpoint's path has percent-escapes that are not UTF-8; correct or remove them") from None
    if plain in {".", ".."} or _UNUSABLE.search(plain.replace(" ", "")):
        raise ValueError("the endpoint's path has '.', '..' or an escaped control character; remove it")
    return plain


__all__ = ["Endpoints", "Service", "check_endpoint", "check_region"]
