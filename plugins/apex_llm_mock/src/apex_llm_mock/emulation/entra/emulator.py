"""Microsoft Entra ID on loopback: a token endpoint for msal and its like, and the managed identity of a machine.

========================================================  =============================================================
route                                                     what it does
========================================================  =============================================================
``GET /{tenant}/v2.0/.well-known/openid-configuration``   says where the others are
``POST /{tenant}/oauth2/v2.0/token``                      grants client_credentials (secret, certificate, federated
                                                          token), device_code and refresh_token
``POST /{tenant}/oauth2/v2.0/devicecode``                 begins a device code flow, granted after `device_polls` polls
``GET /msi/token``                                        managed identity, App Service (``IDENTITY_ENDPOINT``)
``GET /metadata/identity/oauth2/token``                   managed identity, virtual machines (IMDS)
========================================================  =============================================================

The first three are meant for https, the last two for plain http.
"""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Callable, Collection, Mapping
from typing import Any

from aiohttp import web

from apex_llm_mock.emulation.entra.assertions import assertion_fault
from apex_llm_mock.emulation.entra.managed_identity import ManagedIdentity
from apex_llm_mock.emulation.entra.token_journal import (
    Place,
    Refusal,
    TokenCall,
    TokenFault,
    TokenJournal,
    proof_of,
    read_form,
)
from apex_llm_mock.emulation.entra.tokenbook import TokenBook, audience_of, encode_segment

#: The audiences of Azure OpenAI: public, public by the newer name, US government, China.
RESOURCES = (
    "https://cognitiveservices.azure.com",
    "https://ai.azure.com",
    "https://cognitiveservices.azure.us",
    "https://cognitiveservices.azure.cn",
)
_DEVICE_CODE = "urn:ietf:params:oauth:grant-type:device_code"


