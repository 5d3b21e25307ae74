"""The clouds Azure runs in: which hosts belong to each, who issues its tokens, and for which audience.

The host of the endpoint decides. A host of one's own (a gateway) counts as public; the settings `authority` and `scope`
say otherwise where that is wrong.
"""

from __future__ import annotations

from typing import Literal

import attrs

#: `dated`: ``/openai/deployments/NAME/…?api-version=YYYY-MM-DD``; `v1`: ``/openai/v1/…`` with the deployment in the body.
Surface = Literal["v1", "dated"]


@attrs.frozen(kw_only=True)
class Cloud:
    """One Azure cloud. `authority` is the token authority's URL without a tenant; the scopes end in ``/.default``."""

    name: str
    authority: str
    dated_scope: str
    v1_scope: str
    #: Ends of host names that belong to this cloud.
    suffixes: tuple[str, ...]
    #: Ends of the host names of Azure OpenAI resources themselves, where no gateway can add a path of its own.
    resource_suffixes: tuple[str, ...]

    def scope(self, surface: Surface) -> str:
        """Return the scope of Entra tokens for *surface*."""
        return self.v1_scope if surface == "v1" else self.dated_scope


PUBLIC = Cloud(
    name="public",
    authority="https://login.microsoftonline.com",
    dated_scope="https://cognitiveservices.azure.com/.default",
    v1_scope="https://ai.azure.com/.default",
    suffixes=(),
    resource_suffixes=(
        ".openai.azure.com",
        ".cognitiveservices.azure.com",
        ".services.ai.azure.com",
        ".api.cognitive.microsoft.com",
    ),
)
US_GOVERNMENT = Cloud(
    name="us_government",
    authority="https://login.microsoftonline.us",
    dated_scope="https://cognitiveservices.azure.us/.default",
    v1_scope="https://cognitiveservices.azure.us/.default",
    suffixes=(".azure.us", ".azure-api.us", ".microsoft.us"),
    resource_suffixes=(
        ".openai.azure.us",
        ".cognitiveservices.azure.us",
        ".services.ai.azure.us",
        ".api.cognitive.microsoft.us",
    ),
)
CHINA = Cloud(
    name="china",
    authority="https://login.partner.microsoftonline.cn",
    dated_scope="https://cognitiveservices.azure.cn/.default",
    v1_scope="https://cognitiveservices.azure.cn/.default",
    suffixes=(".azure.cn", ".azure-api.cn"),
    resource_suffixes=(
        ".openai.azure.cn",
        ".cognitiveservices.azure.cn",
        ".services.ai.azure.cn",
        ".api.cognitive.azure.cn",
    ),
)
CLOUDS = (PUBLIC, US_GOVERNMENT, CHINA)


def cloud_of(host: str) -> Cloud:
    """Return the cloud that *host* (lower case, without a port) belongs to; hosts of no known suffix are public."""
    return next((cloud for cloud in CLOUDS if host.endswith(cloud.suffixes)), PUBLIC)


def is_resource_host(host: str) -> bool:
    """Return whether *host* is an Azure OpenAI resource itself rather than something in front of one."""
    return any(host.endswith(cloud.resource_suffixes) for cloud in CLOUDS)


__all__ = ["CHINA", "CLOUDS", "PUBLIC", "US_GOVERNMENT", "Cloud", "Surface", "cloud_of", "is_resource_host"]
