"""What the next round asks about: the budget shared out among the kinds of evidence, and the choice within each.

Pure: numbers in, a plan out. What matters most is ``scoring.choosing.selection``'s to say.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from gem_ray.config import ScoringConfig
from gem_ray.messages.graph import EvidenceKind
from gem_ray.scoring.choosing.selection import Selector

Pairs = tuple[tuple[int, int], ...]


@dataclass(frozen=True, kw_only=True)
class RoundPlan:
    """Attributes and pairs by their place in the DisGraph; empty where nothing is asked.

    Args:
        data_attributes: asked about on ``num_images`` further data images
        sample_attributes: asked about on random images of the newest checkpoint
        traversed: (source, target): how does the target follow when the source's node moves
        judged: (source, target): asked about the pair itself
    """

    data_attributes: tuple[int, ...] = ()
    num_images: int = 0
    sample_attributes: tuple[int, ...] = ()
    traversed: Pairs = ()
    judged: Pairs = ()


@dataclass(frozen=True, kw_only=True)
class Offers:
    """What there is to ask about.

    Args:
        num_images: data images not scored yet
        new_checkpoint: whether there is a checkpoint that nobody has looked at
        judgement_cost: questions of one pair judgement
    """

    num_images: int
    new_checkpoint: bool
    judgement_cost: int


@dataclass(frozen=True, kw_only=True)
class Selectors:
    """One choice for each kind of evidence, since each goes round by itself."""

    data: Selector
    samples: Selector
    traversals: Selector
    judgements: Selector

    @classmethod
    def of(cls, policy: str, num_attributes: int, turn: int) -> Selectors:
        """Four of one policy; ``turn`` is where to go on."""
        chosen = (Selector(policy, num_attributes, seed, turn) for seed in range(4))
        return cls(**dict(zip(("data", "samples", "traversals", "judgements"), chosen, strict=True)))


def plan_round(
    selectors: Selectors,
    values: Mapping[EvidenceKind, NDArray[np.float64]],
    offers: Offers,
    config: ScoringConfig,
    budget: int | None,
) -> RoundPlan:
    """Share the budget equally among the kinds of evidence on offer; what one leaves goes to the next.

    Args:
        values: [n, n] worth of asking about each pair again, by kind of evidence
        budget: questions that may be asked now, None for no bound
    """
    kinds = {
        "samples": offers.new_checkpoint and config.sample_images > 0,
        "traversals": offers.new_checkpoint and config.traversal_images > 0,
        "judgements": config.judgements,
        "data": offers.num_images > 0 and config.round_images > 0,
    }
    left, waiting, wordings = budget, sum(kinds.values()), config.wordings
    plan = RoundPlan()
    for kind in (name for name, offered in kinds.items() if offered):
        share = None if left is None else left // waiting
        waiting -= 1
        if kind == "samples":
            cost = config.sample_images * wordings
            plan = replace(
                plan, sample_attributes=selectors.samples.attributes(values[EvidenceKind.SAMPLES], share, cost)
            )
            spent = len(plan.sample_attributes) * cost
        elif kind == "traversals":
            cost = config.traversal_images * config.traversal_steps * wordings
            # Of each source its own attribute is asked about too.
            pairs = selectors.traversals.pairs(values[EvidenceKind.TRAVERSALS], cost, share, cost_per_source=cost)
            plan = replace(plan, traversed=pairs)
            spent = (len(pairs) + len({source for source, _ in pairs})) * cost
        elif kind == "judgements":
            cost = offers.judgement_cost
            plan = replace(plan, judged=selectors.judgements.pairs(values[EvidenceKind.JUDGEMENTS], cost, share))
            spent = len(plan.judged) * cost
        else:
            images = min(config.round_images, offers.num_images)
            if share is not None:  # fewer images rather than fewer attributes: k of them inform k (k - 1) / 2 pairs
                images = min(images, max(1, share // (selectors.data.num_attributes * wordings)))
            chosen = selectors.data.attributes(values[EvidenceKind.SCORES], share, images * wordings)
            plan = replace(plan, data_attributes=chosen, num_images=images if chosen else 0)
            spent = len(chosen) * images * wordings
        left = None if left is None else left - spent
    return plan
