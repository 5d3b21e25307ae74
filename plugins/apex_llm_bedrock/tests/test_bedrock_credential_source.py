from __future__ import annotations

import asyncio
import contextvars
import math
from itertools import pairwise

import attrs
import pytest
from apex_llm_bedrock.credential_source import Acquired, CredentialSource
from hypothesis import given
from hypothesis import strategies as st

from apex_llm_core.errors import (
    AuthenticationError,
    ConfigurationError,
    LLMTimeoutError,
    RateLimitError,
    ServiceUnavailableError,
    UnknownError,
)
from apex_llm_core.testing import FakeClock, run_virtual

HOUR = 3600.0


class Named:
    """A signature that only has a name."""

    def __init__(self, name):
        self.name = name


class Issuer:
    """An issuer whose answers a test chooses; what it gives is called key-1, key-2, …"""

    def __init__(self, *, lifetime=HOUR, takes=0.0, **settings):
        self.clock = FakeClock()
        self.lifetime = lifetime
        #: When everything ends that is given from now on; None: after a lifetime.
        self.end = None
        self.takes = takes
        self.failure = None
        self.asked = 0
        self.issued = 0
        self.source = CredentialSource(self.acquire, clock=self.clock, wall=self.clock, **settings)

    async def acquire(self):
        self.asked += 1
        if self.takes:
            await asyncio.sleep(self.takes)
        if self.failure is not None:
            raise self.failure
        self.issued += 1
        end = self.clock() + self.lifetime if self.end is None else self.end
        return Acquired(signature=Named(f"key-{self.issued}"), expires_on=None if end == math.inf else end)

    async def get(self):
        """Return the name of the signature, and let a refresh in the background end."""
        signature = await self.source.get()
        await settled()
        return signature.name

    def reject(self, name):
        """Reject the signature of that name: the one kept, or one that was."""
        kept = self.source._kept
        return self.source.reject(kept.signature if kept and kept.signature.name == name else Named(name))

    def run(self, main):
        return run_virtual(main, clock=self.clock)


async def settled():
    for _ in range(5):
        await asyncio.sleep(0)


def outage(**more):
    return ServiceUnavailableError("the service is down", **more)


class TestFresh:
    def test_is_handed_out_without_a_turn_of_the_loop(self):
        issuer = Issuer()

        async def main():
            await issuer.get()
            coroutine = issuer.source.get()
            with pytest.raises(StopIteration) as done:
                coroutine.send(None)
            assert done.value.value is issuer.source.fresh()

        issuer.run(main())
        assert issuer.asked == 1

    def test_is_not_there_before_the_first_acquisition(self):
        assert Issuer().source.fresh() is None

    def test_stays_for_ever_without_an_end(self):
        issuer = Issuer()
        issuer.end = math.inf

        async def main():
            await issuer.get()
            issuer.clock.advance(1e9)
            assert issuer.source.fresh() is not None
            return await issuer.get()

        assert issuer.run(main()) == "key-1"
        assert issuer.asked == 1


