from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from apex_llm_core.policies.budget import AttemptBudget

RATIOS = st.integers(0, 3000).map(lambda thousandths: Fraction(thousandths, 1000))


class TestRules:
    def test_the_reserve_may_be_used_at_once(self):
        budget = AttemptBudget(0.2, 3)
        assert [budget.take() for _ in range(4)] == [True, True, True, False]

    def test_five_requests_at_a_fifth_pay_for_one(self):
        budget = AttemptBudget(0.2, 0)
        for _ in range(4):
            budget.deposit()
            assert not budget.take()
        budget.deposit()
        assert budget.take()
        assert not budget.take()

    def test_ten_requests_at_a_tenth_pay_for_one_exactly(self):
        budget = AttemptBudget(0.1, 0)
        for _ in range(10):
            budget.deposit()
        assert budget.take()
        assert budget.left == 0

    def test_nothing_is_never(self):
        budget = AttemptBudget(0, 0)
        for _ in range(100):
            budget.deposit()
        assert not budget.take()
        assert not budget.take(hedge=True)

    def test_a_reserve_without_a_ratio_is_used_up_for_good(self):
        budget = AttemptBudget(0, 1)
        assert budget.take()
        for _ in range(100):
            budget.deposit()
        assert not budget.take()

    def test_a_ratio_above_one_lets_a_request_have_all_it_brings(self):
        budget = AttemptBudget(3, 0)
        budget.deposit()
        assert [budget.take() for _ in range(4)] == [True, True, True, False]

    def test_quiet_times_save_no_more_than_the_reserve(self):
        budget = AttemptBudget(0.5, 2)
        for _ in range(1000):
            budget.deposit()
        assert budget.left == 2

    @pytest.mark.parametrize(("reserve", "hedges"), [(10, 5), (9, 5), (2, 1), (1, 1)])
    def test_hedges_leave_the_lower_half_to_retries(self, reserve, hedges):
        budget = AttemptBudget(0, reserve)
        taken = 0
        while budget.take(hedge=True):
            taken += 1
        assert taken == hedges
        assert [budget.take() for _ in range(reserve - hedges + 1)] == [True] * (reserve - hedges) + [False]

    def test_what_was_not_made_comes_back(self):
        budget = AttemptBudget(0, 1)
        assert budget.take()
        budget.refund()
        assert budget.left == 1
        budget.refund()
        assert budget.left == 1


@given(RATIOS, st.integers(0, 20), st.lists(st.sampled_from(["request", "retry", "hedge"]), max_size=200))
def test_further_attempts_never_exceed_the_reserve_and_the_share_of_requests(ratio, reserve, events):
    budget = AttemptBudget(float(ratio), reserve)
    requests = extra = 0
    for event in events:
        if event == "request":
            requests += 1
            budget.deposit()
        else:
            extra += budget.take(hedge=event == "hedge")
        assert extra <= reserve + ratio * requests


class BudgetAgainstAModel(RuleBasedStateMachine):
    """The model counts in exact fractions."""

    @initialize(ratio=RATIOS, reserve=st.integers(0, 12))
    def start(self, ratio, reserve):
        self.budget = AttemptBudget(float(ratio), reserve)
        self.ratio, self.reserve = ratio, reserve
        self.left = Fraction(reserve)
        self.capacity = max(reserve, ratio, 1) if ratio else reserve
        self.out = 0

    @rule()
    def request(self):
        self.budget.deposit()
        self.left = min(self.left + self.ratio, self.capacity)

    @rule()
    def retry(self):
        self.answer(self.budget.take(), self.left >= 1)

    @rule()
    def hedge(self):
        self.answer(self.budget.take(hedge=True), self.left >= 1 and self.left > Fraction(self.reserve, 2))

    @precondition(lambda self: self.out)
    @rule()
    def give_back(self):
        self.budget.refund()
        self.out -= 1
        self.left = min(self.left + 1, self.capacity)

    def answer(self, taken, expected):
        assert taken is expected
        self.left -= taken
        self.out += taken

    @invariant()
    def both_have_the_same_left(self):
        assert self.budget.left == float(self.left)
        assert self.left >= 0


TestBudgetAgainstAModel = BudgetAgainstAModel.TestCase
