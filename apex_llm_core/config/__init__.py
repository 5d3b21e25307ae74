"""Configuration: every table and key, where it is read from, and what is wrong with it."""

from __future__ import annotations

from apex_llm_core.config.json_schema import config_json_schema, settings_json_schema
from apex_llm_core.config.loading import checked_config, load_config, parse_config, parse_provider, watched_files
from apex_llm_core.config.schema import (
    AuthConfig,
    BreakerConfig,
    CacheConfig,
    ConcurrencyConfig,
    Config,
    DecisionsConfig,
    DegradationConfig,
    FallbackConfig,
    FlagConfig,
    HedgingConfig,
    LimitConfig,
    LoadBalancerConfig,
    LoggingConfig,
    ManagerConfig,
    MiddlewareConfig,
    ModelConfig,
    ProviderConfig,
    RetryConfig,
    RouteConfig,
    StateConfig,
    setting,
)
from apex_llm_core.config.secrets import EnvSecrets, FileSecrets, SecretResolver, is_reference, iter_references
from apex_llm_core.config.settings import all_defaults, settings_from

__all__ = [
    "AuthConfig",
    "BreakerConfig",
    "CacheConfig",
    "ConcurrencyConfig",
    "Config",
    "DecisionsConfig",
    "DegradationConfig",
    "EnvSecrets",
    "FallbackConfig",
    "FileSecrets",
    "FlagConfig",
    "HedgingConfig",
    "LimitConfig",
    "LoadBalancerConfig",
    "LoggingConfig",
    "ManagerConfig",
    "MiddlewareConfig",
    "ModelConfig",
    "ProviderConfig",
    "RetryConfig",
    "RouteConfig",
    "SecretResolver",
    "StateConfig",
    "all_defaults",
    "checked_config",
    "config_json_schema",
    "is_reference",
    "iter_references",
    "load_config",
    "parse_config",
    "parse_provider",
    "setting",
    "settings_from",
    "settings_json_schema",
    "watched_files",
]
