"""What tokens cost."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from quarterdeck.core.errors import Misconfigured
from quarterdeck.core.usage import Usage

__all__ = ["Price", "Prices"]

_DATE = re.compile(r"-(?:\d{4}-\d{2}-\d{2}|\d{8}|latest)\Z")


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """USD per million tokens.

    Attributes:
        cached_usd: For prompt tokens the provider read from its cache; None if they cost what others do.
        cache_write_usd: For prompt tokens the provider put into its cache; None likewise.
    """

    input_usd: float
    output_usd: float
    cached_usd: float | None = None
    cache_write_usd: float | None = None

    def cost_usd(self, usage: Usage) -> float:
        cached_usd = self.input_usd if self.cached_usd is None else self.cached_usd
        written_usd = self.input_usd if self.cache_write_usd is None else self.cache_write_usd
        fresh = usage.prompt_tokens - usage.cached_tokens - usage.cache_write_tokens
        micro = fresh * self.input_usd + usage.cached_tokens * cached_usd + usage.cache_write_tokens * written_usd
        return (micro + usage.completion_tokens * self.output_usd) / 1_000_000


class Prices:
    """A price list. A model that is not on it has no known price, which is not the same as none."""

    def __init__(self, prices: Mapping[str, Price]) -> None:
        self._prices = dict(prices)

    @classmethod
    def bundled(cls, overrides: Mapping[str, Price] | None = None) -> Self:
        """The list that comes with the package, with `overrides` in front of it."""
        path = Path(__file__).with_name("prices.json")
        listed = json.loads(path.read_text("utf-8"))
        prices = _read(listed["models"])
        for alias, provider in listed["same"].items():
            prices |= {
                f"{alias}:{name.partition(':')[2]}": prices[name] for name in list(prices) if name.startswith(f"{provider}:")
            }
        return cls({**prices, **(overrides or {})})

    def of(self, model: str) -> Price | None:
        """The price of ``provider:name``, with or without a date at its end; None if unknown."""
        return self._prices.get(model) or self._prices.get(_DATE.sub("", model))

    def cost_usd(self, model: str, usage: Usage) -> float | None:
        """What `usage` of `model` costs, None if its price is unknown."""
        price = self.of(model)
        return None if price is None else price.cost_usd(usage)


def _read(rows: Mapping[str, Any]) -> dict[str, Price]:
    try:
        return {
            model: Price(
                input_usd=row["input"],
                output_usd=row["output"],
                cached_usd=row.get("cached"),
                cache_write_usd=row.get("cache_write"),
            )
            for model, row in rows.items()
        }
    except (KeyError, AttributeError, TypeError) as error:
        raise Misconfigured("the price list needs input and output for every model") from error
