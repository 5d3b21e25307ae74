"""One request: the check of what goes out, the answer as it comes in, and what the errors of aiohttp mean.

Messages name the host and the port, never a path, a query or a header: those may carry prompts and credentials.
"""

from __future__ import annotations

import os
import re
from collections.abc import AsyncGenerator, Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from apex_llm_core.context import CallContext
from apex_llm_core.errors import InvalidRequestError, LLMError, LLMTimeoutError, ServiceUnavailableError

if TYPE_CHECKING:
    from aiohttp import ClientResponse

    from apex_llm_core.transport.exchange import ShortResponse

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
#: Control characters but the tab, and halves of surrogate pairs, which have no encoding.
_UNSENDABLE = re.compile(r"[\x00-\x08\x0a-\x1f\x7f\ud800-\udfff]")
#: Two statements of where a body ends are a way to smuggle a second request.
_FRAMING = frozenset({"content-length", "transfer-encoding"})
_PRINTABLE = re.compile(r"[!-~]+")


def check_address(url: str) -> None:
    """Refuse an address that could end the first line of the request's head.

    Raises:
        InvalidRequestError: without the address, which may carry a prompt.
    """
    if not _PRINTABLE.fullmatch(url):
        raise InvalidRequestError(
            "the address of the request has a space, a control or a non-ASCII character; percent-encode what is put into it"
        )


def check_head(method: str, headers: Mapping[str, str] | None) -> None:
    """Refuse what could end a line of the request's head and begin another.

    Raises:
        InvalidRequestError: names the header, never its value.
    """
    if not _is_token(method):
        raise InvalidRequestError(f"{method!r} is no HTTP method")
    if not headers:
        return
    _check_names(tuple(headers))
    # What is printable has nothing unsendable; the test is quick, and hardly ever fails.
    if not "".join(headers.values()).isprintable():
        for name, value in headers.items():
            if _UNSENDABLE.search(value):
                raise InvalidRequestError(f"the value of header {name!r} has a line break or another control character")


@lru_cache(maxsize=64)
def _check_names(names: tuple[str, ...]) -> None:
    # Nearly every request of a provider has the same ones.
    for name in names:
        if not _is_token(name):
            raise InvalidRequestError(f"{name!r} is no name of an HTTP header")
        if name.lower() in _FRAMING:
            raise InvalidRequestError(f"the header {name!r} is written by the transport, which knows the body")


@lru_cache(maxsize=256)
def _is_token(text: str) -> bool:
    return _TOKEN.fullmatch(text) is not None


