"""What a plugin instance needs around it, without a manager: a runtime, contexts and candidates for tests."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from random import Random
from typing import Any

from apex_llm_core.config.schema import FlagConfig
from apex_llm_core.context import CallContext
from apex_llm_core.errors import ConfigurationError, nearest
from apex_llm_core.interfaces import HttpClient
from apex_llm_core.models.candidates import Candidate
from apex_llm_core.models.events import Event
from apex_llm_core.models.info import Caller
from apex_llm_core.policies.rollout import Flags
from apex_llm_core.redaction import Secret
from apex_llm_core.testing.clock import FakeClock


class FakeRuntime:
    """A `Runtime` on a virtual clock, whose events collect in `events`.

    Args:
        clock: read by `clock`; a new `FakeClock` when absent.
        seed: of `random`.
        http: what `http` hands out; without one, asking for it fails, since the plugin was not expected to.
        flags: the feature flags, as in the table of the configuration.
        environ: where ``env:`` references lead; the process's environment when absent.
    """

    def __init__(
        self,
        *,
        clock: Callable[[], float] | None = None,
        seed: int = 0,
        http: HttpClient | None = None,
        flags: Mapping[str, bool | FlagConfig] | None = None,
        environ: Mapping[str, str] | None = None,
    ) -> None:
        self.clock: Callable[[], float] = FakeClock() if clock is None else clock
        self.random = Random(seed)
        self.events: list[Event] = []
        self._flags = Flags(flags or {})
        self._http = http
        self._environ = os.environ if environ is None else environ

    @property
    def flags(self) -> Mapping[str, bool]:
        """The feature flags by name; True are those that are on for everybody."""
        return self._flags.settled

    def flag(self, name: str, caller: Caller, request_id: str = "") -> bool:
        """Return whether the feature flag *name* is on for *caller*."""
        return self._flags.on(name, caller, request_id)

    @property
    def http(self) -> HttpClient:
        """The client given.

        Raises:
            AssertionError: none was.
        """
        if self._http is None:
            raise AssertionError("this test gave no HTTP client: FakeRuntime(http=...)")
        return self._http

    def http_trusting(self, ca_file: str) -> HttpClient:  # noqa: ARG002 - the interface's
        """Return the client given, whatever it trusts."""
        return self.http

    @property
    def emit(self) -> Callable[[Event], None]:
        """Collect an event."""
        return self.events.append

    async def resolve_secret(self, value: str | Secret) -> Secret:
        """Return the secret of an ``env:`` reference, or the literal itself.

        Raises:
            ConfigurationError: the variable is not set.
        """
        if isinstance(value, Secret):
            return value
        scheme, separator, name = value.partition(":")
        if not separator or scheme != "env":
            return Secret(value)
        if name not in self._environ:
            raise ConfigurationError(f"{value}: the variable is not set{nearest(name, self._environ)}")
        return Secret(self._environ[name])


def make_candidate(provider: str = "test", model: str = "test-model", **fields: Any) -> Candidate:
    """Return a candidate; *fields* are the other attributes of `Candidate`."""
    fields.setdefault("provider_model_id", model)
    return Candidate(provider=provider, model=model, **fields)


def make_context(**fields: Any) -> CallContext:
    """Return the context of a first attempt; *fields* are attributes of `CallContext`, `candidate` among them."""
    fields.setdefault("request_id", "test-request")
    fields.setdefault("operation", "chat")
    fields.setdefault("candidate", make_candidate())
    fields.setdefault("attempt", 1)
    return CallContext(**fields)


__all__ = ["FakeRuntime", "make_candidate", "make_context"]
