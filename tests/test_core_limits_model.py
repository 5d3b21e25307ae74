from __future__ import annotations

import asyncio
from math import inf

import attrs
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, precondition, rule

from apex_llm_core.cache.memory import MemoryStore
from apex_llm_core.config.schema import LimitConfig
from apex_llm_core.policies.limits import Actual, Charge, Limiter, Refusal, Ticket
from apex_llm_core.policies.shared_limits import SharedLimiter
from apex_llm_core.testing import FakeClock

#: Windows of whole minutes: their slots begin at whole seconds, and so does everything that happens here. Then slots are exact,
#: and prices in sixteenths are, too.
_WINDOWS = st.sampled_from([60.0, 120.0])


@attrs.define(eq=False)
class Entry:
    """One admitted request, as one limit has to see it."""

    moment: float
    table: LimitConfig
    subject: str
    tokens: float
    cost: float
    ended: bool = False


@attrs.define(eq=False)
class Admission:
    entries: list[Entry]
    ticket: Ticket
    ended: bool = False


class Reference:
    """Remembers every request there ever was, and counts by going through all of them."""

    def __init__(self, tables, clock, *, requests_in_slots):
        self.tables = tables
        self.clock = clock
        self.requests_in_slots = requests_in_slots
        self.entries: list[Entry] = []

    def share(self, table, subject):
        return [entry for entry in self.entries if entry.table is table and entry.subject == subject]

    @staticmethod
    def leaves(entry, *, slots=True):
        width = entry.table.per / 60
        return (entry.moment // width + 1) * width + entry.table.per if slots else entry.moment + entry.table.per

    def used(self, share, what, now, *, slots=True):
        return sum(what(entry) for entry in share if self.leaves(entry, slots=slots) > now)

    def wait(self, share, what, amount, limit, *, slots=True):
        now = self.clock()
        for moment in sorted({now, *(self.leaves(entry, slots=slots) for entry in share)}):
            if moment >= now and self.used(share, what, moment, slots=slots) + amount <= limit:
                return moment - now
        return inf

    def reserve(self, table, share, charge):
        """Return tokens and cost to reserve, alone if need be; the cost None when it is not known."""
        output = table.assumed_output_tokens if charge.output_tokens is None else charge.output_tokens
        tokens, cost, prompt = charge.prompt_tokens + output, 0.0, 0.0
        if table.cost is not None:
            unknown = (charge.prompt_tokens and charge.input_price is None) or (output and charge.output_price is None)
            if unknown:
                return tokens, None
            prompt = charge.prompt_tokens * (charge.input_price or 0)
            cost = prompt + output * (charge.output_price or 0)
        if charge.output_tokens is None:
            now = self.clock()
            if (
                table.tokens is not None
                and not self.used(share, lambda e: e.tokens, now)
                and charge.prompt_tokens <= table.tokens
            ):
                tokens = min(tokens, table.tokens)
            if table.cost is not None and not self.used(share, lambda e: e.cost, now) and prompt <= table.cost:
                cost = min(cost, table.cost)
        return tokens, cost

    def judge(self, subjects, charge):
        """Return the entries of the request, the waits of those that refuse, and the names of shadows that would."""
        entries, waits, shadows = [], [], []
        for table in self.tables:
            if table.scope not in subjects:
                continue
            subject = "" if table.scope == "all" else subjects[table.scope]
            share = self.share(table, subject)
            tokens, cost = self.reserve(table, share, charge)
            wait = 0.0 if cost is not None else inf
            if wait == 0.0:
                if table.requests is not None:
                    wait = self.wait(share, lambda e: 1, 1, table.requests, slots=self.requests_in_slots)
                if table.tokens is not None:
                    wait = max(wait, self.wait(share, lambda e: e.tokens, tokens, table.tokens))
                if table.cost is not None:
                    wait = max(wait, self.wait(share, lambda e: e.cost, cost, table.cost))
            if wait == 0.0 and table.concurrent is not None and sum(not e.ended for e in share) >= table.concurrent:
                wait = inf
            entries.append(Entry(self.clock(), table, subject, tokens, cost or 0.0))
            if wait and table.shadow:
                shadows.append(table.name)
            elif wait:
                waits.append(wait)
        return entries, waits, shadows


def table_of(number, scope, requests, tokens, cost, concurrent, per, assumed, shadow):
    if requests is tokens is cost is concurrent is None:
        requests = 2
    return LimitConfig(
        name=f"limit-{number}",
        scope=scope,
        requests=requests,
        tokens=tokens,
        cost=cost,
        concurrent=concurrent,
        per=per,
        assumed_output_tokens=assumed,
        shadow=shadow,
    )


tables = st.lists(
    st.tuples(
        st.sampled_from(["all", "user"]),
        st.none() | st.integers(1, 5),
        st.none() | st.integers(1, 100),
        st.none() | st.integers(1, 64).map(lambda number: number / 16),
        st.none() | st.integers(1, 3),
        _WINDOWS,
        st.sampled_from([0, 10, 200]),
        st.sampled_from([False, False, False, True]),
    ),
    min_size=1,
    max_size=3,
).map(lambda rows: [table_of(number, *row) for number, row in enumerate(rows)])
charges = st.builds(
    Charge,
    prompt_tokens=st.integers(0, 60),
    output_tokens=st.none() | st.integers(0, 60),
    input_price=st.sampled_from([0.0, 0.0625, 0.0625, None]),
    output_price=st.sampled_from([0.0, 0.0625, 0.125, None]),
)


class LimitsMachine(RuleBasedStateMachine):
    """The limits of one process, or with a store, do what counting by hand says."""

    admissions = Bundle("admissions")
    shared = False

    @initialize(tables=tables)
    def start(self, tables):
        self.clock = FakeClock(6000.0)
        self.reference = Reference(tables, self.clock, requests_in_slots=self.shared)
        self.all: list[Admission] = []
        #: Names of limits beyond which an answer went that used more than was reserved.
        self.beyond: set[str] = set()
        self.open(tables)

    def open(self, tables):
        self.limiter = Limiter(tables, self.clock)

    def do(self, answer):
        return answer

    @rule(target=admissions, user=st.sampled_from([None, "a", "b"]), charge=charges)
    def enter(self, user, charge):
        subjects = {"all": ""} if user is None else {"all": "", "user": user}
        entries, waits, shadows = self.reference.judge(subjects, charge)
        answer = self.do(self.limiter.enter(subjects, charge))
        if waits:
            assert isinstance(answer, Refusal), (waits, answer)
            self.agree_on_wait(answer, waits)
            return None
        assert isinstance(answer, Ticket), answer
        assert sorted(refusal.limit for refusal in answer.shadowed) == sorted(shadows)
        self.reference.entries += entries
        self.beyond |= set(shadows)
        admission = Admission(entries, answer)
        self.all.append(admission)
        return admission

    def agree_on_wait(self, refusal, waits):
        known = [wait for wait in waits if wait < inf]
        assert refusal.retry_after == (max(known) if known else None)

    @rule(admission=admissions, tokens=st.integers(0, 120), cost=st.none() | st.integers(0, 64).map(lambda n: n / 16))
    def settle(self, admission, tokens, cost):
        self.end(admission, Actual(tokens=tokens, cost=cost))

    @rule(admission=admissions)
    def settle_without_knowing(self, admission):
        self.end(admission, None)

    @rule(admission=admissions)
    def leave(self, admission):
        if admission is not None:
            self.do(self.limiter.leave(admission.ticket))
            self.note_end(admission, Actual(tokens=0, cost=0.0))

    def end(self, admission, actual):
        if admission is not None:
            self.do(self.limiter.settle(admission.ticket, actual))
            self.note_end(admission, actual)

    def note_end(self, admission, actual):
        if admission.ended:
            return
        admission.ended = True
        now = self.clock()
        for entry in admission.entries:
            entry.ended = True
            if actual is None or self.reference.leaves(entry) <= now:
                continue
            if actual.tokens > entry.tokens or (actual.cost is not None and actual.cost > entry.cost):
                self.beyond.add(entry.table.name)
            entry.tokens = actual.tokens
            if actual.cost is not None:
                entry.cost = actual.cost

    @rule(seconds=st.integers(0, 80))
    def wait(self, seconds):
        self.clock.advance(seconds)

    @precondition(lambda self: self.all)
    @rule()
    def reload(self):
        before, tables = self.limiter, self.reference.tables
        self.open(tables)
        self.limiter.adopt(before)

    @invariant()
    def standing_is_what_counting_by_hand_says(self):
        if not hasattr(self, "limiter"):
            return
        now = self.clock()
        for found in self.do(self.limiter.standing()):
            (table,) = (table for table in self.reference.tables if table.name == found.limit)
            share = self.reference.share(table, found.subject)
            if found.tokens is not None:
                assert found.tokens.used == self.reference.used(share, lambda e: e.tokens, now)
            if found.cost is not None:
                assert found.cost.used == self.reference.used(share, lambda e: e.cost, now)
            if found.concurrent is not None:
                assert found.concurrent.used == sum(not entry.ended for entry in share)
            if found.requests is not None and not table.shadow:
                slots = self.shared
                assert found.requests.used == self.reference.used(share, lambda e: 1, now, slots=slots)

    @invariant()
    def no_window_holds_more_than_the_limit(self):
        if not hasattr(self, "limiter"):
            return
        for table in self.reference.tables:
            for last in (entry for entry in self.reference.entries if entry.table is table):
                window = [
                    entry
                    for entry in self.reference.share(table, last.subject)
                    if last.moment - table.per < entry.moment <= last.moment
                ]
                if not table.shadow and table.requests is not None:
                    assert len(window) <= table.requests
                if table.name not in self.beyond:
                    assert table.tokens is None or sum(entry.tokens for entry in window) <= table.tokens
                    assert table.cost is None or sum(entry.cost for entry in window) <= table.cost


class SharedLimitsMachine(LimitsMachine):
    shared = True

    def __init__(self):
        super().__init__()
        self.runner = asyncio.Runner()

    def open(self, tables):
        if not hasattr(self, "store"):
            self.store = MemoryStore(max_entries=1000, clock=self.clock)
        self.limiter = SharedLimiter(tables, self.store, wall=self.clock, on_error=self.fail)

    @staticmethod
    def fail(error):
        raise AssertionError(f"the store failed: {error}")

    def do(self, answer):
        return self.runner.run(answer)

    def agree_on_wait(self, refusal, waits):
        # Who has no place in flight is refused before the store is asked.
        if refusal.kind != "concurrent":
            super().agree_on_wait(refusal, waits)

    def teardown(self):
        self.runner.close()


TestLimits = LimitsMachine.TestCase
TestLimits.settings = settings(max_examples=200, stateful_step_count=40, deadline=None)
TestSharedLimits = SharedLimitsMachine.TestCase
TestSharedLimits.settings = settings(max_examples=80, stateful_step_count=30, deadline=None)
