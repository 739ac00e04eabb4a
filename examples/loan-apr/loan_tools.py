"""The tool of the loan example."""

from __future__ import annotations


def annual_percentage_rate(principal: float, interest: float, years: float) -> dict[str, object]:
    """Compute the annual percentage rate of a loan and the risk class that goes with it."""
    apr_percent = round(100 * interest / principal / years, 4)
    risk_class = "low" if apr_percent < 8 else "medium" if apr_percent < 20 else "high"
    return {"apr_percent": apr_percent, "risk_class": risk_class}
