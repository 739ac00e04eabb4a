"""The tool of the loan example."""

from __future__ import annotations

LOW_BELOW_PERCENT = 8
HIGH_FROM_PERCENT = 20


def annual_percentage_rate(principal: float, interest: float, years: float) -> dict[str, object]:
    """Compute the annual percentage rate of a loan and the risk class that goes with it.

    The loan is repaid in one sum at the end of its term: a year costs its share of the whole
    interest, as percent of the principal. The bounds of the classes are this example's own.
    """
    if principal <= 0 or interest < 0 or years <= 0:
        raise ValueError("principal and years must be above 0, and interest not below 0")
    apr_percent = round(100 * interest / principal / years, 4)
    if apr_percent < LOW_BELOW_PERCENT:
        risk_class = "low"
    elif apr_percent < HIGH_FROM_PERCENT:
        risk_class = "medium"
    else:
        risk_class = "high"
    return {"apr_percent": apr_percent, "risk_class": risk_class}