class EntraEmulator(TokenJournal):
    """A directory with one tenant and one application.

    Args:
        book: issues the tokens; whoever checks them needs the same.
        tenant: the only tenant there is.
        client_id: the only application there is.
        client_secret: its secret; may be changed at any time, as what follows.
        client_certificate: PEM of the certificate that its assertions must be signed with; None: their form is checked.
        federated_tokens: tokens of another issuer that the application may present.
        resources: audiences that tokens are given for.
        refresh_in: seconds after which tokens should be renewed, sent along when not None.
        device_polls: how often a device code is still pending before it is granted.
        device_interval: seconds that a client shall wait between two polls.
        identity_header: the secret of ``X-IDENTITY-HEADER``.
        identities: client, object or resource ids of user-assigned managed identities.
        wall: seconds since 1970.
    """

    def __init__(
        self,
        book: TokenBook,
        *,
        tenant: str = "contoso",
        client_id: str = "app",
        client_secret: str = "app-secret",  # noqa: S107 - it opens nothing but this emulator
        client_certificate: bytes | None = None,
        federated_tokens: Collection[str] = (),
        resources: Collection[str] = RESOURCES,
        refresh_in: int | None = None,
        device_polls: int = 1,
        device_interval: int = 5,
        identity_header: str = "identity-secret",
        identities: Collection[str] = (),
        wall: Callable[[], float] = time.time,
    ) -> None:
        super().__init__(wall=wall)
        self.book = book
        self.tenant = tenant
        self.client_id = client_id
        self.client_secret = client_secret
        self.client_certificate = client_certificate
        self.federated_tokens = set(federated_tokens)
        self.resources = set(resources)
        self.refresh_in = refresh_in
        self.device_polls = device_polls
        self.device_interval = device_interval
        self.identity = ManagedIdentity(
            book, resources=self.resources, header=identity_header, identities=identities, wall=wall
        )
        self._numbers = itertools.count(1)
        #: Polls left, and the scopes, of each device code that is under way.
        self._devices: dict[str, tuple[int, str]] = {}
        #: The scopes of each refresh token.
        self._refresh_tokens: dict[str, str] = {}

    def app(self) -> web.Application:
        """Return an application with all routes."""
        app = web.Application()
        app.add_routes([*self.token_routes(), *self.identity_routes()])
        app.on_cleanup.append(self.drop_connections)
        return app

    def token_routes(self) -> list[web.RouteDef]:
        """Return the routes of the directory, for https."""
        return [
            web.get("/{tenant}/v2.0/.well-known/openid-configuration", self.answering("discovery", self._discover)),
            web.post("/{tenant}/oauth2/v2.0/token", self.answering("token", self._grant)),
            web.post("/{tenant}/oauth2/v2.0/devicecode", self.answering("device", self._begin_device)),
        ]

    def identity_routes(self) -> list[web.RouteDef]:
        """Return the routes of managed identity, for plain http."""
        return [
            web.get("/msi/token", self.answering("identity", self.identity.app_service)),
            web.get("/metadata/identity/oauth2/token", self.answering("identity", self.identity.machine)),
        ]

    async def _discover(self, request: web.Request) -> web.Response:
        self._check_tenant(request)
        base = f"{request.scheme}://{request.host}/{self.tenant}"
        return web.json_response(
            {
                "issuer": f"{base}/v2.0",
                "authorization_endpoint": f"{base}/oauth2/v2.0/authorize",
                "token_endpoint": f"{base}/oauth2/v2.0/token",
                "device_authorization_endpoint": f"{base}/oauth2/v2.0/devicecode",
                "jwks_uri": f"{base}/discovery/v2.0/keys",
                "response_types_supported": ["code", "id_token"],
                "subject_types_supported": ["pairwise"],
                "id_token_signing_alg_values_supported": ["HS256"],
            }
        )

    async def _grant(self, request: web.Request) -> web.Response:
        self._check_tenant(request)
        form = await read_form(request)
        grant = {
            "client_credentials": self._grant_to_client,
            _DEVICE_CODE: self._grant_to_device,
            "device_code": self._grant_to_device,
            "refresh_token": self._grant_again,
        }.get(form.get("grant_type", ""))
        if grant is None:
            raise Refusal("unsupported_grant_type")
        if form.get("client_id") != self.client_id:
            raise Refusal("unauthorized_client")
        endpoint = f"{request.scheme}://{request.host}{request.path}"
        return web.json_response(grant(form, endpoint))

    def _grant_to_client(self, form: Mapping[str, str], endpoint: str) -> dict[str, Any]:
        fault = self._proof_fault(form, endpoint)
        if fault is not None:
            raise Refusal(fault)
        scope = form.get("scope", "")
        if not scope.endswith("/.default"):
            raise Refusal("invalid_scope")
        return self._token(scope)

    def _proof_fault(self, form: Mapping[str, str], endpoint: str) -> str | None:
        proof = proof_of(form)
        if proof == "secret":
            return None if form["client_secret"] == self.client_secret else "invalid_client"
        if proof == "federated":
            return None if form["client_assertion"] in self.federated_tokens else "expired_assertion"
        if proof == "certificate":
            return assertion_fault(
                form["client_assertion"],
                client_id=self.client_id,
                audience=endpoint,
                certificate=self.client_certificate,
                now=self._wall(),
            )
        return "missing_credential"

    def _grant_to_device(self, form: Mapping[str, str], _endpoint: str) -> dict[str, Any]:
        code = form.get("device_code", "")
        if code not in self._devices:
            raise Refusal("bad_verification_code")
        polls, scopes = self._devices[code]
        if polls > 0:
            self._devices[code] = (polls - 1, scopes)
            raise Refusal("authorization_pending")
        granted = self._token_of_user(scopes)
        del self._devices[code]
        return granted

    def _grant_again(self, form: Mapping[str, str], _endpoint: str) -> dict[str, Any]:
        # As with Entra, a refresh token stays good after it was used.
        scopes = self._refresh_tokens.get(form.get("refresh_token", ""))
        if scopes is None:
            raise Refusal("invalid_grant")
        return self._token_of_user(form.get("scope", scopes))

    async def _begin_device(self, request: web.Request) -> web.Response:
        self._check_tenant(request)
        form = await read_form(request)
        if form.get("client_id") != self.client_id:
            raise Refusal("unauthorized_client")
        number = next(self._numbers)
        code, user_code = f"device-code-{number}", f"CODE{number:05}"
        self._devices[code] = (self.device_polls, form.get("scope", ""))
        page = f"{request.scheme}://{request.host}/device"
        return web.json_response(
            {
                "device_code": code,
                "user_code": user_code,
                "verification_uri": page,
                "expires_in": 900,
                "interval": self.device_interval,
                "message": f"To sign in, use a web browser to open the page {page} and enter the code {user_code} to authenticate.",
            }
        )

    def _token(self, scope: str) -> dict[str, Any]:
        if audience_of(scope) not in self.resources:
            raise Refusal("invalid_resource")
        lifetime = self.book.lifetime
        answer = {
            "token_type": "Bearer",
            "expires_in": lifetime,
            "ext_expires_in": lifetime,
            "access_token": self.book.issue(scope),
        }
        if self.refresh_in is not None:
            answer["refresh_in"] = self.refresh_in
        return answer

    def _token_of_user(self, scopes: str) -> dict[str, Any]:
        wanted = [scope for scope in scopes.split() if "://" in scope]
        answer = self._token(wanted[0] if wanted else "")
        now = int(self._wall())
        refresh_token = f"refresh-token-{next(self._numbers)}"
        self._refresh_tokens[refresh_token] = scopes
        claims = {
            "iss": self.tenant,
            "sub": "user",
            "aud": self.client_id,
            "iat": now,
            "exp": now + self.book.lifetime,
            "preferred_username": f"user@{self.tenant}",
        }
        return answer | {
            "scope": scopes,
            "refresh_token": refresh_token,
            "client_info": encode_segment(json.dumps({"uid": "user", "utid": self.tenant}).encode()),
            "id_token": self.book.sign(claims),
        }

    def _check_tenant(self, request: web.Request) -> None:
        if request.match_info["tenant"] != self.tenant:
            raise Refusal("invalid_tenant")


__all__ = ["RESOURCES", "EntraEmulator", "Place", "TokenBook", "TokenCall", "TokenFault"]
