"""One authenticated call to the resource: fresh credentials for every attempt, typed errors for everything that is no success."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from apex_llm_azure.answers import parse
from apex_llm_azure.auth import Authenticator
from apex_llm_azure.endpoints import Endpoint
from apex_llm_azure.failure_shapes import is_failure
from apex_llm_azure.failures import failure, stream_failure
from apex_llm_azure.ratelimits import note_remaining
from apex_llm_core.context import CallContext
from apex_llm_core.converters import encode
from apex_llm_core.errors import AuthenticationError, InvalidRequestError, LLMError, ServiceUnavailableError
from apex_llm_core.interfaces import HttpClient, HttpResponse

JSON = "application/json"


class AzureClient:
    """Sends to one resource.

    Args:
        endpoint: the resource.
        scope: of tokens for the surface of *endpoint*; calls to another surface name theirs.
        spillover: the deployment that takes over when a provisioned one is full, "" for none.
        quota_after: a wished wait of so many seconds is a used-up quota.
    """

    def __init__(
        self,
        http: Callable[[], HttpClient],
        auth: Authenticator,
        endpoint: Endpoint,
        *,
        scope: str,
        spillover: str = "",
        quota_after: float = 3600.0,
    ) -> None:
        self._http = http
        self._auth = auth
        self.endpoint = endpoint
        self.scope = scope
        self._fixed = {"Accept": "application/json, text/event-stream"}
        if spillover:
            self._fixed["x-ms-spillover-deployment"] = spillover
        self._quota_after = quota_after

    def post(
        self,
        url: str,
        body: bytes,
        context: CallContext,
        *,
        content_type: str = JSON,
        scope: str | None = None,
    ) -> Awaitable[HttpResponse]:
        """Send *body* and return the answer, whose status is a good one and whose body is still to be read.

        Raises:
            LLMError: everything else, typed by what the service said.
        """
        return self._send("POST", url, body, context, content_type, self.scope if scope is None else scope)

    def get(self, url: str, context: CallContext) -> Awaitable[HttpResponse]:
        """Ask *url*; as `post`."""
        return self._send("GET", url, None, context, None, self.scope)

    async def read(self, response: HttpResponse) -> dict[str, Any]:
        """Return the JSON object that *response* has as its body, and give the connection back.

        Raises:
            LLMError: it has none, or it is an error in spite of its status.
        """
        document = parse(await response.read(), response.headers)
        if not document.get("choices") and not document.get("data") and is_failure(document):
            raise self.failure_of(document, response.headers)
        return document

    def failure_of(self, document: Mapping[str, Any], headers: Mapping[str, str]) -> LLMError:
        """Return the error that *document* tells of although the status was a good one."""
        return stream_failure(document, headers=headers, quota_after=self._quota_after)

    async def _send(
        self, method: str, url: str, body: bytes | None, context: CallContext, content_type: str | None, scope: str
    ) -> HttpResponse:
        renewed = False
        while True:
            credentials = await self._auth.headers(scope, context)
            headers = {**self._fixed, **credentials}
            if content_type is not None:
                headers["Content-Type"] = content_type
            if context.request_id:
                headers["x-ms-client-request-id"] = context.request_id
            response = await self._http().send(method, url, context=context, headers=headers, body=body)
            note_remaining(response.headers, context.note_rate_limits)
            if 200 <= response.status < 300:
                return response
            error = failure(
                response.status,
                response.headers,
                await _whatever_came(response),
                quota_after=self._quota_after,
                now=time.time(),
            )
            # A token may be revoked, or too old for the service's clock, before its time: one new one, never two.
            if renewed or not isinstance(error, AuthenticationError) or not self._auth.rejected(scope, credentials):
                raise error
            renewed = True

    async def close(self) -> None:
        """Release the credentials."""
        await self._auth.close()


async def _whatever_came(response: HttpResponse) -> bytes:
    """Return the body of a refusal; one that breaks off leaves the status, which says enough."""
    try:
        return await response.read()
    except ServiceUnavailableError:
        return b""


def body_of(document: Mapping[str, Any]) -> bytes:
    """Return *document* as the body of a request.

    Raises:
        InvalidRequestError: something in it, which came from the caller, has no JSON form.
    """
    try:
        return encode(document)
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidRequestError(f"the request cannot be written as JSON: {error}") from error


__all__ = ["JSON", "AzureClient", "body_of"]
