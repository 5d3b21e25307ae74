"""IAM Identity Center on loopback: the portal that gives a role's credentials, and the renewal of its access tokens."""

from __future__ import annotations

import itertools

from aiohttp import web

from apex_llm_mock.emulation.aws_identity.identity_errors import Refusal
from apex_llm_mock.emulation.aws_identity.identity_journal import parameters_of
from apex_llm_mock.emulation.aws_identity.keybook import KeyBook

#: Seconds that a renewed access token is valid.
_LIFETIME = 28800


class SingleSignOn:
    """Gives credentials to whoever has signed in.

    Args:
        book: issues the keys.
        tokens: access tokens that are valid.
        refresh_tokens: tokens that renew an access token.
        roles: pairs of account and role that are assigned.
    Attributes:
        lifetime: seconds that issued keys live; None: as the book says.
    """

    def __init__(
        self, book: KeyBook, *, tokens: set[str], refresh_tokens: set[str], roles: set[tuple[str, str]]
    ) -> None:
        self.book = book
        self.tokens = tokens
        self.refresh_tokens = refresh_tokens
        self.roles = roles
        self.lifetime: float | None = None
        self._numbers = itertools.count(1)

    async def credentials(self, request: web.Request) -> web.Response:
        """Answer ``GET /federation/credentials``."""
        if request.headers.get("x-amz-sso_bearer_token", "") not in self.tokens:
            raise Refusal("UnauthorizedException")
        if (request.query.get("account_id", ""), request.query.get("role_name", "")) not in self.roles:
            raise Refusal("ForbiddenException")
        key = self.book.issue(lifetime=self.lifetime)
        return web.json_response(
            {
                "roleCredentials": {
                    "accessKeyId": key.access_key_id,
                    "secretAccessKey": key.secret_access_key,
                    "sessionToken": key.session_token,
                    "expiration": int((key.expires_on or 0) * 1000),
                }
            }
        )

    async def renew(self, request: web.Request) -> web.Response:
        """Answer ``POST /token`` with the grant refresh_token; the old refresh token is used up."""
        asked = await parameters_of(request)
        given = asked.get("refreshToken", "")
        if asked.get("grantType") != "refresh_token" or given not in self.refresh_tokens:
            raise Refusal("InvalidGrantException")
        number = next(self._numbers)
        token, refresh_token = f"sso-token-renewed-{number}", f"sso-refresh-token-renewed-{number}"
        self.refresh_tokens.remove(given)
        self.refresh_tokens.add(refresh_token)
        self.tokens.add(token)
        return web.json_response(
            {"accessToken": token, "tokenType": "Bearer", "expiresIn": _LIFETIME, "refreshToken": refresh_token}
        )


__all__ = ["SingleSignOn"]
