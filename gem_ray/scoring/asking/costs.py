"""Differences of what questions have cost, so that a piece of evidence carries its own."""

from __future__ import annotations

from dataclasses import fields

from gem_ray.messages.rescorer import Cost


def cost_since(before: Cost, after: Cost) -> Cost:
    """What was spent between two readings of one counter; what is under way is that of ``after``."""
    spent = {field.name: getattr(after, field.name) - getattr(before, field.name) for field in fields(Cost)}
    return Cost(**(spent | {"under_way": after.under_way}))