class TestOneAcquisition:
    def test_serves_everybody_who_waits(self):
        issuer = Issuer(takes=3.0)

        async def main():
            return await asyncio.gather(*(issuer.source.get() for _ in range(20)))

        signatures = issuer.run(main())
        assert issuer.asked == 1
        assert {signature.name for signature in signatures} == {"key-1"}

    def test_is_not_taken_from_the_others_by_one_who_gives_up(self):
        issuer = Issuer(takes=3.0)

        async def main():
            first = asyncio.create_task(issuer.source.get())
            others = [asyncio.create_task(issuer.source.get()) for _ in range(3)]
            await asyncio.sleep(1)
            first.cancel()
            signatures = await asyncio.gather(*others)
            assert first.cancelled()
            return signatures

        assert len(issuer.run(main())) == 3
        assert issuer.asked == 1

    def test_goes_on_when_all_have_given_up(self):
        issuer = Issuer(takes=3.0)

        async def main():
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(1):
                    await issuer.source.get()
            await asyncio.sleep(5)
            assert issuer.source.fresh() is not None
            return await issuer.get()

        assert issuer.run(main()) == "key-1"
        assert issuer.asked == 1

    def test_fails_everybody_with_an_error_of_their_own(self):
        issuer = Issuer(takes=1.0)
        cause = OSError("no route")
        issuer.failure = ServiceUnavailableError("down", request_id="r-1", details={"a": 1}, original_error=cause)
        issuer.failure.__cause__ = cause

        async def main():
            return await asyncio.gather(*(issuer.source.get() for _ in range(5)), return_exceptions=True)

        errors = issuer.run(main())
        assert issuer.asked == 1
        assert len({id(error) for error in errors}) == 5
        for error in errors:
            assert type(error) is ServiceUnavailableError
            assert (error.message, error.request_id, error.details) == ("down", "r-1", {"a": 1})
            assert error.retryable
            assert error.__cause__ is error.original_error is cause

    @pytest.mark.parametrize(
        "failure",
        [
            LLMTimeoutError("slow", status_code=504),
            AuthenticationError("wrong secret"),
            ConfigurationError("the variable is not set", key="a.b"),
        ],
    )
    def test_failure_keeps_its_type_and_words(self, failure):
        issuer = Issuer()
        issuer.failure = failure

        async def main():
            with pytest.raises(type(failure)) as caught:
                await issuer.source.get()
            return caught.value

        error = issuer.run(main())
        assert error is not failure
        assert (str(error), vars(error)) == (str(failure), vars(failure))

    def test_belongs_to_nobodys_context(self):
        issuer = Issuer()
        trace = contextvars.ContextVar("trace", default="none")
        seen = []
        acquire = issuer.source._acquire

        async def spying():
            seen.append(trace.get())
            return await acquire()

        issuer.source._acquire = spying

        async def main():
            trace.set("of the first request")
            await issuer.get()

        issuer.run(main())
        assert seen == ["none"]

    @pytest.mark.parametrize("turns", range(8))
    @pytest.mark.parametrize("failing", [False, True])
    def test_survives_cancellation_at_every_await(self, turns, failing):
        issuer = Issuer()
        acquire = issuer.source._acquire

        async def slowly():
            for _ in range(3):
                await asyncio.sleep(0)
            return await acquire()

        issuer.source._acquire = slowly
        issuer.failure = outage() if failing else None

        async def main():
            impatient = asyncio.create_task(issuer.source.get())
            for _ in range(turns):
                await asyncio.sleep(0)
            impatient.cancel()
            await asyncio.wait([impatient])
            patient = asyncio.create_task(issuer.source.get())
            await asyncio.wait([patient])
            if failing:
                assert isinstance(patient.exception(), ServiceUnavailableError)
            issuer.failure = None
            return (await issuer.source.get()).name

        assert issuer.run(main()) == "key-1"


