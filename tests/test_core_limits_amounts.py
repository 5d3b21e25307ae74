from __future__ import annotations

from math import inf

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from apex_llm_core.policies.amounts import AmountWindow


class TestSlots:
    def test_an_amount_counts_until_its_slot_has_left_the_window(self):
        window = AmountWindow(60)
        window.add(10, 100.25)
        # Slots are seconds here: it is in the one that ends at 101.
        for moment, left in ((100.25, 10), (160.25, 10), (160.99, 10), (161.0, 0)):
            window.evict(moment)
            assert window.total == left

    def test_the_wait_is_until_enough_has_left_and_no_longer(self):
        window = AmountWindow(60)
        for moment in (100.0, 110.0, 120.0):
            window.add(30, moment)
        assert window.wait(10, 100, 125.0) == 0
        assert window.wait(11, 100, 125.0) == 36.0
        assert window.wait(40, 100, 125.0) == 36.0
        assert window.wait(41, 100, 125.0) == 46.0
        assert window.wait(100, 100, 125.0) == 56.0
        assert window.wait(101, 100, 125.0) == inf

    def test_asking_changes_nothing(self):
        window = AmountWindow(60)
        window.add(30, 100.0)
        window.wait(80, 100, 101.0)
        assert (dict(window.amounts), window.total) == ({100: 30}, 30)

    def test_a_hair_above_the_limit_is_the_limit(self):
        window = AmountWindow(60)
        for _ in range(2):
            window.add(0.1, 100.0)
        assert window.total + 0.1 > 0.3
        assert window.wait(0.1, 0.3, 100.0) == 0

    def test_nothing_resets_where_nothing_is_used(self):
        window = AmountWindow(60)
        assert window.resets_in(100.0) is None
        window.add(1, 100.0)
        window.add(1, 130.0)
        assert window.resets_in(130.0) == 31.0
        assert window.resets_in(161.0) == 30.0
        assert window.resets_in(500.0) is None


class TestAdjust:
    def test_is_counted_where_it_was_reserved(self):
        window = AmountWindow(60)
        slot = window.add(30, 100.0)
        window.add(5, 130.0)
        window.adjust(slot, 20)
        assert window.total == 55
        window.evict(161.0)
        assert window.total == 5

    def test_does_nothing_when_the_slot_has_left(self):
        window = AmountWindow(60)
        slot = window.add(30, 100.0)
        window.add(5, 130.0)
        window.evict(161.0)
        window.adjust(slot, 1000)
        assert window.total == 5

    def test_never_falls_below_nothing(self):
        window = AmountWindow(60)
        slot = window.add(0.1 + 0.2, 100.0)
        window.adjust(slot, -0.3 - 1e-9)
        assert window.total == 0

    def test_zero_is_kept_for_whoever_settles(self):
        window = AmountWindow(60)
        slot = window.add(0, 100.0)
        window.evict(120.0)
        window.adjust(slot, 7)
        assert window.total == 7


class TestKeptElsewhere:
    def test_goes_on_from_what_it_had(self):
        window = AmountWindow(60)
        for moment in (130.0, 100.0, 115.0):
            window.add(10, moment)
        again = AmountWindow(60, dict(window.amounts))
        assert again.total == 30
        assert [again.resets_in(moment) for moment in (160.0, 161.0, 176.0)] == [1.0, 15.0, 15.0]


moments = st.lists(st.tuples(st.floats(0, 50), st.floats(0, 40)), min_size=1, max_size=40)


@settings(max_examples=300, deadline=None)
@given(per=st.floats(0.5, 100), limit=st.floats(1, 100), steps=moments)
def test_no_window_holds_more_than_the_limit_and_no_wait_is_in_vain(per, limit, steps):
    window, now = AmountWindow(per), 1000.0
    admitted: list[tuple[float, float]] = []
    for pause, amount in steps:
        now += pause
        wait = window.wait(amount, limit, now)
        recent = sum(used for moment, used in admitted if moment > now - per)
        if wait:
            # Refused is only what does not fit into the window and one slot more.
            longer = sum(used for moment, used in admitted if moment > now - per * (1 + 1 / 60) - 1e-9)
            assert longer + amount > limit
            assert wait == inf or wait <= per * (1 + 1 / 60) + 1e-6
            if wait < inf:
                assert window.wait(amount, limit, now + wait + 1e-6) == 0
                now += wait + 1e-6
            continue
        assert recent + amount <= limit * (1 + 1e-6)
        window.add(amount, now)
        admitted.append((now, amount))


@settings(max_examples=200, deadline=None)
@given(steps=st.lists(st.tuples(st.floats(0, 30), st.floats(0, 1), st.floats(-1, 1)), max_size=60))
def test_the_total_is_the_sum(steps):
    window, now = AmountWindow(60), 5.0
    for pause, amount, difference in steps:
        now += pause
        window.evict(now)
        window.adjust(window.add(amount, now), difference)
        assert window.total == pytest.approx(sum(window.amounts.values()), abs=1e-9)
        assert len(window.amounts) <= 61
