"""The engine of one generation: router, policies and pipeline, put together around its providers."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import attrs

from apex_llm_core.assembly.inquiry import Inquiry
from apex_llm_core.cache.exact import ResponseCache
from apex_llm_core.config.schema import Config
from apex_llm_core.hookspecs import Runtime
from apex_llm_core.plugin.manager import PluginManager
from apex_llm_core.plugin.registry import ProviderRegistry
from apex_llm_core.policies.deadline import Sweeper
from apex_llm_core.policies.limits import Limiter
from apex_llm_core.policies.retry import RetryPolicy
from apex_llm_core.policies.rollout import Flags
from apex_llm_core.policies.shared_limits import SharedLimiter
from apex_llm_core.routing.admission import Admission
from apex_llm_core.routing.affinity import Affinity
from apex_llm_core.routing.balancer import LoadBalancer
from apex_llm_core.routing.counting import TokenCounter
from apex_llm_core.routing.decisions import DecisionLog
from apex_llm_core.routing.degradation import Degradation
from apex_llm_core.routing.explanation import Explainer
from apex_llm_core.routing.fallback import FallbackHandler
from apex_llm_core.routing.governor import Governor
from apex_llm_core.routing.itinerary import Itinerary
from apex_llm_core.routing.pipeline import Around, Pipeline
from apex_llm_core.routing.placement import Placement
from apex_llm_core.routing.router import Router
from apex_llm_core.routing.selector import Select, Selector
from apex_llm_core.routing.shadowing import Shadowing


@attrs.frozen(kw_only=True, eq=False)
class Engine:
    """What answers requests, and what is asked about them."""

    inquiry: Inquiry
    router: Router
    pipeline: Pipeline
    counter: TokenCounter
    explainer: Explainer
    governor: Governor
    decisions: DecisionLog
    affinity: Affinity
    admission: Admission
    shadowing: Shadowing | None
    cache: ResponseCache | None

    async def close(self) -> None:
        """End what runs beside requests."""
        if self.shadowing is not None:
            await self.shadowing.close()
        await self.admission.close()


def make_engine(
    config: Config,
    *,
    registry: ProviderRegistry,
    balancer: LoadBalancer,
    limiter: Limiter | SharedLimiter,
    cache: ResponseCache | None,
    strategies: Mapping[str, Select],
    plugins: PluginManager,
    runtime: Runtime,
    sweeper: Sweeper,
    scrub: Callable[[str], str],
    earlier: Engine | None,
) -> Engine:
    """Put the parts together; what *earlier* has learned is kept where its rules are the same."""
    flags = Flags(config.flags)
    router = Router(registry, config.manager, config.routes, balancer.live, balancer.forget_model, flags)
    selector = Selector(strategies, config.manager.selection_strategy, config.load_balancer)
    decisions = DecisionLog(
        config.decisions.keep,
        random=runtime.random,
        per_second=config.decisions.per_second,
        default=config.manager.selection_strategy,
        strategies=strategies,
        options=config.manager.strategy_options,
        scrub=scrub,
    )
    affinity = Affinity(config.load_balancer.affinity_ttl, config.load_balancer.affinity_sessions, runtime.clock)
    governor = Governor(max_attempts=config.manager.max_attempts, rules=config.retry)
    if earlier is not None:
        affinity.take_over(earlier.affinity)
        governor.take_over(earlier.governor)
        decisions.take_over(earlier.decisions)
        if cache is not None and earlier.cache is not None:
            cache.adopt(earlier.cache)
    admission = Admission(limiter, config.limits)
    itinerary = Itinerary(rules=config.fallback, router=router, selector=selector, affinity=affinity)
    fallback = FallbackHandler(
        config=config,
        itinerary=itinerary,
        placement=Placement(admission=admission, governor=governor, wait=config.concurrency.wait),
        balancer=balancer,
        affinity=affinity,
        governor=governor,
        retry=RetryPolicy.of(config.retry, runtime.random),
        sweeper=sweeper,
        decisions=decisions,
        scrub=scrub,
    )
    shadowed = any(route.shadow_model or route.shadow_provider for route in config.routes)
    shadowing = Shadowing(router) if shadowed else None
    around = Around(
        generate=plugins.innermost_first("apex_around_generate"),
        stream=plugins.innermost_first("apex_around_stream"),
        embed=plugins.innermost_first("apex_around_embed"),
        image=plugins.innermost_first("apex_around_image"),
    )
    pipeline = Pipeline(
        registry=registry,
        router=router,
        fallback=fallback,
        admission=admission,
        cache=cache,
        degradation=Degradation(config.degradation, router.lists, governor.exhausted) if config.degradation else None,
        shadowing=shadowing,
        hedging=config.hedging.enabled,
        sweeper=sweeper,
        scrub=scrub,
        around=around,
    )
    return Engine(
        inquiry=Inquiry(
            registry=registry,
            seconds=config.manager.health_timeout,
            clock=runtime.clock,
            emit=runtime.emit,
            scrub=scrub,
        ),
        router=router,
        pipeline=pipeline,
        counter=TokenCounter(
            registry=registry,
            router=router,
            selector=selector,
            sweeper=sweeper,
            scrub=scrub,
            alone=not around.generate,
            busy=pipeline.busy,
            random=runtime.random,
        ),
        explainer=Explainer(
            itinerary=itinerary, router=router, balancer=balancer, admission=admission, decisions=decisions
        ),
        governor=governor,
        decisions=decisions,
        affinity=affinity,
        admission=admission,
        shadowing=shadowing,
        cache=cache,
    )


__all__ = ["Engine", "make_engine"]
