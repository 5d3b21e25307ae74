"""The HTTP client of a generation of providers: one pool of connections, opened inside the running loop at first use."""

from __future__ import annotations

import asyncio
import io
import ipaddress
import ssl
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from typing import TYPE_CHECKING, NamedTuple
from weakref import WeakSet, WeakValueDictionary

from apex_llm_core.context import CallContext
from apex_llm_core.errors import ServiceUnavailableError
from apex_llm_core.transport.exchange import ShortResponse, exchange, request_bytes
from apex_llm_core.transport.origin import Origin, available
from apex_llm_core.transport.request import AiohttpResponse, check_address, check_head, concerned, meaning_of

if TYPE_CHECKING:
    from aiohttp import ClientRequest, ClientResponse, ClientSession, ClientTimeout, TCPConnector
    from aiohttp.connector import Connection
    from aiohttp.tracing import Trace
    from yarl import URL

#: aiohttp writes bytes in one piece up to this size; larger bodies go out in portions, so that the loop stays free.
_ONE_PIECE = 1 << 20

#: Addresses whose parsed form is kept.
_TARGETS_KEPT = 256

#: The `touch` of the request that the running task sends; how it reaches the connector.
_alive: ContextVar[Callable[[], None]] = ContextVar("apex_llm_alive")


class AiohttpClient:
    """HTTP without surprises; implements `interfaces.HttpClient`.

    There are no time limits in here: whoever calls watches for silence and cancels. Therefore every sign of life (connected,
    a portion of a large body sent, the head, every read) calls the context's `touch`. Cancelling closes the connection.
    Redirects are answers like any other, cookies are neither kept nor sent, and the address is sent exactly as given: it may
    be signed.

    Args:
        max_body_bytes: the largest body that `HttpResponse.read` accepts, after decompression.
        trust_env: use the proxies of HTTP_PROXY, HTTPS_PROXY, ALL_PROXY and NO_PROXY; never for this machine itself. The
            user's netrc is never used.
        short_way: send by `transport.exchange` what can be; False sends everything by aiohttp's own session.
        ca_file: the certificate authorities to trust, in PEM, in place of the usual ones.
    """

    def __init__(
        self,
        *,
        max_body_bytes: int = 100 << 20,
        trust_env: bool = False,
        short_way: bool = True,
        ca_file: str = "",
    ) -> None:
        self._max_body_bytes = max_body_bytes
        self._short_way = short_way
        #: What requests to one address have in common; the oldest give way.
        self._targets: dict[str, _Target] = {}
        #: Kept by their targets and by their links.
        self._origins: WeakValueDictionary[URL, Origin] = WeakValueDictionary()
        self._trust_env = trust_env
        self._ca_file = ca_file
        self._tls: ssl.SSLContext | None = None
        self._proxies: dict[str, str] = {}
        self._session: ClientSession | None = None
        #: Answers whose body was not there with the head.
        self._unfinished: WeakSet[ClientResponse | ShortResponse] = WeakSet()
        self._closed = False

    async def send(
        self,
        method: str,
        url: str,
        *,
        context: CallContext,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
    ) -> AiohttpResponse:
        """Send one request and return when the head of the answer is there, whatever its status.

        Raises:
            InvalidRequestError: the method, the address or a header cannot be sent.
            ServiceUnavailableError: no connection, or it broke before the head was complete; a proxy that is none for HTTP.
            LLMTimeoutError: the operating system gave up connecting.
        """
        check_head(method, headers)
        session = self._session or await self._opened(context)
        target = self._targets.get(url) or self._target(url, context, session)
        proxy = self._proxy(target.url, context) if self._proxies else None
        large = body is not None and len(body) > _ONE_PIECE
        try:
            if target.origin is not None and proxy is None and not large and method != "HEAD":
                request = request_bytes(method, target.url, target.origin, headers, body)
                send = _send_again if method == "GET" else exchange
                response: ClientResponse | ShortResponse = await send(target.origin, request, touch=context.touch)
            else:
                response = await self._send_by_session(session, method, target.url, context, headers, body, proxy)
        except Exception as error:
            meaning = meaning_of(error, where=target.where, context=context)
            if meaning is None:
                raise
            raise meaning from error
        context.touch()
        if not response.content.is_eof():
            self._unfinished.add(response)
        return AiohttpResponse(response, context=context, where=target.where, max_body_bytes=self._max_body_bytes)

    @staticmethod
    async def _send_by_session(
        session: ClientSession,
        method: str,
        url: URL,
        context: CallContext,
        headers: Mapping[str, str] | None,
        body: bytes | None,
        proxy: str | None,
    ) -> ClientResponse:
        alive = _alive.set(context.touch)
        try:
            return await session.request(
                method,
                url,
                headers=headers,
                data=_Upload(body, context.touch) if body is not None and len(body) > _ONE_PIECE else body,
                allow_redirects=False,
                proxy=proxy,
            )
        finally:
            _alive.reset(alive)

    async def close(self) -> None:
        """Close all connections, also those in use; nothing can be sent afterwards."""
        self._closed = True
        # Closing a connection does not wake who reads from it.
        for response in list(self._unfinished):
            response.close()
        for origin in list(self._origins.values()):
            origin.close()
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    def _target(self, url: str, context: CallContext, session: ClientSession) -> _Target:
        check_address(url)
        parsed = _parse(url, context)
        # The session makes an Authorization of credentials in an address, and refuses a second one.
        short = self._short_way and parsed.raw_user is None and parsed.raw_password is None
        origin = self._origin(parsed.origin(), session) if short else None
        if len(self._targets) >= _TARGETS_KEPT:
            del self._targets[next(iter(self._targets))]
        target = self._targets[url] = _Target(parsed, _where(parsed), origin)
        return target

    def _origin(self, url: URL, session: ClientSession) -> Origin:
        origin = self._origins.get(url)
        if origin is None:
            origin = self._origins[url] = Origin(url, session)
        return origin

    async def _opened(self, context: CallContext) -> ClientSession:
        if self._ca_file and self._tls is None:
            try:
                # Authorities are read from files.
                self._tls = await asyncio.to_thread(ssl.create_default_context, cafile=self._ca_file)
            except (OSError, ValueError) as error:
                raise ServiceUnavailableError(
                    f"the file of certificate authorities {self._ca_file!r} cannot be used: {error}",
                    retryable=False,
                    original_error=error,
                    **concerned(context),
                ) from error
        return self._session or self._open(context)

    def _open(self, context: CallContext) -> ClientSession:
        if self._closed:
            raise ServiceUnavailableError("the HTTP client is closed", retryable=False, **concerned(context))
        import aiohttp

        if self._trust_env:
            from urllib.request import getproxies

            self._proxies = getproxies()
        self._short_way = self._short_way and available()
        self._session = aiohttp.ClientSession(
            connector=_connector(self._tls),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=None, connect=None, sock_connect=None, sock_read=None),
        )
        return self._session

    def _proxy(self, target: URL, context: CallContext) -> str | None:
        # aiohttp's own trust_env also sends what netrc has for the host, or fails when the request is authenticated already.
        from urllib.request import proxy_bypass

        if _is_here(target.host or "") or proxy_bypass(f"{target.host}:{target.port}"):
            return None
        proxy = self._proxies.get(target.scheme, self._proxies.get("all"))
        if proxy is None or proxy.startswith(("http://", "https://")):
            return proxy
        if "://" not in proxy:
            return f"http://{proxy}"
        raise ServiceUnavailableError(
            f"the proxy for {target.scheme} is none of the form http://host[:port]; "
            "check HTTP_PROXY, HTTPS_PROXY, ALL_PROXY and NO_PROXY",
            retryable=False,
            **concerned(context),
        )


