"""Gradual roll-out: stable draws, and feature flags that are on for a share of the callers. Pure: a hash, no state.

A flag is asked in this order, and the first row that applies answers:

========================================================  =====================================
the flag                                                  answer
========================================================  =====================================
is not configured                                         off
has `enabled` false                                       off
has `tiers`, and none of them matches the caller's        off
has `users`, and one of them matches the caller's         on
has a `percentage` of 100                                 on
concerns somebody of whom nothing is known                off
has a `percentage` above the subject's draw               on
none of these                                             off
========================================================  =====================================

A draw depends on the name and the subject alone: it is the same in every process, after every restart and in every
version, and one name's draws tell nothing of another's. Raising a percentage therefore only adds subjects.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from hashlib import blake2b
from types import MappingProxyType

from apex_llm_core.config.schema import FlagConfig
from apex_llm_core.models.info import Caller

#: Forty bits: as a percentage they are exact in a float, so that the largest draw stays below 100.
_BYTES = 5
_RANGE = 1 << (8 * _BYTES)


def draw(name: str, subject: str) -> float:
    """Return where *subject* stands between 0 and 100 (exclusive) in the roll-out of *name*; uniform over subjects.

    What rolls out beside flags should draw under a prefix of its own, or its share is that of the flag of the same name.
    """
    # The length keeps ("ab", "c") and ("a", "bc") apart; ids from outside may hold halves of surrogate pairs.
    text = f"{len(name)}:{name}{subject}".encode("utf-8", "surrogatepass")
    return int.from_bytes(blake2b(text, digest_size=_BYTES).digest(), "big") * 100 / _RANGE


def subject_of(caller: Caller, request_id: str = "") -> str:
    """Return what a draw is for: the session, else the user, else the key, else the request; "" when none is known.

    So a conversation sees one side of a roll-out, and a user the same one everywhere as long as no sessions are told.
    """
    return caller.session or caller.user or caller.key or request_id or caller.request_id or ""


class Flags:
    """The feature flags of one configuration.

    Args:
        flags: what is configured, by name; a plain true or false is on or off for everybody.
    """

    __slots__ = ("_rules", "settled")

    def __init__(self, flags: Mapping[str, bool | FlagConfig]) -> None:
        self._rules: dict[str, bool | FlagConfig] = {name: _simplest(flag) for name, flag in flags.items()}
        #: All flags by name; True are those that are on for everybody.
        self.settled: Mapping[str, bool] = MappingProxyType({name: rule is True for name, rule in self._rules.items()})

    def on(self, name: str, caller: Caller, request_id: str = "") -> bool:
        """Return whether the flag *name* is on for *caller*; one that is not configured is off.

        Args:
            name: of the flag.
            caller: who makes the request.
            request_id: of the request; drawn on when the caller says nothing of itself.
        """
        rule = self._rules.get(name, False)
        if isinstance(rule, bool):
            return rule
        if rule.tiers and not _matches(caller.tier, rule.tiers):
            return False
        if rule.users and _matches(caller.user, rule.users):
            return True
        if rule.percentage >= 100:
            return True
        subject = subject_of(caller, request_id)
        # One draw for all who say nothing would turn a flag of 5 percent on for every one of them, or for none.
        return bool(subject) and draw(name, subject) < rule.percentage


def _simplest(flag: bool | FlagConfig) -> bool | FlagConfig:
    """Return true or false for a flag that asks for nobody in particular."""
    if isinstance(flag, bool):
        return flag
    if not flag.enabled:
        return False
    return True if flag.percentage >= 100 and not flag.tiers else flag


def _matches(word: str | None, patterns: Iterable[str]) -> bool:
    return any(fnmatchcase(word or "", pattern) for pattern in patterns)


__all__ = ["Flags", "draw", "subject_of"]
