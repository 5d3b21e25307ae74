"""One token source per credential and scope: asks once for many, ahead of time, and outlives a failing authority.

=======================================  ================================================================================
state of the token kept                  what `get` does
=======================================  ================================================================================
fresh: not yet to be refreshed           returns it; nothing else happens
ageing: to be refreshed, still valid     returns it and asks for the next one in the background
about to expire: `leeway` seconds left   waits for the next one; returns the old one if that fails, or failed just now
absent, expired or rejected              waits for the next one; raises what made that fail
=======================================  ================================================================================

There is never more than one acquisition at a time; everybody who needs its outcome waits for it, and nobody who gives up
waiting takes it from the others. After a failure the background rests, longer each time. Somebody who waits always makes
a new attempt, so that corrected credentials work at once, unless the authority itself asked for a pause.
"""

from __future__ import annotations

import asyncio
import contextvars
import copy
import math
from collections.abc import Awaitable, Callable

import attrs

from apex_llm_core.errors import ApexLLMError, AuthenticationError, LLMError, ServiceUnavailableError, UnknownError
from apex_llm_core.redaction import Secret


@attrs.frozen(kw_only=True)
class Token:
    """An access token. Times are seconds since 1970."""

    value: Secret
    expires_on: float
    #: When the authority wishes it to be renewed; None: it said nothing.
    refresh_on: float | None = None

    @property
    def header(self) -> str:
        """The value of the ``Authorization`` header."""
        return f"Bearer {self.value.reveal()}"


class TokenSource:
    """Keeps one token usable.

    Args:
        acquire: gets a new token from the authority; raises an `ApexLLMError` that tells why it could not.
        clock: monotonic seconds, for pauses.
        wall: seconds since 1970, for the life of tokens.
        ahead: seconds before the end of its life at which a token is refreshed, or half of a life shorter than twice that.
        leeway: a token with so few seconds left may expire on its way to the service.
        pause: seconds that the background rests after a first failure; it doubles up to *longest_pause*.
        longest_pause: also the longest pause an authority can ask for.
        rejection_pause: a token that replaced a rejected one less than so many seconds ago is not replaced again.
    """

    def __init__(
        self,
        acquire: Callable[[], Awaitable[Token]],
        *,
        clock: Callable[[], float],
        wall: Callable[[], float],
        ahead: float = 600.0,
        leeway: float = 30.0,
        pause: float = 30.0,
        longest_pause: float = 300.0,
        rejection_pause: float = 10.0,
    ) -> None:
        self._acquire = acquire
        self._clock = clock
        self._wall = wall
        self._ahead = ahead
        self._leeway = leeway
        self._pause = pause
        self._longest_pause = longest_pause
        self._rejection_pause = rejection_pause
        self._token: Token | None = None
        self._refresh_on = -math.inf
        self._flight: asyncio.Task[Token | ApexLLMError] | None = None
        self._closed = False
        #: Failures in a row, the last of them, and until when they keep the background and everybody from asking.
        self._failures = 0
        self._failure: ApexLLMError | None = None
        self._rest_until = -math.inf
        self._asked_until = -math.inf
        self._rejected_at = -math.inf

    def fresh(self) -> Token | None:
        """Return the token if nothing has to be done about it: the way of nearly every request."""
        if self._token is not None and self._wall() < self._refresh_on:
            return self._token
        return None

    async def get(self) -> Token:
        """Return a token that is valid now.

        Raises:
            ApexLLMError: there is none and the authority gives none; each caller gets an instance of its own.
        """
        token = self._token
        if token is not None:
            now = self._wall()
            resting = self._clock() < self._rest_until
            if now < self._refresh_on:
                return token
            if now < token.expires_on - self._leeway or (resting and now < token.expires_on):
                if not resting and not self._closed:
                    _ = self._start()
                return token
        return await self._next()

    def reject(self, value: str) -> bool:
        """Forget the token *value*, which the service did not take; tell whether asking again may help.

        It may, unless the token was itself a replacement a moment ago: then the service does not object to its age.
        """
        if self._token is None or self._token.value.reveal() != value:
            return True
        now = self._clock()
        if now - self._rejected_at < self._rejection_pause:
            return False
        self._rejected_at = now
        self._token = None
        return True

    async def close(self) -> None:
        """Stop asking; whoever still waits gets an error."""
        self._closed = True
        flight = self._flight
        if flight is not None:
            flight.cancel()
            await asyncio.wait((flight,))

    async def _next(self) -> Token:
        if self._closed:
            raise _closed()
        asked = self._asked_until - self._clock()
        if self._failure is not None and asked > 0 and self._flight is None:
            failure = _again(self._failure)
            if isinstance(failure, LLMError):
                failure.retry_after = asked
            raise failure from self._failure.__cause__
        flight = self._start()
        # Unlike `await flight`, this neither cancels it with us nor takes its cancellation for ours.
        await asyncio.wait((flight,))
        if flight.cancelled():
            raise _closed()
        outcome = flight.result()
        if isinstance(outcome, Token):
            return outcome
        if self._token is not None and self._wall() < self._token.expires_on:
            return self._token
        raise _again(outcome) from outcome.__cause__

    def _start(self) -> asyncio.Task[Token | ApexLLMError]:
        if self._flight is None:
            # It serves many requests: no one's context, such as log fields or a trace, is its own.
            self._flight = asyncio.create_task(self._fly(), name="token", context=contextvars.Context())
            self._flight.add_done_callback(self._landed)
        return self._flight

    def _landed(self, _flight: asyncio.Task[Token | ApexLLMError]) -> None:
        self._flight = None

    async def _fly(self) -> Token | ApexLLMError:
        """Acquire a token; return the failure, which may have nobody to raise to."""
        try:
            token = await self._acquire()
            now = self._wall()
            if token.expires_on <= now:
                raise AuthenticationError(
                    "the token authority gave a token that has expired already; check the clock of this machine"
                )
        except ApexLLMError as error:
            return self._failed(error)
        except Exception as error:
            # Only its kind is told: nobody knows what it says.
            failure = UnknownError(f"getting a token failed: {type(error).__name__}", original_error=error)
            failure.__cause__ = error
            return self._failed(failure)
        self._failures = 0
        self._failure = None
        self._rest_until = self._asked_until = -math.inf
        latest = token.expires_on - min(self._ahead, (token.expires_on - now) / 2)
        self._refresh_on = latest if token.refresh_on is None else min(token.refresh_on, latest)
        self._token = token
        return token

    def _failed(self, error: ApexLLMError) -> ApexLLMError:
        now = self._clock()
        self._failures += 1
        self._failure = error
        asked = (error.retry_after if isinstance(error, LLMError) else None) or 0.0
        # Eight doublings of any sensible pause are beyond the longest.
        rest = self._pause * 2 ** min(self._failures - 1, 8)
        self._rest_until = now + min(max(rest, asked), self._longest_pause)
        self._asked_until = now + min(asked, self._longest_pause)
        return error


def _again(error: ApexLLMError) -> ApexLLMError:
    """Return *error* as a new instance: whoever catches one adds to it, so that no two may share it."""
    return copy.copy(error)


def _closed() -> ServiceUnavailableError:
    return ServiceUnavailableError("the provider is shut down: it gets no tokens any more", retryable=False)


__all__ = ["Token", "TokenSource"]
