from __future__ import annotations

import pytest

from apex_llm_core.testing.guard import ConformanceBase, overrides_standard_test


class Standard(ConformanceBase):
    def test_something(self):
        """A standard test."""


def guard(cls):
    cls().test_no_standard_test_is_overridden()


def test_adding_tests_is_fine():
    class Subject(Standard):
        def test_more(self):
            pass

    guard(Subject)


def test_replacing_a_test_silently_is_found():
    class Subject(Standard):
        def test_something(self):
            pass

    with pytest.raises(AssertionError, match=r"Subject\.test_something replaces the test of Standard"):
        guard(Subject)


def test_removing_a_test_silently_is_found():
    class Subject(Standard):
        test_something = None

    with pytest.raises(AssertionError, match="test_something"):
        guard(Subject)


def test_replacing_a_test_by_a_mixin_or_further_up_is_found():
    class Mixin:
        def test_something(self):
            pass

    class Subject(Mixin, Standard):
        pass

    class Child(Subject):
        pass

    for cls in (Subject, Child):
        with pytest.raises(AssertionError, match=r"Mixin\.test_something"):
            guard(cls)


def test_a_declared_override_is_fine():
    class Subject(Standard):
        @overrides_standard_test(reason="the provider counts differently")
        def test_something(self):
            pass

    guard(Subject)


def test_a_declared_override_of_nothing_is_stale():
    class Subject(Standard):
        @overrides_standard_test(reason="the provider counts differently")
        def test_something_else(self):
            pass

    with pytest.raises(AssertionError, match="replaces nothing"):
        guard(Subject)


@pytest.mark.parametrize("reason", ["", "  "])
def test_a_reason_is_needed(reason):
    with pytest.raises(ValueError, match="reason"):
        overrides_standard_test(reason=reason)


def test_the_guard_itself_cannot_be_replaced():
    with pytest.raises(TypeError, match="cannot be replaced"):

        class Subject(Standard):
            def test_no_standard_test_is_overridden(self):
                pass
