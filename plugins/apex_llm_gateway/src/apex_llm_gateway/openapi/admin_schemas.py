"""What the gateway tells of itself: health, and the documents of ``/admin``."""

from __future__ import annotations

from apex_llm_gateway.openapi.forms import (
    AMOUNT,
    COUNT,
    FLAG,
    NULL,
    NUMBER,
    OBJECT,
    TEXT,
    WHOLE,
    Schema,
    described,
    either,
    items,
    members,
    nullable,
    one,
    ref,
    table,
    words,
)

_SECONDS = described(AMOUNT, "Seconds.")
_TIME = described(NUMBER, "Unix seconds.")
_SHARE: Schema = {**NUMBER, "minimum": 0, "maximum": 1}
_COST = described(AMOUNT, "Of the requests whose price is known.")
_UNKNOWN_COST = described(COUNT, "Requests that were answered, or left in the middle, whose cost is not known.")
_HEALTH = words("healthy", "degraded", "unavailable", "unknown")
_OPERATION = words("chat", "text", "embed", "image")
_AMOUNT = members({"limit": AMOUNT, "used": AMOUNT, "remaining": AMOUNT})

_BREAKER: dict[str, Schema] = {
    "state": words("disabled", "metrics_only", "closed", "half_open", "open", "forced_open"),
    "reason": described(TEXT, "Why it is so; may be empty."),
    "calls": described(COUNT, "In the window that is watched."),
    "failure_rate": nullable(_SHARE),
    "retry_after": described(nullable(AMOUNT), "Seconds until a request is let through."),
    "times_opened": COUNT,
}
_STATES: dict[str, Schema] = {
    "states": described(table(COUNT), "How many workers are in which state, where they differ.")
}
_MODEL = members(
    {
        "model": TEXT,
        "provider_model_id": TEXT,
        "breaker": described(either(members(_BREAKER, _STATES), NULL), "The worst over all workers."),
        "in_flight": COUNT,
        "latency": nullable(_SECONDS),
        "time_to_first_chunk": nullable(_SECONDS),
        "success_rate": nullable(_SHARE),
        "weight_factor": nullable(AMOUNT),
        "attempts": COUNT,
    },
)
_PROVIDER = members(
    {
        "name": TEXT,
        "type": TEXT,
        "enabled": FLAG,
        "priority": WHOLE,
        "weight": NUMBER,
        "region": nullable(TEXT),
        "health": _HEALTH,
        "health_message": TEXT,
        "health_latency": nullable(_SECONDS),
        "health_checked": nullable(_TIME),
        "in_flight": COUNT,
        "models": items(_MODEL),
    },
)
_BUCKET = members(
    {
        "at": described(NUMBER, "Its begin, in unix seconds."),
        "requests": COUNT,
        "errors": described(table(COUNT), "By their type."),
        "p50": nullable(_SECONDS),
        "p95": nullable(_SECONDS),
        "first_chunk_p50": nullable(_SECONDS),
        "first_chunk_p95": nullable(_SECONDS),
        "prompt_tokens": COUNT,
        "completion_tokens": COUNT,
        "cost": _COST,
    },
)
_WORKER = members(
    {
        "index": COUNT,
        "pid": COUNT,
        "started": _TIME,
        "uptime": _SECONDS,
        "live": COUNT,
        "requests": COUNT,
        "memory_bytes": nullable(COUNT),
    }
)
_USED: dict[str, Schema] = {
    "requests": COUNT,
    "errors": COUNT,
    "prompt_tokens": COUNT,
    "completion_tokens": COUNT,
    "cost": _COST,
    "cost_unknown": _UNKNOWN_COST,
}
_STATE = members(
    {
        "gateway": members(
            {
                "version": TEXT,
                "started": _TIME,
                "uptime": _SECONDS,
                "open_mode": described(FLAG, "There are no keys: everybody on this machine may do everything."),
                "ready": FLAG,
                "draining": FLAG,
                "config_files": items(TEXT),
                "warnings": items(TEXT),
                "workers": items(_WORKER, least=1),
            }
        ),
        "providers": items(_PROVIDER),
        "live": described(items(ref("LiveRequest"), most=100), "Requests under way, the newest first."),
        "live_count": COUNT,
        "series": described(
            members({"step": _SECONDS, "buckets": items(_BUCKET)}), "The last ten minutes, the oldest first."
        ),
        "totals": members(
            {
                **_USED,
                "cancelled": COUNT,
                "cached": COUNT,
                "retries": COUNT,
                "fallbacks": COUNT,
                "hedges": COUNT,
                "limit_rejections": COUNT,
                "amplification": described(nullable(AMOUNT), "Attempts for each request."),
            }
        ),
        "usage": members(
            {
                "by_model": items(members({"provider": nullable(TEXT), "model": TEXT, **_USED})),
                "by_user": items(members({"user": nullable(TEXT), **_USED})),
            }
        ),
        "decisions": described(items(ref("Decision"), most=30), "The newest first."),
        "events": described(items(ref("Event")), "The newest first."),
        "limits": items(ref("Limit")),
    }
)
_DECISION = members(
    {
        "request_id": TEXT,
        "operation": _OPERATION,
        "model": described(TEXT, "That was asked for."),
        "at": described(NUMBER, "Unix seconds."),
        "needs": described(items(TEXT), "Capabilities."),
        "stream": FLAG,
        "estimated_prompt_tokens": nullable(COUNT),
        "max_tokens": nullable(COUNT),
        "answers": nullable(COUNT),
        "dry_run": described(FLAG, "What would be done; nothing was."),
        "outcome": described(TEXT, '"ok", "cancelled", the type of the error, or empty while it is under way.'),
        "routes": items(ref("RankedRoute")),
        "candidates": items(ref("Consideration")),
    },
    {"worker": COUNT},
    description="Where one request went, and why.",
)