async def _send_again(origin: Origin, request: bytes, *, touch: Callable[[], None]) -> ShortResponse:
    """As `exchange`, once more when the connection breaks: the other side may just have closed it, being idle."""
    from aiohttp import ClientConnectorError, ClientOSError, ServerDisconnectedError

    try:
        return await exchange(origin, request, touch=touch)
    except ClientConnectorError:
        raise
    except (ClientOSError, ServerDisconnectedError):
        return await exchange(origin, request, touch=touch)


class _Target(NamedTuple):
    """An address: parsed, its host and port for messages, and its origin where the short way leads there."""

    url: URL
    where: str
    origin: Origin | None


class _Upload(io.BytesIO):
    """A large body; every portion that aiohttp takes of it is a sign of life."""

    def __init__(self, body: bytes, touch: Callable[[], None]) -> None:
        super().__init__(body)
        self._touch = touch

    def read(self, size: int | None = -1, /) -> bytes:
        self._touch()
        return super().read(size)


def _connector(tls: ssl.SSLContext | None) -> TCPConnector:
    import aiohttp

    class Connector(aiohttp.TCPConnector):
        # aiohttp's tracing would tell the same for a tenth of the cost of the whole request.
        async def connect(self, req: ClientRequest, traces: list[Trace], timeout: ClientTimeout) -> Connection:  # noqa: ASYNC109 - aiohttp's signature
            connection = await super().connect(req, traces, timeout)
            _alive.get()()
            return connection

    trusted = True if tls is None else tls
    return Connector(limit=0, resolver=aiohttp.ThreadedResolver(), ssl=trusted)


def _parse(url: str, context: CallContext) -> URL:
    from yarl import URL

    reason: ValueError | None = None
    try:
        target = URL(url, encoded=True)
        if target.scheme in ("http", "https") and target.raw_host:
            return target
    except ValueError as error:
        reason = error
    raise ServiceUnavailableError(
        "the endpoint is no address of the form https://host[:port]/path",
        retryable=False,
        original_error=reason,
        **concerned(context),
    ) from reason


def _is_here(host: str) -> bool:
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _where(target: URL) -> str:
    """Return host and port for messages, without credentials that may stand before them."""
    host = target.host or ""
    return f"[{host}]:{target.port}" if ":" in host else f"{host}:{target.port}"


__all__ = ["AiohttpClient"]
