"""What a graph refuses in a push, and why: the first rule that is broken, with the offending value.

Only what was asked can change: every edge is one of the graph's own, named once, with finite numbers in their range.
"""

from __future__ import annotations

import math

from gem_ray.graph.staleness import Staleness, Verdict
from gem_ray.messages import EdgeUpdate, Push, Refusal

LARGEST_NUMBER = 2**62  # the graph keeps whole numbers in 64 bits


def refusal_of(
    push: Push, attributes: tuple[str, ...], version: int, staleness: Staleness
) -> tuple[Refusal, str] | None:
    """Why a graph of these attributes, at this version, must not take the push; None where it may."""
    if not push.edges:
        return Refusal.EMPTY, "the push has no edge"
    if staleness.verdict(push.base_version, version) is not Verdict.ADMITTED:
        return Refusal.STALE, staleness.reason(push.base_version, version)
    if push.step is not None and not 0 <= push.step <= LARGEST_NUMBER:
        return Refusal.OUT_OF_RANGE, f"step {push.step} must lie in [0, 2^62]"
    seen: set[tuple[str, str]] = set()
    for edge in push.edges:
        fault = _fault_of(edge, attributes)
        if fault:
            return fault
        if (edge.source, edge.target) in seen:
            return Refusal.DUPLICATE_EDGE, f"{edge.source} -> {edge.target} is there twice"
        seen.add((edge.source, edge.target))
    return None


def _fault_of(edge: EdgeUpdate, attributes: tuple[str, ...]) -> tuple[Refusal, str] | None:
    name = f"{edge.source} -> {edge.target}"
    for attribute in (edge.source, edge.target):
        if attribute not in attributes:
            return Refusal.UNKNOWN_ATTRIBUTE, f"{attribute!r}; the graph knows {', '.join(attributes)}"
    if edge.source == edge.target:
        return Refusal.SELF_LOOP, name
    if not math.isfinite(edge.strength) or math.isnan(edge.standard_error):
        return Refusal.NOT_FINITE, f"{name}: strength {edge.strength}, standard error {edge.standard_error}"
    if abs(edge.strength) > 1 or edge.standard_error < 0 or not 0 <= edge.num_observations <= LARGEST_NUMBER:
        return (
            Refusal.OUT_OF_RANGE,
            f"{name}: strength {edge.strength} must lie in [-1, 1], standard error {edge.standard_error} and "
            f"observations {edge.num_observations} must not be negative, nor above 2^62",
        )
    return None
