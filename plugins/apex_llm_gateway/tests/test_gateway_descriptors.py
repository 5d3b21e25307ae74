from __future__ import annotations

import sys

import pytest
from apex_llm_gateway import descriptors
from apex_llm_gateway.descriptors import room_for

ENDLESS = -1


class Limits:
    """Stands for the module `resource`: the real limit cannot be put back once it is lowered."""

    RLIMIT_NOFILE = object()
    RLIM_INFINITY = ENDLESS

    def __init__(self, soft, hard, most=None):
        self.now = (soft, hard)
        self._most = most

    def getrlimit(self, which):
        assert which is self.RLIMIT_NOFILE
        return self.now

    def setrlimit(self, which, limits):
        assert which is self.RLIMIT_NOFILE
        soft, hard = limits
        if hard != ENDLESS and soft > hard:
            raise ValueError("above the hard limit")
        if self._most is not None and soft > self._most:
            raise OSError("the kernel has its own limit")
        self.now = limits


@pytest.mark.parametrize(
    ("soft", "hard", "room", "raised"),
    [
        (1024, 524_288, 10_000, 13_398),
        (1024, ENDLESS, 10_000, 13_398),
        (20_000, 20_000, 10_000, 20_000),
        (1024, 4096, 3024, 4096),
        (1024, 1024, 720, 1024),
        (60, 60, 1, 60),
        (ENDLESS, ENDLESS, 10_000, ENDLESS),
    ],
)
def test_the_limit_is_raised_as_far_as_it_goes_and_a_quarter_stays_free(monkeypatch, soft, hard, room, raised):
    limits = Limits(soft, hard)
    monkeypatch.setattr(descriptors, "resource", limits)
    assert room_for(10_000) == room
    assert limits.now == (raised, hard)


def test_a_limit_that_cannot_be_raised_is_gone_by(monkeypatch):
    monkeypatch.setattr(descriptors, "resource", Limits(1024, ENDLESS, most=10_240))
    assert room_for(10_000) == 720


def test_where_nobody_counts_there_is_room(monkeypatch):
    monkeypatch.setattr(descriptors, "resource", Limits(1024, 1024))
    monkeypatch.setattr(sys, "platform", "win32")
    assert room_for(10_000) == 10_000
