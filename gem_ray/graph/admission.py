"""What a graph refuses in a push, and why: the first rule that is broken, with the offending value.

Only what was asked can change: every edge is one of the graph's own, named once, with finite numbers in their range.
Any process of the cluster may call the store, with anything: ``fault_of_form`` looks at types and sizes first.
"""

from __future__ import annotations

import math

import numpy as np

from gem_ray.graph.staleness import Staleness, Verdict
from gem_ray.messages.graph import EdgeUpdate, EvidenceKind, Push, Refusal, ScoresRef

LARGEST_NUMBER = 2**62  # the graph keeps whole numbers in 64 bits
LONGEST_NUMBER = 2**128  # above it a number is not one that went wrong, but an attempt to fill memory
LONGEST_TEXT = 1024  # an id, or the URI of a table of scores


def fault_of_form(push: object, attributes: tuple[str, ...]) -> str:
    """What keeps this from being a push that can be signed and journalled; empty where nothing does.

    The offending value is not quoted: it may be of any size.
    """
    if type(push) is not Push:
        return f"a {type(push).__name__} is no Push"
    most = len(attributes) * (len(attributes) - 1)
    if type(push.edges) is not tuple or len(push.edges) > most:
        return f"edges must be a tuple of at most {most}, the pairs of {len(attributes)} attributes"
    if type(push.kind) is not EvidenceKind:
        return "kind must be an EvidenceKind"
    texts = {"push_id": push.push_id, "evidence_id": push.evidence_id}
    if push.scores is not None:
        if type(push.scores) is not ScoresRef or not _is_whole(push.scores.num_images):
            return "scores must be a ScoresRef with a whole number of images"
        texts |= {"scores.uri": push.scores.uri, "scores.sha256": push.scores.sha256}
    for name, text in texts.items():
        if not _is_text(text):
            return f"{name} must be a str of 1 to {LONGEST_TEXT} characters"
    if not _is_whole(push.base_version) or not (push.step is None or _is_whole(push.step)):
        return "base_version must be a whole number, and step one or None"
    if not all(map(_has_edge_form, push.edges)):
        return "every edge must be an EdgeUpdate with two names, two numbers and a whole number"
    return ""


def _has_edge_form(edge: object) -> bool:
    return (
        type(edge) is EdgeUpdate
        and _is_text(edge.source)
        and _is_text(edge.target)
        and _is_number(edge.strength)
        and _is_number(edge.standard_error)
        and _is_whole(edge.num_observations)
    )


def _is_text(value: object) -> bool:
    return type(value) is str and 1 <= len(value) <= LONGEST_TEXT


def _is_whole(value: object) -> bool:
    return isinstance(value, int | np.integer) and -LONGEST_NUMBER <= int(value) <= LONGEST_NUMBER


def _is_number(value: object) -> bool:
    return isinstance(value, float | np.floating) or _is_whole(value)


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