class AiohttpResponse:
    """One answer whose head has arrived; implements `interfaces.HttpResponse`.

    The connection goes back to the pool when the body was read to its end; after anything else it is closed.
    """

    __slots__ = ("_context", "_max_body_bytes", "_response", "_where", "headers", "status")

    def __init__(
        self, response: ClientResponse | ShortResponse, *, context: CallContext, where: str, max_body_bytes: int
    ) -> None:
        self._response = response
        self._context = context
        self._where = where
        self._max_body_bytes = max_body_bytes
        self.status = response.status
        #: Look-up ignores case.
        self.headers: Mapping[str, str] = response.headers

    async def read(self) -> bytes:
        """Return the whole body and give the connection back.

        Raises:
            ServiceUnavailableError: the body broke off, or has more than `max_body_bytes` bytes after decompression.
        """
        content = self._response.content
        if content.is_eof() and content.exception() is None and self._size() <= self._max_body_bytes:
            # All of a small answer comes with its head. Asked for it, the stream would have the connection read and parse on.
            pieces = getattr(content, "_buffer", None)
            if pieces is not None and len(pieces) == 1 and not content._buffer_offset:  # noqa: SLF001 - `exchange` says why
                return pieces.popleft()  # type: ignore[no-any-return]
            return content.read_nowait()
        parts: list[bytes] = []
        size = 0
        while part := await self._next():
            size += len(part)
            if size > self._max_body_bytes:
                self.close()
                raise ServiceUnavailableError(
                    f"the answer of {self._where} is larger than max_body_bytes = {self._max_body_bytes}",
                    # The same question would get an answer of the same size.
                    retryable=False,
                    status_code=self.status,
                    **concerned(self._context),
                )
            parts.append(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    async def chunks(self) -> AsyncGenerator[bytes, None]:
        """Yield the body as it arrives, one item per network read.

        Raises:
            ServiceUnavailableError: the body broke off.
        """
        try:
            while chunk := await self._next():
                yield chunk
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Give up the answer; an unread body closes the connection."""
        self._response.close()

    def _size(self) -> int:
        # The empty body of older versions of aiohttp does not count.
        return getattr(self._response.content, "total_bytes", 0)

    async def _next(self) -> bytes:
        """Return what the next network read brings, empty at the end."""
        try:
            chunk = await self._response.content.readany()
        except BaseException as error:
            self.close()
            meaning = meaning_of(error, where=self._where, context=self._context, status=self.status)
            if meaning is None:
                raise
            raise meaning from error
        self._context.touch()
        return chunk


def concerned(context: CallContext) -> dict[str, Any]:
    """Return the provider and the model of an attempt, as an error takes them."""
    candidate = context.candidate
    return {} if candidate is None else {"provider": candidate.provider, "model": candidate.model}


def meaning_of(error: BaseException, *, where: str, context: CallContext, status: int | None = None) -> LLMError | None:
    """Return what an exception of aiohttp means in our taxonomy, None for what is not about HTTP.

    Args:
        error: what was raised.
        where: host and port of the request.
        context: the attempt.
        status: the status of the answer, None when it broke before its head was complete.
    """
    import aiohttp

    facts: dict[str, Any] = {"original_error": error, "status_code": status, **concerned(context)}
    if isinstance(error, TimeoutError) or isinstance(getattr(error, "os_error", None), TimeoutError):
        return LLMTimeoutError(f"{where} did not answer in time", **facts)
    match error:
        case aiohttp.ClientConnectorCertificateError():
            reason = getattr(error.certificate_error, "verify_message", "") or type(error.certificate_error).__name__
            advice = "check the endpoint's host name and its certificate; a private authority is trusted through SSL_CERT_FILE"
            message = f"the certificate of {where} is not accepted: {reason}; {advice}"
        case aiohttp.ClientSSLError():
            reason = getattr(error.os_error, "reason", None) or "no reason given"
            message = f"no TLS connection to {where}: {reason}; check that this port speaks https"
        case aiohttp.ClientConnectorDNSError():
            message = f"the host of {where} is not known; check the spelling of the endpoint and the network's DNS"
        case aiohttp.ClientProxyConnectionError():
            message = (
                f"no connection to the proxy {error.host}:{error.port}; check HTTP_PROXY, HTTPS_PROXY and NO_PROXY"
            )
        case aiohttp.ClientHttpProxyError():
            message = f"the proxy does not connect to {where} (status {error.status}); check HTTPS_PROXY and NO_PROXY"
        case aiohttp.ClientConnectorError() if isinstance(error.os_error, ConnectionRefusedError):
            message = f"{where} refuses connections; check that the service runs and that the endpoint's port is right"
        case aiohttp.ClientConnectorError():
            reason = os.strerror(error.os_error.errno) if error.os_error.errno else type(error.os_error).__name__
            message = f"no connection to {where}: {reason}; check the endpoint and the network"
        case aiohttp.ServerDisconnectedError() if status is None:
            message = f"{where} closed the connection without an answer"
        case aiohttp.ClientPayloadError() | aiohttp.ServerDisconnectedError():
            message = f"the answer of {where} broke off or is damaged"
        case aiohttp.ClientResponseError():
            message = f"{where} did not answer in HTTP"
        case aiohttp.ClientConnectionError() | OSError():
            message = f"the connection to {where} broke"
        case aiohttp.ClientError():
            message = f"the request to {where} failed ({type(error).__name__})"
        case ValueError() if status is None:
            return InvalidRequestError(f"the request to {where} cannot be written as HTTP", **facts)
        case _:
            return None
    return ServiceUnavailableError(message, **facts)


__all__ = ["AiohttpResponse", "check_address", "check_head", "concerned", "meaning_of"]
