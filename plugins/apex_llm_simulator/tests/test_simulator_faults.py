from __future__ import annotations

import pytest
from apex_llm_simulator.faults import Fault, FaultScript
from hypothesis import given
from hypothesis import strategies as st

from apex_llm_core.errors import LLMErrorType


def script(*faults, seed="s"):
    return FaultScript(faults, seed=seed)


def struck(found):
    return None if found[1] is None else found[1].kind


def test_an_outage_strikes_within_its_windows_only():
    outage = script(Fault(kind="outage", windows=("5m-8m", "10m-11m")))
    assert [struck(outage.strike("m", at)) for at in (299, 300, 479, 480, 600, 660)] == [
        *(None, "outage", "outage", None, "outage", None)
    ]


def test_flapping_begins_with_each_window():
    flapping = script(Fault(kind="outage", windows=("10s-100s",), every="30s", lasting="10s"))
    down = [at for at in range(120) if struck(flapping.strike("m", at))]
    assert down == [*range(10, 20), *range(40, 50), *range(70, 80)]


@given(
    begin=st.integers(0, 50),
    length=st.integers(1, 80),
    every=st.integers(2, 40),
    lasting=st.integers(1, 39),
)
def test_spans_are_exactly_when_it_strikes(begin, length, every, lasting):
    lasting = min(lasting, every - 1)
    fault = Fault(kind="outage", windows=(f"{begin}s-{begin + length}s",), every=f"{every}s", lasting=f"{lasting}s")
    spans = list(fault.spans(100.0))
    one = script(fault)
    for tick in range(200):
        at = tick / 2
        assert any(low <= at < high for low, high in spans) == (struck(one.strike("m", at)) is not None)
    assert all(low < high <= 100.0 for low, high in spans)


def test_a_share_strikes_that_share_of_the_calls():
    throttle = script(Fault(kind="throttle", share=0.2))
    count = sum(struck(throttle.strike("m", 1.0)) is not None for _ in range(20_000))
    assert count / 20_000 == pytest.approx(0.2, abs=0.01)


def test_brownouts_multiply_and_hide_no_other_fault():
    both = script(
        Fault(kind="brownout", factor=2), Fault(kind="brownout", factor=3), Fault(kind="cut"), Fault(kind="hang")
    )
    factor, fault = both.strike("m", 0.0)
    assert (factor, fault.kind) == (6.0, "cut")


def test_a_fault_concerns_the_models_it_names():
    some = script(Fault(kind="outage", models=("gpt-*",)))
    assert struck(some.strike("gpt-4o", 0.0)) == "outage"
    assert struck(some.strike("claude", 0.0)) is None


def test_another_fault_before_it_does_not_move_the_draws():
    later = Fault(kind="error", share=0.3)
    alone = [
        struck(found) for found in map(script(Fault(kind="brownout", factor=2), later).strike, "m" * 500, range(500))
    ]
    beside = script(Fault(kind="cut", share=0.5, windows=("1h-2h",)), later)
    assert alone == [struck(beside.strike("m", at)) for at in range(500)]


def test_the_seed_decides_the_draws():
    def draws(seed):
        one = script(Fault(kind="error", share=0.5), seed=seed)
        return [struck(one.strike("m", 0.0)) for _ in range(50)]

    assert draws("a") == draws("a") != draws("b")


def test_what_a_call_ends_with():
    assert Fault(kind="throttle").error_type is LLMErrorType.RATE_LIMIT_ERROR
    assert Fault(kind="throttle").status_code == 429
    assert Fault(kind="outage").status_code == 503
    assert Fault(kind="error", error=LLMErrorType.AUTHENTICATION_ERROR).status_code == 401
    assert Fault(kind="error", status=529).status_code == 529


@pytest.mark.parametrize(
    ("fault", "condition"),
    [
        (Fault(kind="outage"), "down"),
        (Fault(kind="hang"), "down"),
        (Fault(kind="throttle", share=0.9), "degraded"),
        (Fault(kind="brownout", factor=2), "degraded"),
        (Fault(kind="outage", models=("a",)), "degraded"),
    ],
)
def test_how_a_provider_is_meanwhile(fault, condition):
    assert fault.condition == condition


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"kind": "outage", "share": 0.5}, "takes no 'share'"),
        ({"kind": "throttle", "factor": 2}, "takes no 'factor'"),
        ({"kind": "brownout", "retry_after": 1, "factor": 2}, "takes no 'retry_after'"),
        ({"kind": "brownout"}, "needs a 'factor' above 1"),
        ({"kind": "outage", "every": "1m"}, "belong together"),
        ({"kind": "outage", "every": "1m", "lasting": "1m"}, "shorter than 'every'"),
        ({"kind": "outage", "windows": ("1m",)}, "'windows' must be a span"),
        ({"kind": "outage", "every": "x", "lasting": "1m"}, "'every' must be a duration"),
    ],
)
def test_contradictions_are_refused(keys, message):
    with pytest.raises(ValueError, match=message):
        Fault(**keys)