class TestAgeing:
    def test_is_handed_out_while_one_refresh_runs_behind_it(self):
        issuer = Issuer(takes=2.0)

        async def main():
            await issuer.get()
            issuer.clock.advance(HOUR - 590)
            before = issuer.clock()
            signatures = await asyncio.gather(*(issuer.source.get() for _ in range(10)))
            assert issuer.clock() == before
            assert {signature.name for signature in signatures} == {"key-1"}
            await asyncio.sleep(3)
            return issuer.source.fresh()

        assert issuer.run(main()).name == "key-2"
        assert issuer.asked == 2

    def test_begins_ten_minutes_before_the_end(self):
        issuer = Issuer()

        async def main():
            await issuer.get()
            issuer.clock.advance(HOUR - 601)
            assert await issuer.get() == "key-1"
            assert issuer.asked == 1
            issuer.clock.advance(1)
            assert issuer.source.fresh() is None
            assert await issuer.get() == "key-1"
            return await issuer.get()

        assert issuer.run(main()) == "key-2"

    def test_begins_in_the_middle_of_a_short_life(self):
        issuer = Issuer(lifetime=300.0)

        async def main():
            await issuer.get()
            issuer.clock.advance(149)
            await issuer.get()
            assert issuer.asked == 1
            issuer.clock.advance(1)
            await issuer.get()

        issuer.run(main())
        assert issuer.asked == 2

    def test_outlives_a_failing_issuer_until_the_very_end(self):
        issuer = Issuer()

        async def main():
            await issuer.get()
            issuer.failure = outage()
            issuer.clock.advance(HOUR - 600)
            for _ in range(599):
                assert await issuer.get() == "key-1"
                issuer.clock.advance(1)
            issuer.clock.advance(1)
            with pytest.raises(ServiceUnavailableError):
                await issuer.get()

        issuer.run(main())

    def test_asks_a_failing_issuer_less_and_less_often(self):
        issuer = Issuer(lifetime=24 * HOUR, ahead=12 * HOUR)

        async def main():
            await issuer.get()
            issuer.clock.advance(12 * HOUR)
            issuer.failure = outage()
            times, begin = [], issuer.clock()
            for _ in range(1500):
                asked = issuer.asked
                await issuer.get()
                if issuer.asked > asked:
                    times.append(issuer.clock() - begin)
                issuer.clock.advance(1)
            return times

        assert issuer.run(main()) == [0, 30, 90, 210, 450, 750, 1050, 1350]

    def test_is_rechecked_once_a_minute_while_it_does_not_change(self):
        issuer = Issuer()

        async def main():
            await issuer.get()
            issuer.end = issuer.clock() + HOUR
            issuer.clock.advance(HOUR - 600)
            times, begin = [], issuer.clock()
            for _ in range(600):
                asked = issuer.asked
                await issuer.get()
                if issuer.asked > asked:
                    times.append(issuer.clock() - begin)
                issuer.clock.advance(1)
            return times

        times = issuer.run(main())
        # Half of what is left, and then a minute apart; at the very end nobody waits for what does not come.
        assert times[0] == 0
        assert all(later - earlier >= 60 for earlier, later in pairwise(times))
        assert len(times) <= 6

    def test_forgets_failures_when_one_succeeds(self):
        issuer = Issuer(lifetime=40.0)

        async def main():
            issuer.failure = outage()
            for _ in range(3):
                with pytest.raises(ServiceUnavailableError):
                    await issuer.get()
            issuer.failure = None
            await issuer.get()
            issuer.clock.advance(21)
            # No rest is left over from before: it waits for the next one.
            assert await issuer.get() == "key-2"
            issuer.lifetime = HOUR
            issuer.clock.advance(21)
            assert await issuer.get() == "key-3"
            issuer.failure = outage()
            issuer.clock.advance(HOUR - 600)
            asked = issuer.asked
            for _ in range(2):
                await issuer.get()
                issuer.clock.advance(30)
            return issuer.asked - asked

        assert issuer.run(main()) == 2

    def test_rests_as_long_as_the_issuer_asks(self):
        issuer = Issuer()

        async def main():
            await issuer.get()
            issuer.clock.advance(HOUR - 600)
            issuer.failure = RateLimitError("busy", retry_after=120.0)
            await issuer.get()
            issuer.clock.advance(119)
            await issuer.get()
            assert issuer.asked == 2
            issuer.clock.advance(1)
            await issuer.get()

        issuer.run(main())
        assert issuer.asked == 3


class TestAboutToExpire:
    def test_waits_for_the_next_one(self):
        issuer = Issuer(takes=2.0)

        async def main():
            await issuer.get()
            issuer.clock.advance(HOUR - 29)
            return await issuer.get()

        assert issuer.run(main()) == "key-2"

    def test_is_better_than_nothing_and_waits_only_once(self):
        issuer = Issuer(takes=2.0)

        async def main():
            await issuer.get()
            issuer.clock.advance(HOUR - 20)
            issuer.failure = outage()
            assert await issuer.get() == "key-1"
            before = issuer.clock()
            assert await issuer.get() == "key-1"
            assert issuer.clock() == before

        issuer.run(main())
        assert issuer.asked == 2


class TestUnchanged:
    def test_about_to_expire_is_handed_out_without_waiting_again_and_again(self):
        issuer = Issuer(takes=2.0)

        async def main():
            await issuer.get()
            issuer.end = issuer.clock() + HOUR - 2.0
            issuer.clock.advance(HOUR - 20)
            assert await issuer.get() == "key-2"
            before = issuer.clock()
            assert await issuer.get() == "key-2"
            assert issuer.clock() == before
            issuer.end = None
            issuer.clock.advance(20)
            return await issuer.get()

        assert issuer.run(main()) == "key-3"
        assert issuer.asked == 3


