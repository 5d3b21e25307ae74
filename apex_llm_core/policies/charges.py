"""What is said between limits and those who ask them: what a request will use, who is refused, how a limit stands."""

from __future__ import annotations

from typing import Literal

import attrs

Kind = Literal["requests", "tokens", "cost", "concurrent", "price_unknown"]


@attrs.frozen(kw_only=True)
class Charge:
    """What a request will use, by estimate. Prices per token; None is unknown, for `output_tokens` that nobody said."""

    prompt_tokens: int = 0
    output_tokens: int | None = 0
    input_price: float | None = None
    output_price: float | None = None

    def cost(self, output_tokens: int) -> float | None:
        """Return the price of the prompt and *output_tokens*, None when a price that matters is not known."""
        cost = 0.0
        if self.prompt_tokens:
            if self.input_price is None:
                return None
            cost = self.prompt_tokens * self.input_price
        if output_tokens:
            if self.output_price is None:
                return None
            cost += output_tokens * self.output_price
        return cost


@attrs.frozen(kw_only=True)
class Actual:
    """What a request used; `cost` None when it is not known: then the reservation stays."""

    tokens: int = 0
    cost: float | None = 0.0


@attrs.frozen(kw_only=True)
class Refusal:
    """What did not let a request in.

    Several limits may refuse together; the one with the longest known wait is named.
    """

    #: The name of the limit.
    limit: str
    #: The provider, model, user or key whose share is used up; empty for the scope "all".
    subject: str
    #: Seconds until there is room, if nobody else comes first; None when waiting alone does not help.
    retry_after: float | None
    kind: Kind = "requests"
    #: Used up for long: money, or a window of a day or more.
    quota: bool = False
    #: How many tokens, or how much money, the request may use; None where the limit counts neither.
    asked: float | None = None
    #: What the limit admits in a whole window, where that is less than `asked`: the request will never be let in as it is.
    most: float | None = None


@attrs.frozen(kw_only=True)
class Standing:
    """How much of one limit is used."""

    limit: float
    used: float
    remaining: float


@attrs.frozen(kw_only=True)
class LimitStanding:
    """How a limit stands for one subject."""

    limit: str
    scope: str
    subject: str
    #: Seconds.
    per: float
    shadow: bool
    requests: Standing | None = None
    tokens: Standing | None = None
    cost: Standing | None = None
    concurrent: Standing | None = None
    #: Seconds until something is given back; None when nothing is used.
    resets_in: float | None = None


__all__ = ["Actual", "Charge", "Kind", "LimitStanding", "Refusal", "Standing"]
