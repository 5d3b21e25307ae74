"""The router: which candidates could serve a request, by its model, its explicit provider, its needs and the rules."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fnmatch import fnmatchcase

import attrs

from apex_llm_core.config.schema import ManagerConfig, RouteConfig
from apex_llm_core.context import CallContext
from apex_llm_core.errors import ModelNotFoundError
from apex_llm_core.models.candidates import Candidate, LiveFacts
from apex_llm_core.models.requests import Request
from apex_llm_core.plugin.registry import ProviderHandle, ProviderRegistry
from apex_llm_core.policies.rollout import Flags, draw, subject_of


@attrs.frozen(kw_only=True, eq=False)
class Route:
    """Where one request may go: never empty. `strategy` None is the configured one."""

    model: str
    candidates: tuple[Candidate, ...]
    #: Identities of `candidates`, to check a ranking against.
    identities: frozenset[int]
    strategy: str | None = None
    #: The name of the rule that applied.
    rule: str | None = None


class Router:
    """Finds routes and remembers them; what was found is dropped when the registry changes."""

    def __init__(
        self,
        registry: ProviderRegistry,
        manager: ManagerConfig,
        rules: Sequence[RouteConfig],
        live: Callable[[str, str], LiveFacts],
        forget: Callable[[str, str], None],
        flags: Flags,
    ) -> None:
        self._registry = registry
        self._default_provider = manager.default_provider
        self._default_model = manager.default_model
        self._rules = tuple(rules)
        self._flags = flags
        self._live = live
        self._forget = forget
        self._routes: dict[tuple[str, frozenset[str], str | None, int, bool], Route] = {}
        self._version = registry.version

    def default(self, request: Request) -> tuple[str, str | None]:
        """Return the model of a request that names none, and the provider that is to come first, None for no preference.

        The configured `default_model` if it can do what the request needs, else the first model that can: of the provider
        asked for, of `default_provider`, of the most preferred provider.

        Raises:
            ModelNotFoundError: nobody has one.
        """
        needs, explicit = request.needs, request.options.provider
        if explicit is not None:
            handles = [self._enabled(explicit)]
        else:
            handles = sorted((h for h in self._registry if h.enabled), key=lambda handle: handle.config.priority)
            if self._default_provider is not None:
                handles.sort(key=lambda handle: handle.get_name() != self._default_provider)
        if self._default_model is not None:
            for handle in handles:
                listed = handle.candidates.get(self._default_model)
                if listed is not None and handle.serves(listed, needs):
                    return self._default_model, self._default_provider
        for handle in handles:
            for model, candidate in handle.candidates.items():
                if handle.serves(candidate, needs):
                    return model, self._default_provider
        where = f"provider {explicit!r} lists no model that" if explicit is not None else "no configured model"
        raise ModelNotFoundError(
            f"the request names no model and {where} can do {_words(needs)}; pass model=…", provider=explicit
        )

    def lists(self, model: str, provider: str) -> bool:
        """Return whether the configuration of *provider* lists *model*."""
        return model in self._registry.get(provider).candidates

    def _enabled(self, provider: str) -> ProviderHandle:
        handle = self._registry.get(provider)
        if not handle.enabled:
            raise ModelNotFoundError(f"provider {provider!r} is disabled in the configuration", provider=provider)
        return handle

    def route(self, request: Request, context: CallContext) -> Route:
        """Return the candidates of *request*.

        Raises:
            ModelNotFoundError: unknown model or provider, or no candidate can do what the request needs; names the nearest.
        """
        if self._version != self._registry.version:
            self._routes.clear()
            self._version = self._registry.version
        number = self._matching_rule(request, context) if self._rules else -1
        provider = request.options.provider
        key = (request.model, request.needs, provider, number, context.shadow)
        found = self._routes.get(key)
        if found is None:
            found = self._find(request, self._rules[number] if number >= 0 else None, context)
            # Unlisted models are the caller's words: remembering them all would be a leak.
            if provider is None or request.model in self._registry.get(provider).candidates:
                self._routes[key] = found
        return found

    def _matching_rule(self, request: Request, context: CallContext) -> int:
        caller = context.caller
        for number, rule in enumerate(self._rules):
            if (
                fnmatchcase(request.model, rule.model)
                and (rule.operation is None or rule.operation in request.needs)
                and (rule.user is None or fnmatchcase(caller.user or "", rule.user))
                and (rule.tier is None or fnmatchcase(caller.tier or "", rule.tier))
                and (rule.role is None or rule.role in caller.roles)
                and (rule.flag is None or self._flags.on(rule.flag, caller, context.request_id))
                and (
                    rule.percentage >= 100.0
                    or draw(f"route {rule.name or number}", subject_of(caller, context.request_id)) < rule.percentage
                )
            ):
                return number
        return -1

    def unable(self, request: Request, context: CallContext) -> list[tuple[Candidate, frozenset[str]]]:
        """Return the candidates that the rules allow but that lack something, with the capabilities they lack."""
        number = self._matching_rule(request, context) if self._rules else -1
        try:
            _, candidates = self._known(request, self._rules[number] if number >= 0 else None, context)
        except ModelNotFoundError:
            return []
        found = []
        for candidate in candidates:
            lacking = self._lacking(candidate, request.needs)
            if lacking:
                found.append((candidate, lacking))
        return found

    def shadow(self, request: Request, context: CallContext) -> tuple[str, str | None] | None:
        """Return the model and provider (None: any) that get a copy of *request*, None for nobody."""
        number = self._matching_rule(request, context) if self._rules else -1
        if number < 0:
            return None
        rule = self._rules[number]
        if rule.shadow_model is None and rule.shadow_provider is None:
            return None
        if rule.shadow_percentage < 100.0:
            lot = draw(f"shadow {rule.name or number}", context.request_id)
            if lot >= rule.shadow_percentage:
                return None
        model, provider = rule.shadow_model or request.model, request.options.provider
        if provider is None or rule.shadow_provider == provider:
            return model, rule.shadow_provider
        # Who names a provider has reasons; a copy at another one would be none the better.
        return (model, provider) if rule.shadow_provider is None and self.lists(model, provider) else None

    def _find(self, request: Request, rule: RouteConfig | None, context: CallContext) -> Route:
        model, candidates = self._known(request, rule, context)
        able = tuple(c for c in candidates if self._registry.get(c.provider).serves(c, request.needs))
        if not able:
            raise ModelNotFoundError(
                self._inability(model, candidates, request.needs), model=model, provider=request.options.provider
            )
        return Route(
            model=model,
            candidates=able,
            identities=frozenset(map(id, able)),
            strategy=rule.strategy if rule is not None else None,
            rule=rule.name or None if rule is not None else None,
        )

    def _known(
        self, request: Request, rule: RouteConfig | None, context: CallContext
    ) -> tuple[str, tuple[Candidate, ...]]:
        """Return the model to serve with, and its candidates as far as *rule* allows them."""
        model = request.model
        # A copy for shadow traffic names its model itself; whom it may reach, the rules say all the same.
        if rule is not None and rule.to_model is not None and not context.shadow:
            model = rule.to_model
        provider = request.options.provider
        if provider is not None:
            candidates: tuple[Candidate, ...] = (self._enabled(provider).candidate(model, self._live, self._forget),)
        else:
            candidates = self._registry.candidates(model)
        return model, candidates if rule is None else self._allowed(candidates, rule, model)

    def _lacking(self, candidate: Candidate, needs: frozenset[str]) -> frozenset[str]:
        handle = self._registry.get(candidate.provider)
        return frozenset(need for need in needs if not handle.serves(candidate, frozenset({need})))

    @staticmethod
    def _allowed(candidates: tuple[Candidate, ...], rule: RouteConfig, model: str) -> tuple[Candidate, ...]:
        wanted_tags = frozenset(rule.tags)
        allowed = tuple(
            candidate
            for candidate in candidates
            if (not rule.providers or candidate.provider in rule.providers)
            and (not rule.regions or candidate.region in rule.regions)
            and wanted_tags <= candidate.tags
        )
        if not allowed:
            raise ModelNotFoundError(
                f"the routing rule {rule.name or rule.model!r} leaves no provider for model {model!r}; "
                f"without it: {', '.join(candidate.provider for candidate in candidates)}",
                model=model,
            )
        return allowed

    def _inability(self, model: str, candidates: Sequence[Candidate], needs: frozenset[str]) -> str:
        lacking = []
        for candidate in candidates:
            missing = sorted(self._lacking(candidate, needs))
            lacking.append(f"{candidate.provider} lacks {', '.join(missing) or 'the combination'}")
        return f"model {model!r} cannot do {_words(needs)}: {'; '.join(lacking)}"


def _words(needs: frozenset[str]) -> str:
    return ", ".join(sorted(needs))


__all__ = ["Route", "Router"]
