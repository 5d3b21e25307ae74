"""Rank by how surely and how closely a candidate fits what the request needs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

from apex_llm_core.markers import hookimpl
from apex_llm_core.models import Candidate, GenerateRequest, Request, Turn
from apex_llm_strategy_feature.settings import FeatureSettings

# The parts of a fit as digits of one whole number, the weightiest first: what is lacking, what is uncertain, how many
# capabilities are not needed, how oversized the window is.
_LACKING = 1 << 40
_UNCERTAIN = 1 << 24
_SURPLUS = 1 << 12


class FeatureStrategy:
    """Those that surely fit first, then those of which something is unknown; those that surely lack something are left out.

    A candidate fits when it has every capability the request needs, when prompt and wanted answer fit its window
    (`max_tokens`), and when it can write an answer that long (`max_output_tokens`). The prompt's size is an estimate: a
    window is lacking only when the estimate is too large even if it is `estimate_tolerance` too high, and fits surely only
    when it does even if the estimate is that much too low; in between, and where nothing is declared, it is uncertain.

    Among equally sure candidates the best fit wins, so that the versatile and the long ones stay free for the requests that
    need them: first the fewest capabilities beyond the needed ones, then the smallest window (in powers of two, so that
    sizes of the same order are equal). The rest is priority, then weight.

    When everyone lacks something, all are ranked, those that lack the least first: the provider may know better.
    """

    def __init__(self, settings: FeatureSettings | None = None) -> None:
        self._settings = settings if settings is not None else FeatureSettings()

    @hookimpl
    def apex_select(self, request: Request, candidates: Sequence[Candidate], turn: Turn) -> Iterable[Candidate]:
        """Rank by fit."""
        misfit = self._misfit(request)
        if turn.notes is not None:
            for candidate in candidates:
                turn.note(candidate, **_parts(misfit(candidate), request, candidate))
        return _without_lacking(turn.rank(candidates, misfit), misfit)

    def _misfit(self, request: Request) -> Callable[[Candidate], int]:
        """Return the function that tells how badly a candidate fits *request*; 0 is a perfect fit."""
        needs = request.needs
        needed = len(needs)
        output = (request.options.max_tokens or 0) if isinstance(request, GenerateRequest) else 0
        prompt = request.estimated_prompt_tokens
        tolerance = self._settings.estimate_tolerance
        at_least = prompt * (1.0 - tolerance) + output
        at_most = prompt * (1.0 + tolerance) + output
        best_fit = self._settings.best_fit

        def misfit(candidate: Candidate) -> int:
            score = 0
            capabilities = candidate.capabilities
            if capabilities is None:
                score += _UNCERTAIN
            elif needs <= capabilities:
                if best_fit:
                    score += _SURPLUS * (len(capabilities) - needed)
            else:
                score += _LACKING * len(needs - capabilities)
            window = candidate.max_tokens
            if window is None:
                score += _UNCERTAIN
            elif window < at_most:
                score += _LACKING if window < at_least else _UNCERTAIN
            elif best_fit:
                score += window.bit_length()
            if output:
                longest = candidate.max_output_tokens
                if longest is None:
                    score += _UNCERTAIN
                elif longest < output:
                    score += _LACKING
            return score

        return misfit


def _parts(misfit: int, request: Request, candidate: Candidate) -> dict[str, float | str | None]:
    """Return *misfit* in words: the capabilities missing, and how many things are lacking, uncertain and not needed."""
    missing = request.needs - candidate.capabilities if candidate.capabilities is not None else ()
    lacking, rest = divmod(misfit, _LACKING)
    uncertain, rest = divmod(rest, _UNCERTAIN)
    surplus, window_bits = divmod(rest, _SURPLUS)
    return {
        "missing": ", ".join(sorted(missing)) or None,
        "lacking": lacking,
        "uncertain": uncertain,
        "surplus": surplus,
        "window_bits": window_bits,
    }


def _without_lacking(ranking: Iterator[Candidate], misfit: Callable[[Candidate], int]) -> Iterator[Candidate]:
    """Yield *ranking* up to the first candidate that lacks something, or all of it when the first one does already."""
    first = next(ranking, None)
    if first is None:
        return
    yield first
    if misfit(first) >= _LACKING:
        yield from ranking
        return
    for candidate in ranking:
        if misfit(candidate) >= _LACKING:
            return
        yield candidate


__all__ = ["FeatureStrategy"]