class TestNothing:
    def test_works_at_once_when_the_credentials_were_corrected(self):
        issuer = Issuer()
        issuer.failure = AuthenticationError("wrong secret")

        async def main():
            for _ in range(5):
                with pytest.raises(AuthenticationError):
                    await issuer.get()
            issuer.failure = None
            return await issuer.get()

        assert issuer.run(main()) == "key-1"
        assert issuer.asked == 6

    def test_is_not_asked_for_while_the_issuer_wants_a_pause(self):
        issuer = Issuer()
        issuer.failure = RateLimitError("busy", retry_after=40.0)

        async def main():
            with pytest.raises(RateLimitError):
                await issuer.get()
            issuer.failure = None
            issuer.clock.advance(30)
            with pytest.raises(RateLimitError) as caught:
                await issuer.get()
            assert caught.value.retry_after == 10.0
            issuer.clock.advance(10)
            return await issuer.get()

        assert issuer.run(main()) == "key-1"
        assert issuer.asked == 2

    def test_no_issuer_can_ask_for_more_than_five_minutes(self):
        issuer = Issuer()
        issuer.failure = outage(retry_after=86400.0)

        async def main():
            with pytest.raises(ServiceUnavailableError):
                await issuer.get()
            issuer.failure = None
            issuer.clock.advance(300)
            return await issuer.get()

        assert issuer.run(main()) == "key-1"

    def test_credentials_of_the_past_are_an_error_that_names_the_clock(self):
        issuer = Issuer(lifetime=-1.0)

        async def main():
            with pytest.raises(AuthenticationError, match="correct the clock"):
                await issuer.get()

        issuer.run(main())

    def test_an_error_of_unknown_kind_is_typed_and_not_quoted(self):
        issuer = Issuer()
        issuer.failure = RuntimeError("secret_access_key=abc")

        async def main():
            with pytest.raises(UnknownError) as caught:
                await issuer.get()
            assert caught.value.original_error is caught.value.__cause__ is issuer.failure
            return str(caught.value)

        assert issuer.run(main()) == "getting AWS credentials failed: RuntimeError"


class TestRejection:
    def test_brings_new_credentials(self):
        issuer = Issuer()

        async def main():
            assert await issuer.get() == "key-1"
            assert issuer.reject("key-1")
            return await issuer.get()

        assert issuer.run(main()) == "key-2"

    def test_of_an_older_signature_leaves_the_newer_one_alone(self):
        issuer = Issuer()

        async def main():
            await issuer.get()
            assert [issuer.reject("key-1") for _ in range(20)] == [True] * 20
            await issuer.get()
            assert issuer.reject("key-1")
            return await issuer.get()

        assert issuer.run(main()) == "key-2"

    def test_of_the_replacement_is_final_for_a_moment(self):
        issuer = Issuer()

        async def main():
            await issuer.get()
            issuer.reject("key-1")
            await issuer.get()
            assert not issuer.reject("key-2")
            assert await issuer.get() == "key-2"
            issuer.clock.advance(10)
            assert issuer.reject("key-2")
            return await issuer.get()

        assert issuer.run(main()) == "key-3"

    def test_during_a_refresh_waits_for_that(self):
        issuer = Issuer(takes=2.0)

        async def main():
            await issuer.source.get()
            issuer.clock.advance(HOUR - 600)
            await issuer.source.get()
            assert issuer.reject("key-1")
            return await issuer.get()

        assert issuer.run(main()) == "key-2"
        assert issuer.asked == 2


class TestClosing:
    def test_ends_an_acquisition_and_tells_who_waits(self):
        issuer = Issuer(takes=1000.0)

        acquire, ended = issuer.source._acquire, []

        async def watched():
            try:
                return await acquire()
            finally:
                # Ending may take a moment, as that of a process does.
                await asyncio.sleep(0)
                ended.append(True)

        issuer.source._acquire = watched

        async def main():
            waiting = asyncio.create_task(issuer.source.get())
            await asyncio.sleep(1)
            await issuer.source.close()
            assert ended
            with pytest.raises(ServiceUnavailableError, match="shut down") as caught:
                await waiting
            assert not caught.value.retryable

        issuer.run(main())
        assert issuer.issued == 0

    def test_is_final(self):
        issuer = Issuer()

        async def main():
            await issuer.source.close()
            with pytest.raises(ServiceUnavailableError, match="shut down"):
                await issuer.source.get()

        issuer.run(main())
        assert issuer.asked == 0

    def test_lets_the_credentials_serve_until_they_expire_without_refreshing_them(self):
        issuer = Issuer()

        async def main():
            await issuer.get()
            await issuer.source.close()
            issuer.clock.advance(HOUR - 600)
            return await issuer.get()

        assert issuer.run(main()) == "key-1"
        assert issuer.asked == 1


