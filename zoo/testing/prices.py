"""The check of what an encoder, a decoder or a neuron is charged with."""

from __future__ import annotations

from typing import Any

from zoo.contracts.price import Price, Work
from zoo.testing.outcome import require


def require_prices(prices: Any) -> None:
    """Raise `ConformanceError` unless these are `Price`s with a name, a reason, and whole numbers from 0."""
    __tracebackhide__ = True
    valid = isinstance(prices, tuple) and all(isinstance(price, Price) for price in prices)
    require(valid, f"`prices` is {prices!r}; declare a tuple of zoo.contracts.Price, or leave it out")
    for price in prices:
        complete = all(isinstance(text, str) and text.strip() for text in (price.operation, price.reason))
        require(complete, f"{price!r} lacks its `operation` or its `reason`; both are printed by `zoo profile`")
        for side in ("read", "written"):
            work = getattr(price, side)
            valid_work = isinstance(work, Work) and all(
                isinstance(count, int) and not isinstance(count, bool) and count >= 0 for count in (work.macs, work.acs)
            )
            require(
                valid_work,
                f"the price {price.operation!r} has `{side}` {work!r}; make it a Work of whole numbers from 0",
            )
