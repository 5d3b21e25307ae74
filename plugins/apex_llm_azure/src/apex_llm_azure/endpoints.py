"""Where an Azure OpenAI resource is reached: any URL people paste becomes one `Endpoint`, and an `Endpoint` gives URLs.

::

    pasted                                                          surface, api-version       base
    https://r.openai.azure.com                                      v1                         https://r.openai.azure.com
    r.openai.azure.com/openai/v1/chat/completions                   v1                         https://r.openai.azure.com
    https://r.openai.azure.com/openai/deployments/d/embeddings      dated, `LATEST_DATED`      https://r.openai.azure.com
    https://r.openai.azure.com/openai?api-version=2024-06-01        dated, 2024-06-01          https://r.openai.azure.com
    https://r.services.ai.azure.com/api/projects/p                  v1                         https://r.services.ai.azure.com
    https://gateway.example/team/openai/v1                          v1                         https://gateway.example/team

Settings beat what was pasted. Messages never repeat a user name, a password or a query value other than an api-version:
people paste keys in all of them.
"""

from __future__ import annotations

import re
from datetime import date
from urllib.parse import parse_qsl, quote

import attrs

from apex_llm_azure.clouds import Cloud, Surface, cloud_of
from apex_llm_azure.pasted import read_url
from apex_llm_core.errors import ModelNotFoundError, nearest

#: The last dated api-version that is generally available, and the last dated preview.
LATEST_DATED = "2024-10-21"
LATEST_PREVIEW = "2025-04-01-preview"

_DATED = re.compile(r"(\d{4}-\d{2}-\d{2})(-preview)?", re.ASCII)
#: What is plainly meant as a version; anything else may be a key in the wrong place.
_SHOWABLE = re.compile(r"\d{4}-[\d-]{1,8}(-[a-z]{1,8})?|v?\d{1,2}(\.\d)?|[a-z]{1,8}", re.ASCII)
#: Operations that take `preview` on /openai/v1.
_PREVIEW_OPERATIONS = frozenset({"images/generations", "images/edits"})


@attrs.frozen(kw_only=True)
class Endpoint:
    """One Azure OpenAI resource on one surface."""

    #: ``https://host[:port][/gateway-prefix]``: everything before ``/openai``, without a slash at the end.
    base: str
    surface: Surface
    #: On `dated` ``YYYY-MM-DD[-preview]``; on `v1` ``""`` (none is sent), ``v1`` or ``preview``.
    api_version: str
    #: The deployment the pasted URL named, or "".
    deployment: str = ""
    cloud: Cloud

    @property
    def scope(self) -> str:
        """The scope of Entra tokens for this endpoint, unless the settings name another."""
        return self.cloud.scope(self.surface)

    def url(self, operation: str, deployment: str) -> str:
        """Return the URL of *operation*, for example ``chat/completions``, of *deployment*.

        On v1 the deployment is not part of the URL: it is the body's `model`. Images are a preview feature there, so
        their URL has ``api-version=preview`` unless the endpoint has a version.

        Raises:
            ModelNotFoundError: *deployment* cannot be a name (empty, ``.`` or ``..``, or not encodable).
        """
        if self.surface == "v1":
            version = self.api_version or ("preview" if operation in _PREVIEW_OPERATIONS else "")
            return self._with_version(f"{self.base}/openai/v1/{operation}", version)
        return self._with_version(
            f"{self.base}/openai/deployments/{_escaped(deployment)}/{operation}", self.api_version
        )

    def models_url(self) -> str:
        """Return the URL of the catalogue: models *available* to the resource, which are not its deployments."""
        path = "/openai/v1/models" if self.surface == "v1" else "/openai/models"
        return self._with_version(self.base + path, self.api_version)

    def dated(self, api_version: str = LATEST_DATED) -> Endpoint:
        """Return the same resource on the dated surface; one that is there already keeps its version."""
        return self if self.surface == "dated" else attrs.evolve(self, surface="dated", api_version=api_version)

    @staticmethod
    def _with_version(url: str, version: str) -> str:
        return f"{url}?api-version={version}" if version else url