@attrs.define
class Model:
    """The table on top of the module, for one caller at a time and an issuer that answers at once."""

    #: Number, when to refresh, end.
    kept: tuple[int, float, float] | None = None
    asked: int = 0
    issued: int = 0
    failures: int = 0
    rest_until: float = 0.0
    pause_until: float = 0.0
    rejected_at: float = -1e9

    def acquire(self, now, lifetime, failing, retry_after):
        self.asked += 1
        if failing:
            self.failures += 1
            rest = min(30 * 2 ** (self.failures - 1), 300)
            self.rest_until = now + min(300, max(rest, retry_after))
            self.pause_until = now + min(300, retry_after)
            return None
        self.issued += 1
        self.failures = 0
        self.rest_until = self.pause_until = 0.0
        end = now + lifetime
        if self.kept is not None and end <= self.kept[2]:
            self.rest_until = now + 60
        self.kept = (self.issued, end - min(600, lifetime / 2), end)
        return self.issued

    def get(self, now, lifetime, failing, retry_after):
        if self.kept is not None:
            number, refresh_on, end = self.kept
            if now < refresh_on:
                return number
            resting = now < self.rest_until
            if now < end - 30 or (resting and now < end):
                if not resting:
                    self.acquire(now, lifetime, failing, retry_after)
                return number
        if now < self.pause_until:
            return None
        number = self.acquire(now, lifetime, failing, retry_after)
        if number is None and self.kept is not None and now < self.kept[2]:
            return self.kept[0]
        return number

    def reject(self, now):
        if self.kept is None:
            return True
        if now - self.rejected_at < 10:
            return False
        self.rejected_at = now
        self.kept = None
        return True


steps = st.lists(
    st.one_of(
        st.tuples(st.just("wait"), st.sampled_from([1, 5, 10, 29, 31, 100, 290, 300, 600, 1500, 3000, 3599, 3600])),
        st.tuples(st.just("get"), st.none()),
        st.tuples(st.just("reject"), st.none()),
        st.tuples(st.just("lifetime"), st.sampled_from([20.0, 60.0, 600.0, 3600.0, 86400.0])),
        st.tuples(st.just("issuer"), st.sampled_from([None, 0.0, 45.0, 900.0])),
    ),
    max_size=60,
)


@given(steps)
def test_does_what_the_table_says(sequence):
    issuer, model = Issuer(), Model()
    retry_after = None

    async def main():
        nonlocal retry_after
        for step, value in sequence:
            if step == "wait":
                issuer.clock.advance(value)
            elif step == "lifetime":
                issuer.lifetime = value
            elif step == "issuer":
                retry_after = value
                issuer.failure = None if value is None else outage(retry_after=value or None)
            elif step == "reject":
                kept = issuer.source._kept
                name = "none" if kept is None else kept.signature.name
                assert issuer.reject(name) == model.reject(issuer.clock())
            else:
                expected = model.get(issuer.clock(), issuer.lifetime, retry_after is not None, retry_after or 0.0)
                try:
                    got = await issuer.get()
                except ServiceUnavailableError:
                    got = None
                assert got == (None if expected is None else f"key-{expected}")
            assert (issuer.asked, issuer.issued) == (model.asked, model.issued)

    issuer.run(main())


@given(
    st.lists(st.sampled_from(["get", "cancel", "reject", "tick", "fail", "heal", "hour"]), max_size=40),
    st.sampled_from([0.0, 1.0, 3.0]),
)
def test_whatever_happens_at_once_it_asks_once_at_a_time_and_never_hands_out_what_is_over(sequence, takes):
    issuer = Issuer(takes=takes)
    running, most, rejected, ends = 0, 0, set(), {}
    acquire = issuer.source._acquire

    async def counted():
        nonlocal running, most
        running += 1
        most = max(most, running)
        try:
            acquired = await acquire()
        finally:
            running -= 1
        ends[acquired.signature] = acquired.end
        return acquired

    issuer.source._acquire = counted

    async def user():
        began = set(rejected)
        try:
            signature = await issuer.source.get()
        except ServiceUnavailableError:
            return
        assert ends[signature] > issuer.clock()
        assert signature.name not in began

    async def main():
        users = []
        for step in sequence:
            if step == "get":
                users.append(asyncio.create_task(user()))
            elif step == "cancel" and users:
                users[len(users) // 2].cancel()
            elif step == "reject" and issuer.source._kept is not None:
                name = issuer.source._kept.signature.name
                if issuer.reject(name):
                    rejected.add(name)
            elif step == "tick":
                await asyncio.sleep(1.0)
            elif step == "fail":
                issuer.failure = outage()
            elif step == "heal":
                issuer.failure = None
            elif step == "hour":
                await asyncio.sleep(HOUR - 300)
        for outcome in await asyncio.gather(*users, return_exceptions=True):
            assert outcome is None or isinstance(outcome, asyncio.CancelledError), outcome
        issuer.failure = None
        await issuer.source.get()
        await asyncio.sleep(10)

    issuer.run(main())
    assert most <= 1
