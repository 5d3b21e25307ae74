"""``apex-llm serve``: the gateway, in one process or several."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from apex_llm_cli.options import Invocation

    from apex_llm_core.config import Config
    from apex_llm_gateway.configured import Overrides
    from apex_llm_gateway.settings import GatewaySettings


def _print_new_key(context: click.Context, _parameter: click.Parameter, wanted: bool) -> None:
    if not wanted or context.resilient_parsing:
        return
    from apex_llm_gateway.keys import new_key

    click.echo(new_key())
    context.exit()


@click.command("serve")
@click.option("--host", metavar="HOST", help="The address to listen at; default: [gateway] host, 127.0.0.1.")
@click.option(
    "--port",
    type=click.IntRange(0, 65_535),
    metavar="N",
    help="The port; 0: a free one; default: [gateway] port, 8080.",
)
@click.option(
    "--workers",
    type=click.IntRange(1, 256),
    metavar="N",
    help="Processes that share the port; default: [gateway] workers, 1.",
)
@click.option(
    "--linger",
    type=click.FloatRange(min=0),
    default=0.0,
    metavar="SECONDS",
    help="When told to end, be unready for so long before accepting no more, so that load balancers notice.",
)
@click.option(
    "--new-key",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_print_new_key,
    help="Print a new random key for [gateway] api_keys, and exit.",
)
@click.pass_obj
def command(invocation: Invocation, host: str | None, port: int | None, workers: int | None, linger: float) -> int:
    """Serve all providers over HTTP, as OpenAI's API.

    SIGTERM or Ctrl-C ends it when the requests under way are done, within [gateway] shutdown_timeout; a second one ends
    it at once. SIGHUP reads the configuration again.
    """
    from apex_llm_cli.running import configuration

    from apex_llm_gateway.configured import Overrides, settings_of

    overrides = Overrides(host=host, port=port, workers=workers)
    config = configuration(invocation)
    settings = settings_of(config, overrides)
    if settings.workers > 1:
        return _serve_several(invocation, config, settings, linger)
    _serve_alone(invocation, overrides, linger)
    return 0


def _serve_alone(invocation: Invocation, overrides: Overrides, linger: float) -> None:
    from apex_llm_gateway import collecting

    with collecting.postponed():
        from apex_llm_cli.running import run

        from apex_llm_gateway.announcement import Facts, announce
        from apex_llm_gateway.lifecycle import Lifecycle
        from apex_llm_gateway.serving import Service
        from apex_llm_gateway.signals import signals

        def ready(service: Service) -> None:
            announce(Facts.of(service), pid=os.getpid(), workers=1, as_json=invocation.json)
            collecting.begin()

        async def serve() -> None:
            lifecycle = Lifecycle(Service(invocation.config, overrides=overrides), linger=linger)
            with signals(lifecycle):
                await lifecycle.run(ready)

        run(serve())


def _serve_several(invocation: Invocation, config: Config | None, settings: GatewaySettings, linger: float) -> int:
    from apex_llm_cli.failures import warn
    from apex_llm_cli.running import run

    from apex_llm_gateway.announcement import Facts, announce
    from apex_llm_gateway.configured import counted_by_each
    from apex_llm_gateway.workers.supervisor import supervise

    own = counted_by_each(config)
    if own:
        warn(f'{" and ".join(own)}: each worker has its own; with [state] type = "sqlite" they share')

    def ready(facts: Facts) -> None:
        announce(facts, pid=os.getpid(), workers=settings.workers, as_json=invocation.json)

    return run(supervise(settings, invocation.config, linger=linger, announce=ready))


__all__ = ["command"]