def parse_endpoint(pasted: str, *, surface: str = "", api_version: str = "") -> Endpoint:
    """Return the endpoint that *pasted* means; see the table above for the shapes.

    *surface* and *api_version* are the settings of that name ("" where not set) and beat the pasted parts. Without any
    hint the surface is v1.

    Raises:
        ValueError: *pasted* cannot be used, or two parts contradict each other; the message says what to change.
    """
    chosen = _surface(surface)
    version = _version(api_version.strip(), "api_version") if api_version.strip() else ""
    url = read_url(pasted)
    written = "" if url.foreign else _pasted_version(url.query)
    deciding_surface, deciding_version = _decide(chosen, version, url.hint, written)
    return Endpoint(
        base=url.base,
        surface=deciding_surface,
        api_version=deciding_version,
        deployment=url.deployment,
        cloud=cloud_of(url.host),
    )


def _surface(text: str) -> Surface | None:
    match text.strip().lower():
        case "":
            return None
        case "v1":
            return "v1"
        case "dated":
            return "dated"
    raise ValueError(f"surface {text!r} is unknown{nearest(text, ('v1', 'dated'))}")


def _version(text: str, where: str) -> str:
    """Return the api-version *text* in lower case, checked."""
    low = text.lower()
    if low in {"v1", "preview"}:
        return low
    if match := _DATED.fullmatch(low):
        try:
            date.fromisoformat(match[1])
        except ValueError:
            pass
        else:
            return low
    shown = repr(text) if _SHOWABLE.fullmatch(low) else "given"
    raise ValueError(
        f"the {where} {shown} is no api-version; write a date such as {LATEST_DATED!r} or {LATEST_PREVIEW!r}, "
        "or leave it out to use /openai/v1"
    )


def _decide(chosen: Surface | None, version: str, hint: Surface | None, written: str) -> tuple[Surface, str]:
    """Return surface and version of the settings *chosen* and *version* over the pasted *hint* and *written*."""
    if version and chosen and _belongs_to(version) != chosen:
        raise ValueError(_contradiction(f"surface = {chosen!r}", f"api_version = {version!r}", version))
    decided = chosen or (_belongs_to(version) if version else None)
    if decided is None:
        if hint and written and _belongs_to(written) != hint:
            path = "/openai/v1" if hint == "v1" else "/openai/deployments"
            raise ValueError(_contradiction(f"the pasted path {path}", f"its api-version={written}", written))
        decided = hint or (_belongs_to(written) if written else "v1")
    if not version and written and _belongs_to(written) == decided:
        version = written
    return decided, version or (LATEST_DATED if decided == "dated" else "")


def _belongs_to(version: str) -> Surface:
    return "v1" if version in {"v1", "preview"} else "dated"


def _contradiction(one: str, other: str, version: str) -> str:
    if _belongs_to(version) == "dated":
        advice = "a dated version belongs to /openai/deployments: remove the version, or use the dated surface"
    else:
        advice = f"{version!r} belongs to /openai/v1: use the v1 surface, or a dated version such as {LATEST_DATED!r}"
    return f"{one} and {other} contradict each other; {advice}"


def _pasted_version(query: str) -> str:
    """Return the api-version in *query*, "" without one; everything else in it is not for us."""
    values = {value.strip() for name, value in parse_qsl(query) if name.lower() == "api-version"}
    found = {_version(value, "api-version in the endpoint") for value in values if value}
    if len(found) > 1:
        raise ValueError(f"the endpoint has several api-versions ({', '.join(sorted(found))}); leave one")
    return found.pop() if found else ""


def _escaped(deployment: str) -> str:
    try:
        escaped = quote(deployment, safe="")
    except UnicodeEncodeError:
        escaped = ""
    if escaped in {"", ".", ".."}:
        raise ModelNotFoundError(f"{deployment!r} cannot be the name of an Azure deployment")
    return escaped


__all__ = ["LATEST_DATED", "LATEST_PREVIEW", "Endpoint", "Surface", "parse_endpoint"]
