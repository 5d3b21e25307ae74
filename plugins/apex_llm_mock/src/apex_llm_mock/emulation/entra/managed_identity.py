"""The managed identity of a machine on loopback: the endpoints of App Service and of virtual machines (IMDS)."""

from __future__ import annotations

from collections.abc import Callable, Collection

from aiohttp import web

from apex_llm_mock.emulation.entra.tokenbook import TokenBook, audience_of


class ManagedIdentity:
    """Gives tokens to whoever asks from this machine, for the system's identity or a user-assigned one.

    Args:
        book: issues the tokens.
        resources: audiences that tokens are given for.
        header: the secret of ``X-IDENTITY-HEADER`` (App Service only).
        identities: client, object or resource ids of user-assigned identities.
        wall: seconds since 1970.
    """

    def __init__(
        self,
        book: TokenBook,
        *,
        resources: Collection[str],
        header: str,
        identities: Collection[str],
        wall: Callable[[], float],
    ) -> None:
        self.book = book
        self.resources = resources
        self.header = header
        self.identities = set(identities)
        self._wall = wall

    async def app_service(self, request: web.Request) -> web.Response:
        """Answer as App Service, Functions and Container Apps do (``IDENTITY_ENDPOINT``)."""
        if request.headers.get("X-IDENTITY-HEADER") != self.header:
            return _status(401, "Unauthorized: the X-IDENTITY-HEADER is missing or wrong.")
        if not self._knows(request, "client_id", "mi_res_id", "object_id", "principal_id"):
            return _status(
                400, "No User Assigned or Delegated Managed Identity found for specified ClientId/ResourceId."
            )
        resource = request.query.get("resource", "")
        if audience_of(resource) not in self.resources:
            return _status(500, "An attempt to get the token failed.")
        return web.json_response(self._token(resource))

    async def machine(self, request: web.Request) -> web.Response:
        """Answer as the metadata service of a virtual machine does."""
        if request.headers.get("Metadata") != "true":
            return _refused("invalid_request", "Required metadata header not specified")
        if not self._knows(request, "client_id", "msi_res_id", "mi_res_id", "object_id"):
            return _refused("invalid_request", "Identity not found")
        resource = request.query.get("resource", "")
        if audience_of(resource) not in self.resources:
            return _refused("invalid_resource", f"AADSTS500011: The resource principal named {resource} was not found.")
        return web.json_response(self._token(resource) | {"expires_in": str(self.book.lifetime)})

    def _knows(self, request: web.Request, *names: str) -> bool:
        return all(request.query[name] in self.identities for name in names if name in request.query)

    def _token(self, resource: str) -> dict[str, str]:
        return {
            "access_token": self.book.issue(resource),
            "expires_on": str(int(self._wall()) + self.book.lifetime),
            "resource": resource,
            "token_type": "Bearer",
        }


def _status(status: int, message: str) -> web.Response:
    return web.json_response({"statusCode": status, "message": message}, status=status)


def _refused(error: str, description: str) -> web.Response:
    return web.json_response({"error": error, "error_description": description}, status=400)


__all__ = ["ManagedIdentity"]