ADMIN_SCHEMAS: dict[str, Schema] = {
    "Health": members(
        {
            "status": described(words("healthy", "degraded", "unavailable"), "unavailable: nobody can serve."),
            "providers": table(_HEALTH),
        }
    ),
    "Alive": members({"status": one("alive")}),
    "Readiness": members({"status": words("ready", "draining")}),
    "State": _STATE,
    "LiveRequest": members(
        {
            "request_id": TEXT,
            "operation": _OPERATION,
            "model": TEXT,
            "provider": described(nullable(TEXT), "Who is asked, as far as it is known."),
            "user": nullable(TEXT),
            "key": described(nullable(TEXT), "The name of the caller's key."),
            "stream": FLAG,
            "seconds": AMOUNT,
            "worker": COUNT,
        }
    ),
    "Decision": _DECISION,
    "RankedRoute": members(
        {
            "model": TEXT,
            "strategy": TEXT,
            "options": OBJECT,
            "rule": nullable(TEXT),
            "sequence": COUNT,
            "seed": WHOLE,
            "balance": TEXT,
            "adaptive": FLAG,
            "now": NUMBER,
            "tokens": COUNT,
            "omitted": COUNT,
            "pinned": nullable(TEXT),
        }
    ),
    "Consideration": members(
        {
            "provider": TEXT,
            "model": TEXT,
            "route": nullable(COUNT),
            "position": COUNT,
            "rank": nullable({**WHOLE, "minimum": 1}),
            "verdict": words("taken", "failed", "passed_over", "not_reached", "unable"),
            "reason": TEXT,
            "score": OBJECT,
            "facts": OBJECT,
        }
    ),
    "Decisions": members({"decisions": described(items(ref("Decision")), "The newest first.")}),
    "Event": members(
        {
            "at": _TIME,
            "type": TEXT,
            "text": TEXT,
            "severity": words("ok", "info", "warning", "error"),
            "provider": nullable(TEXT),
            "model": nullable(TEXT),
            "count": described({**WHOLE, "minimum": 1}, "How often it happened within a minute."),
        }
    ),
    "Limit": members(
        {
            "limit": described(TEXT, "Its name."),
            "scope": TEXT,
            "subject": TEXT,
            "per": described(nullable(NUMBER), "Seconds."),
            "shadow": described(FLAG, "It only watches."),
            **dict.fromkeys(("requests", "tokens", "cost", "concurrent"), either(_AMOUNT, NULL)),
            "resets_in": nullable(_SECONDS),
        }
    ),
    "Limits": members({"limits": items(ref("Limit"))}),
    "Stats": members(
        {"workers": items(members({"worker": COUNT}, additionalProperties=True), least=1)},
        description="What each process has counted since it began.",
    ),
    "Breakers": members(
        {
            "breakers": items(
                members(
                    {
                        "provider": TEXT,
                        "model": TEXT,
                        **_BREAKER,
                        "slow_call_rate": nullable(_SHARE),
                        "consecutive_failures": COUNT,
                        "permits_out": described(COUNT, "Trial requests under way, while it is half open."),
                        "would_open": described(FLAG, "It only watches, and would be open by now."),
                        "history": items(
                            members({"at": _TIME}, additionalProperties=True, description="A change of its state.")
                        ),
                    },
                    _STATES,
                )
            )
        }
    ),
    "BreakerMove": members(
        {
            "provider": {**TEXT, "minLength": 1},
            "action": words("isolate", "open", "close", "watch", "disable"),
        },
        {"model": described(nullable({**TEXT, "minLength": 1}), "Without it, all models of the provider.")},
        additionalProperties=False,
    ),
    "Moved": members({"moved": described(COUNT, "How many breakers, over all workers.")}),
    "Reloaded": members({"reloaded": one(True)}),
    "Document": members({"openapi": TEXT}, additionalProperties=True),
}


__all__ = ["ADMIN_SCHEMAS"]
