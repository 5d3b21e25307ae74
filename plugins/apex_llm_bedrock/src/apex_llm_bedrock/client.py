"""One signed call: fresh credentials for every attempt, typed errors for everything that is no success."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from hashlib import sha256
from typing import Any, Literal

from apex_llm_bedrock.answers import parse, request_id_of
from apex_llm_bedrock.auth import Authenticator
from apex_llm_bedrock.bodies import LARGE, large_body, small_body
from apex_llm_bedrock.event_stream import Message
from apex_llm_bedrock.failures import expired, failure, failure_in, stream_failure
from apex_llm_bedrock.models import Model
from apex_llm_bedrock.settings import BedrockSettings
from apex_llm_bedrock.signing import Signature
from apex_llm_bedrock.targets import Target, Targets
from apex_llm_core.context import CallContext
from apex_llm_core.errors import LLMError, ServiceUnavailableError
from apex_llm_core.interfaces import HttpClient, HttpResponse

_HEADERS: Mapping[str, str] = {"Content-Type": "application/json", "Accept": "application/json"}
_STREAM_HEADERS: Mapping[str, str] = {
    "Content-Type": "application/json",
    "Accept": "application/vnd.amazon.eventstream",
}
#: Headers of InvokeModel's stream, whose `Accept` is that of the model's own pieces.
_INVOKE_STREAM_HEADERS: Mapping[str, str] = {
    "Content-Type": "application/json",
    "Accept": "application/vnd.amazon.eventstream",
    "X-Amzn-Bedrock-Accept": "application/json",
}
#: Operations whose answer comes in one piece, and costs.
_CHARGED = frozenset({"converse", "invoke"})
_OPERATION_HEADERS = {
    "converse-stream": _STREAM_HEADERS,
    "invoke-with-response-stream": _INVOKE_STREAM_HEADERS,
}


class BedrockClient:
    """Calls one account.

    Args:
        http: gives the HTTP client for a file of certificate authorities, "" for the usual ones.
        auth: proves who is calling, and knows what environment and profile say.
        settings: of the provider.
    """

    def __init__(
        self,
        http: Callable[[str], HttpClient],
        auth: Authenticator,
        settings: BedrockSettings,
        *,
        allow_insecure: bool = False,
    ) -> None:
        self._make_http = http
        self._auth = auth
        self._settings = settings
        self._http: HttpClient | None = None
        self.targets = Targets(settings, auth, allow_insecure=allow_insecure)

    async def call(
        self,
        model: Model,
        operation: str,
        document: Mapping[str, Any],
        context: CallContext,
        *,
        headers: Mapping[str, str] | None = None,
        size: int = 0,
    ) -> HttpResponse:
        """POST *document* to an operation of *model*; return the answer, whose status is good and whose body is unread.

        *size* is about how many characters *document* has, where it may be large.

        Raises:
            LLMError: everything else, typed by what the service said.
        """
        target = self.targets.known(model, operation) or await self.targets.of(model, operation)
        payload_hash: str | None = None
        if size > LARGE:
            # Writing and hashing megabytes takes longer than other requests may wait.
            body, payload_hash = await asyncio.to_thread(_hashed, document)
        else:
            body = small_body(document)
        # A whole answer that is silent for long may be under way all the same, and is billed.
        context.charged = operation in _CHARGED
        sent = _OPERATION_HEADERS.get(operation, _HEADERS)
        return await self._send("POST", target, body, payload_hash, context, {**sent, **headers} if headers else sent)

    async def get(self, path: str, query: str, context: CallContext, *, region: str = "") -> dict[str, Any]:
        """Ask the control plane; *path* and *query* are encoded already.

        Raises:
            LLMError: it does not answer with a JSON object.
        """
        target = await self.targets.control(path, query, region)
        return await self.read(await self._send("GET", target, b"", None, context, {"Accept": "application/json"}))

    async def read(self, response: HttpResponse) -> dict[str, Any]:
        """Return the JSON object that *response* has as its body, and give the connection back.

        Raises:
            LLMError: it has none, or it is an error in spite of its status.
        """
        try:
            data = await response.read()
        except LLMError as error:
            error.request_id = error.request_id or request_id_of(response.headers)
            raise
        if len(data) > LARGE:
            document = await asyncio.to_thread(parse, data, response.headers)
        else:
            document = parse(data, response.headers)
        told = failure_in(document, response.headers, quota_after=self._settings.quota_after, now=time.time())
        if told is not None:
            raise told
        return document

    def failure_of(self, message: Message, headers: Mapping[str, str]) -> LLMError:
        """Return the error that *message* of a stream tells of."""
        kind: Literal["exception", "error"] = "exception" if message.kind == "exception" else "error"
        return stream_failure(
            kind,
            message.name,
            message.payload,
            headers=headers,
            message=message.text,
            quota_after=self._settings.quota_after,
            now=time.time(),
        )

    async def close(self) -> None:
        """Release the credentials."""
        await self._auth.close()

    async def _send(
        self,
        method: str,
        target: Target,
        body: bytes,
        payload_hash: str | None,
        context: CallContext,
        headers: Mapping[str, str],
    ) -> HttpResponse:
        renewed = False
        http = self._http
        if http is None:
            http = await self._open()
        while True:
            signature = self._auth.current() or await self._signature(context)
            signed = signature.headers(
                method,
                target.host,
                target.path,
                target.query,
                headers,
                payload_hash,
                body,
                region=target.region,
                now=time.time(),
            )
            response = await http.send(
                method, target.url, context=context, headers=signed, body=body if method == "POST" else None
            )
            if 200 <= response.status < 300:
                return response
            error = failure(
                response.status,
                response.headers,
                await _whatever_came(response),
                quota_after=self._settings.quota_after,
                now=time.time(),
            )
            # Credentials may end before their time: new ones once, never twice.
            if renewed or not expired(error) or not self._auth.rejected(signature):
                raise error
            renewed = True

    def _signature(self, context: CallContext) -> Awaitable[Signature]:
        return self._auth.signature(context)

    async def _open(self) -> HttpClient:
        self._http = self._make_http(await self.targets.ca_file())
        return self._http


def _hashed(document: Mapping[str, Any]) -> tuple[bytes, str]:
    body = large_body(document)
    return body, sha256(body).hexdigest()


async def _whatever_came(response: HttpResponse) -> bytes:
    """Return the body of a refusal; one that breaks off leaves the status, which says enough."""
    try:
        return await response.read()
    except ServiceUnavailableError:
        return b""


__all__ = ["BedrockClient"]
