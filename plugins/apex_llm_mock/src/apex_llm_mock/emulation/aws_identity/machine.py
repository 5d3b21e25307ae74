"""The machine's own credentials on loopback: instance metadata (version 2) and the credentials endpoint of containers."""

from __future__ import annotations

import hmac
import itertools
from collections.abc import Callable

from aiohttp import web

from apex_llm_mock.emulation.aws_identity.identity_errors import Refusal
from apex_llm_mock.emulation.aws_identity.keybook import IssuedKey, KeyBook
from apex_llm_mock.emulation.aws_identity.sts import timestamp


class Machine:
    """Gives credentials to whoever asks from this machine.

    An instance keeps its credentials until a few minutes before their end, as EC2 does; a container gets new ones each time.

    Args:
        book: issues the keys.
        role: the instance's role; "": it has none.
        container_token: what ``Authorization`` must say at the container's endpoint; "": nothing.
        wall: seconds since 1970.
    Attributes:
        lifetime: seconds that issued keys live; None: as the book says.
        rotated: an instance's credentials change when they have so many seconds left.
    """

    def __init__(self, book: KeyBook, *, role: str, container_token: str, wall: Callable[[], float]) -> None:
        self.book = book
        self.role = role
        self.container_token = container_token
        self.lifetime: float | None = None
        self.rotated = 300.0
        self._wall = wall
        self._numbers = itertools.count(1)
        self._tokens: set[str] = set()
        self._key: IssuedKey | None = None

    async def begin(self, request: web.Request) -> web.Response:
        """Answer ``PUT /latest/api/token``, with which a session of version 2 begins."""
        lifetime = request.headers.get("x-aws-ec2-metadata-token-ttl-seconds", "")
        if not lifetime.isdecimal() or not 1 <= int(lifetime) <= 21600:
            return web.Response(status=400, text="Bad Request")
        token = f"metadata-token-{next(self._numbers)}"
        self._tokens.add(token)
        return web.Response(text=token)

    async def roles(self, request: web.Request) -> web.Response:
        """Answer ``GET /latest/meta-data/iam/security-credentials/``: the name of the role."""
        self._check_session(request)
        if not self.role:
            raise Refusal("NotFound")
        return web.Response(text=self.role)

    async def credentials(self, request: web.Request) -> web.Response:
        """Answer ``GET /latest/meta-data/iam/security-credentials/{role}``."""
        self._check_session(request)
        if not self.role or request.match_info["role"] != self.role:
            raise Refusal("NotFound")
        key = self._key
        if key is None or key.expires_on is None or key.expires_on - self._wall() <= self.rotated:
            key = self._key = self.book.issue(lifetime=self.lifetime)
        body = {"Code": "Success", "LastUpdated": timestamp(self._wall()), "Type": "AWS-HMAC", **_document(key)}
        # EC2 says text/plain too.
        return web.json_response(body, content_type="text/plain")

    async def container(self, request: web.Request) -> web.Response:
        """Answer ``GET /container/credentials`` (``AWS_CONTAINER_CREDENTIALS_FULL_URI``)."""
        given = request.headers.get("Authorization", "")
        if not hmac.compare_digest(given.encode(), self.container_token.encode()):
            raise Refusal("Unauthorized")
        return web.json_response(_document(self.book.issue(lifetime=self.lifetime)))

    def _check_session(self, request: web.Request) -> None:
        if request.headers.get("x-aws-ec2-metadata-token", "") not in self._tokens:
            raise Refusal("Unauthorized")


def _document(key: IssuedKey) -> dict[str, str]:
    return {
        "AccessKeyId": key.access_key_id,
        "SecretAccessKey": key.secret_access_key,
        "Token": key.session_token,
        "Expiration": timestamp(key.expires_on),
    }


__all__ = ["Machine"]
