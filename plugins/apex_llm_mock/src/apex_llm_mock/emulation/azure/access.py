"""Who may come in: API keys, and tokens of Entra ID with the right audience."""

from __future__ import annotations

import hmac
from collections.abc import Mapping

from apex_llm_mock.emulation.azure.errors import bad_key, bad_token
from apex_llm_mock.emulation.azure.routes import Route
from apex_llm_mock.emulation.entra.tokenbook import TokenBook

COGNITIVE_SERVICES = (
    "https://cognitiveservices.azure.com",
    "https://cognitiveservices.azure.us",
    "https://cognitiveservices.azure.cn",
)
FOUNDRY = "https://ai.azure.com"


class Access:
    """Checks the credentials of requests.

    Args:
        api_key: the one key.
        book: knows the tokens.
        entra_embeddings: serve embeddings on v1 to holders of tokens; Azure documents that it does not.
    """

    def __init__(self, *, api_key: str, book: TokenBook, entra_embeddings: bool) -> None:
        self._api_key = api_key.encode()
        self._book = book
        self._entra_embeddings = entra_embeddings

    def check(self, headers: Mapping[str, str], route: Route) -> None:
        """Raise `RefusedError` for missing or wrong credentials."""
        key = headers.get("api-key")
        if key is not None:
            if self._is_key(key):
                return
            raise bad_key()
        scheme, _, token = headers.get("Authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not token:
            raise bad_key()
        if self._is_key(token):
            if route.surface == "v1":
                return
            raise bad_token()
        audiences = (*COGNITIVE_SERVICES, FOUNDRY) if route.surface == "v1" else COGNITIVE_SERVICES
        if all(self._book.check(token, audience) != "ok" for audience in audiences):
            raise bad_token()
        if route.surface == "v1" and route.operation == "embeddings" and not self._entra_embeddings:
            raise bad_key()

    def _is_key(self, given: str) -> bool:
        return hmac.compare_digest(given.encode("utf-8", "surrogateescape"), self._api_key)


__all__ = ["COGNITIVE_SERVICES", "FOUNDRY", "Access"]
