"""What plans of all providers have in common: which regions are allowed, what machines cost."""

from __future__ import annotations

from rpac_ci import catalog
from rpac_ci.errors import PipelineError
from rpac_ci.jobs import Waits, longest_s
from rpac_ci.pipeline import Pipeline
from rpac_ci.site_config import SiteConfig


def price(pipeline: Pipeline) -> tuple[float, float] | None:
    """
    From a minute of the machines to their limit, in USD; without storage and traffic.

    Where no spot price is known, it is somewhere below the price on demand: nobody bids more.

    Returns:
        Least and most; None where no price is known.
    """
    target = pipeline.target
    prices = catalog.load(target.cloud)
    most = prices.price(target.machine or "", target.region)
    least = prices.price(target.machine or "", target.region, spot=True) if target.spot else most
    nodes, longest = pipeline.resources.nodes, longest_s(pipeline.limits.time, Waits())
    top = least or most
    if top is None:
        return None
    return catalog.usd(least, 0, nodes) if least else 0.0, catalog.usd(top, longest, nodes)


def check_region(cloud: str, region: str, site: SiteConfig) -> None:
    """
    Raises:
        PipelineError: the settings do not allow it.
    """
    allowed = site.allow.regions.get(cloud)
    if allowed is not None and region not in allowed:
        raise PipelineError(
            f"the region {region} is not allowed", hint=f"allowed: {', '.join(allowed) or 'none'}"
        )
