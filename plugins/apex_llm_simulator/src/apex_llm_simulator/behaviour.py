"""How a simulated provider serves when nothing is wrong with it."""

from __future__ import annotations

from typing import Literal

import attrs

from apex_llm_core.config import setting
from apex_llm_simulator.distributions import Distribution


@attrs.frozen(kw_only=True)
class Behaviour:
    """Pace and capacity of one provider. Whole answers take as long as their stream would."""

    first_chunk: Distribution = setting(
        factory=lambda: Distribution(median=0.4, p95=1.0), doc="Seconds until an answer begins."
    )
    tokens_per_second: Distribution = setting(
        factory=lambda: Distribution(median=80.0), doc="Pace of an answer once it began."
    )
    requests_per_minute: int | None = setting(
        None, low=1, doc="More than this are answered with 429 and a Retry-After; absent: no limit."
    )
    tokens_per_minute: int | None = setting(
        None, low=1, doc="The like for tokens, prompt and answer together; absent: no limit."
    )
    concurrent: int | None = setting(None, low=1, doc="Calls served at full pace at the same time; absent: any number.")
    overload: Literal["slow", "refuse"] = setting(
        "slow",
        doc="What becomes of more: slow (all that begin take longer by the same ratio), or refuse (503).",
    )


__all__ = ["Behaviour"]
