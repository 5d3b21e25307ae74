"""Resilience: each policy is one module, pure where it keeps state; none knows routing or observability."""
