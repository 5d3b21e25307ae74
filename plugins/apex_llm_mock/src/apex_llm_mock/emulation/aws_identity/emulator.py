"""The services of AWS that give credentials, behind one address on loopback.

========================================================  =============================================================
address                                                   what it does
========================================================  =============================================================
``POST /`` with a form                                    STS: AssumeRole, AssumeRoleWithWebIdentity, GetCallerIdentity
``GET /federation/credentials``                           SSO portal: credentials of an assigned role
``POST /token``                                           SSO: a new access token for a refresh token
``PUT /latest/api/token``                                 instance metadata, version 2: begins a session
``GET /latest/meta-data/iam/security-credentials/…``      instance metadata: the role, and its credentials
``GET /container/credentials``                            credentials of a container (ECS, EKS Pod Identity)
========================================================  =============================================================

They are found by ``AWS_ENDPOINT_URL_STS``, ``AWS_ENDPOINT_URL_SSO``, ``AWS_ENDPOINT_URL_SSO_OIDC``,
``AWS_EC2_METADATA_SERVICE_ENDPOINT`` and ``AWS_CONTAINER_CREDENTIALS_FULL_URI``.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection

from aiohttp import web

from apex_llm_mock.emulation.aws_identity.identity_errors import IDENTITY_ERRORS, Place
from apex_llm_mock.emulation.aws_identity.identity_journal import IdentityCall, IdentityFault, IdentityJournal
from apex_llm_mock.emulation.aws_identity.keybook import IssuedKey, KeyBook
from apex_llm_mock.emulation.aws_identity.machine import Machine
from apex_llm_mock.emulation.aws_identity.single_sign_on import SingleSignOn
from apex_llm_mock.emulation.aws_identity.sts import Role, SecurityTokenService

DEFAULT_ROLE = Role(arn="arn:aws:iam::123456789012:role/apex-llm")


class IdentityEmulator(IdentityJournal):
    """One account that gives credentials in every way there is.

    Args:
        book: issues the keys; whoever checks signatures needs the same.
        roles: that can be assumed.
        identity_tokens: tokens of another issuer, for AssumeRoleWithWebIdentity.
        sso_tokens: access tokens of IAM Identity Center.
        sso_refresh_tokens: tokens that renew them.
        sso_roles: pairs of account and role that are assigned there.
        instance_role: the role of the instance; "": it has none.
        container_token: what a container must send as ``Authorization``; "": nothing.
        wall: seconds since 1970.
    """

    def __init__(
        self,
        book: KeyBook,
        *,
        roles: Collection[Role] = (DEFAULT_ROLE,),
        identity_tokens: Collection[str] = ("web-identity-token",),
        sso_tokens: Collection[str] = ("sso-token",),
        sso_refresh_tokens: Collection[str] = ("sso-refresh-token",),
        sso_roles: Collection[tuple[str, str]] = (("123456789012", "Developer"),),
        instance_role: str = "emulated-instance",
        container_token: str = "",
        wall: Callable[[], float] = time.time,
    ) -> None:
        super().__init__()
        self.book = book
        self.sts = SecurityTokenService(
            book, roles={role.arn: role for role in roles}, identity_tokens=set(identity_tokens), wall=wall
        )
        self.sso = SingleSignOn(
            book, tokens=set(sso_tokens), refresh_tokens=set(sso_refresh_tokens), roles=set(sso_roles)
        )
        self.machine = Machine(book, role=instance_role, container_token=container_token, wall=wall)

    def live(self, seconds: float | None) -> None:
        """Let keys live so long from now on, whatever is asked for; None: as usual."""
        self.sts.lifetime = self.sso.lifetime = self.machine.lifetime = seconds

    def app(self) -> web.Application:
        """Return an application with all routes."""
        app = web.Application()
        app.add_routes(self.routes())
        return app

    def routes(self) -> list[web.RouteDef]:
        """Return all routes, for an application that has others too."""
        names = "/latest/meta-data/iam/security-credentials/"
        return [
            web.post("/", self.answering("sts", self.sts.act)),
            web.get(
                "/federation/credentials",
                self.answering("sso", self.sso.credentials, operation="GetRoleCredentials"),
                allow_head=False,
            ),
            web.post("/token", self.answering("oidc", self.sso.renew, operation="CreateToken")),
            web.put("/latest/api/token", self.answering("imds", self.machine.begin)),
            web.get(names, self.answering("imds", self.machine.roles), allow_head=False),
            web.get(f"{names}{{role}}", self.answering("imds", self.machine.credentials), allow_head=False),
            web.get("/container/credentials", self.answering("container", self.machine.container), allow_head=False),
        ]


__all__ = [
    "DEFAULT_ROLE",
    "IDENTITY_ERRORS",
    "IdentityCall",
    "IdentityEmulator",
    "IdentityFault",
    "IssuedKey",
    "KeyBook",
    "Place",
    "Role",
]
