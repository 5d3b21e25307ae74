"""The gateway's settings, from the configuration and the command line together."""

from __future__ import annotations

import attrs

from apex_llm_core.config import Config, settings_from
from apex_llm_gateway.settings import GatewaySettings


@attrs.frozen(kw_only=True)
class Overrides:
    """What the command line says instead of ``[gateway]``; None says nothing."""

    host: str | None = None
    port: int | None = None
    workers: int | None = None

    def over(self, settings: GatewaySettings) -> GatewaySettings:
        """Return *settings* with what is said here."""
        return attrs.evolve(settings, **attrs.asdict(self, filter=lambda _field, value: value is not None))


def settings_of(config: Config | None, overrides: Overrides | None = None) -> GatewaySettings:
    """Return the settings of the gateway in *config*, under *overrides*.

    Raises:
        ConfigurationError: the table ``[gateway]`` has unknown keys, or values that do not fit.
    """
    table = {} if config is None else config.extensions.get("gateway", {})
    settings: GatewaySettings = settings_from(table, GatewaySettings, key="gateway", file=file_of(config))
    return settings if overrides is None else overrides.over(settings)


def file_of(config: Config | None) -> str | None:
    """Return the file that messages about *config* should name, None for a configuration without one."""
    return config.files[0] if config is not None and config.files else None


def counted_by_each(config: Config | None) -> list[str]:
    """Return the tables whose state several workers would each have for themselves: it lives in their memory."""
    if config is None or config.state.type != "memory":
        return []
    return [f"[{name}]" for name, used in (("limits", config.limits), ("cache", config.manager.cache_enabled)) if used]


__all__ = ["Overrides", "counted_by_each", "file_of", "settings_of"]
