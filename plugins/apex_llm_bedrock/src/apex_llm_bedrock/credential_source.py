"""One source per set of credentials: asks once for many, ahead of time, and outlives a failing issuer.

=======================================  ================================================================================
state of the credentials kept            what `get` does
=======================================  ================================================================================
fresh: not yet to be refreshed           returns them; nothing else happens
ageing: to be refreshed, still valid     returns them and asks for the next ones in the background, once a minute at most
about to expire: `leeway` seconds left   waits for the next ones; returns the old ones if that brings none, or did not
                                         just now
absent, expired or rejected              waits for the next ones; raises what made that fail
=======================================  ================================================================================

Credentials that tell no end (access keys in a file or in the environment) stay fresh until the service rejects them; then
whatever they came from is read again.

There is never more than one acquisition at a time; everybody who needs its outcome waits for it, and nobody who gives up
waiting takes it from the others. After a failure the background rests, longer each time. Somebody who waits always makes
a new attempt, so that corrected credentials work at once, unless the issuer itself asked for a pause.
"""

from __future__ import annotations

import asyncio
import contextvars
import copy
import math
from collections.abc import Awaitable, Callable

import attrs

from apex_llm_bedrock.signing import Signature
from apex_llm_core.errors import ApexLLMError, AuthenticationError, LLMError, ServiceUnavailableError, UnknownError


@attrs.frozen(kw_only=True)
class Acquired:
    """Credentials, ready to sign with."""

    signature: Signature
    #: Seconds since 1970; None: they tell no end.
    expires_on: float | None = None

    @property
    def end(self) -> float:
        """When they end."""
        return math.inf if self.expires_on is None else self.expires_on


class CredentialSource:
    """Keeps one set of credentials usable.

    Args:
        acquire: gets new credentials; raises an `ApexLLMError` that tells why it could not.
        clock: monotonic seconds, for pauses.
        wall: seconds since 1970, for the life of credentials.
        ahead: seconds before their end at which credentials are refreshed, or half of a life shorter than twice that.
        leeway: credentials with so few seconds left may expire on their way to the service.
        recheck: seconds after which credentials that did not change are asked for again: instances get theirs minutes
            before the end of the old ones, and not at a time of our choosing.
        pause: seconds that the background rests after a first failure; it doubles up to *longest_pause*.
        longest_pause: also the longest pause an issuer can ask for.
        rejection_pause: credentials that replaced rejected ones less than so many seconds ago are not replaced again.
    """

    def __init__(
        self,
        acquire: Callable[[], Awaitable[Acquired]],
        *,
        clock: Callable[[], float],
        wall: Callable[[], float],
        ahead: float = 600.0,
        leeway: float = 30.0,
        recheck: float = 60.0,
        pause: float = 30.0,
        longest_pause: float = 300.0,
        rejection_pause: float = 10.0,
    ) -> None:
        self._acquire = acquire
        self._clock = clock
        self._wall = wall
        self._ahead = ahead
        self._leeway = leeway
        self._recheck = recheck
        self._pause = pause
        self._longest_pause = longest_pause
        self._rejection_pause = rejection_pause
        self._kept: Acquired | None = None
        self._refresh_on = -math.inf
        self._flight: asyncio.Task[Acquired | ApexLLMError] | None = None
        self._closed = False
        #: Failures in a row, the last of them, and until when they keep the background and everybody from asking.
        self._failures = 0
        self._failure: ApexLLMError | None = None
        self._rest_until = -math.inf
        self._asked_until = -math.inf
        self._rejected_at = -math.inf

    def fresh(self) -> Signature | None:
        """Return the signature if nothing has to be done about it: the way of nearly every request."""
        if self._kept is not None and self._wall() < self._refresh_on:
            return self._kept.signature
        return None

    async def get(self) -> Signature:
        """Return a signature that is valid now.

        Raises:
            ApexLLMError: there is none, and none is to be had; each caller gets an instance of its own.
        """
        kept = self._kept
        if kept is not None:
            now = self._wall()
            resting = self._clock() < self._rest_until
            if now < self._refresh_on:
                return kept.signature
            if now < kept.end - self._leeway or (resting and now < kept.end):
                if not resting and not self._closed:
                    _ = self._start()
                return kept.signature
        return await self._next()

    def reject(self, signature: Signature) -> bool:
        """Forget *signature*, which the service did not take; tell whether asking again may help.

        It may, unless it was itself a replacement a moment ago: then the service does not object to its age.
        """
        if self._kept is None or self._kept.signature is not signature:
            return True
        now = self._clock()
        if now - self._rejected_at < self._rejection_pause:
            return False
        self._rejected_at = now
        self._kept = None
        return True

    async def close(self) -> None:
        """Stop asking; whoever still waits gets an error."""
        self._closed = True
        flight = self._flight
        if flight is not None:
            flight.cancel()
            await asyncio.wait((flight,))

    async def _next(self) -> Signature:
        if self._closed:
            raise closed()
        asked = self._asked_until - self._clock()
        if self._failure is not None and asked > 0 and self._flight is None:
            failure = copy.copy(self._failure)
            if isinstance(failure, LLMError):
                failure.retry_after = asked
            raise failure from self._failure.__cause__
        flight = self._start()
        # Unlike `await flight`, this neither cancels it with us nor takes its cancellation for ours.
        await asyncio.wait((flight,))
        if flight.cancelled():
            raise closed()
        outcome = flight.result()
        if isinstance(outcome, Acquired):
            return outcome.signature
        if self._kept is not None and self._wall() < self._kept.end:
            return self._kept.signature
        # Whoever catches one adds to it, so that no two may share it.
        raise copy.copy(outcome) from outcome.__cause__

    def _start(self) -> asyncio.Task[Acquired | ApexLLMError]:
        if self._flight is None:
            # It serves many requests: no one's context, such as log fields or a trace, is its own.
            self._flight = asyncio.create_task(self._fly(), name="credentials", context=contextvars.Context())
            self._flight.add_done_callback(self._landed)
        return self._flight

    def _landed(self, _flight: asyncio.Task[Acquired | ApexLLMError]) -> None:
        self._flight = None

    async def _fly(self) -> Acquired | ApexLLMError:
        """Acquire credentials; return the failure, which may have nobody to raise to."""
        try:
            acquired = await self._acquire()
            now = self._wall()
            if acquired.end <= now:
                raise AuthenticationError(
                    "the AWS credentials found have expired already; renew them where they come from, or correct the"
                    " clock of this machine"
                )
        except ApexLLMError as error:
            return self._failed(error)
        except Exception as error:
            # Only its kind is told: nobody knows what it says.
            failure = UnknownError(f"getting AWS credentials failed: {type(error).__name__}", original_error=error)
            failure.__cause__ = error
            return self._failed(failure)
        self._failures = 0
        self._failure = None
        self._rest_until = self._asked_until = -math.inf
        if self._kept is not None and acquired.end <= self._kept.end < math.inf:
            self._rest_until = self._clock() + self._recheck
        self._refresh_on = acquired.end - min(self._ahead, (acquired.end - now) / 2)
        self._kept = acquired
        return acquired

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


def closed() -> ServiceUnavailableError:
    """Return the error of whoever asks after the end."""
    return ServiceUnavailableError("the provider is shut down: it gets no credentials any more", retryable=False)


__all__ = ["Acquired", "CredentialSource", "closed"]
