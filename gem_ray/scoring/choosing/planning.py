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

LEAST_SAMPLES = 32
"""Of an attribute that a tenth of them show, three are expected: ``graph.rarity`` knows nothing of fewer."""
LEAST_STARTS = 3
"""Of two start images Student's t makes every error larger than an effect can be: nothing is known of any target."""


@dataclass(frozen=True, kw_only=True)
class RoundPlan:
    """Attributes and pairs by their place in the DisGraph; empty where nothing is asked.

    Args:
        data_attributes: asked about on ``num_images`` further data images
        sample_attributes: asked about on ``num_samples`` random images of the newest checkpoint
        traversed: (source, target): how does the target follow when the source's node moves, from ``num_starts`` images
        judged: (source, target): asked about the pair itself
    """

    data_attributes: tuple[int, ...] = ()
    num_images: int = 0
    sample_attributes: tuple[int, ...] = ()
    num_samples: int = 0
    traversed: Pairs = ()
    num_starts: int = 0
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

    Where the share does not reach the smallest look at the model, nothing is asked until enough is saved up. Where that
    takes more than a minute's worth, nothing is saved: looks come when a share happens to reach them, if ever (see
    ``too_small_for_looks``).

    Args:
        values: [n, n] worth of asking about each pair again, by kind of evidence
        budget: questions that may be asked now, None for no bound
    """
    kinds = _on_offer(offers, config)
    if budget is not None and budget < _least_budget(kinds, config) <= config.questions_per_minute:
        return RoundPlan()
    left, waiting, wordings, n = budget, len(kinds), config.wordings, selectors.data.num_attributes
    plan = RoundPlan()
    for kind in kinds:
        share = None if left is None else left // waiting
        waiting -= 1
        if kind == "samples":
            images = _fewer(config.sample_images, LEAST_SAMPLES, share, n * wordings)
            chosen = selectors.samples.attributes(values[EvidenceKind.SAMPLES], share, images * wordings)
            plan = replace(plan, sample_attributes=chosen, num_samples=images if chosen else 0)
            spent = len(chosen) * images * wordings
        elif kind == "traversals":
            each = config.traversal_steps * wordings
            images = _fewer(config.traversal_images, LEAST_STARTS, share, 2 * each)
            cost = images * each
            # Of each source its own attribute is asked about too.
            pairs = selectors.traversals.pairs(values[EvidenceKind.TRAVERSALS], cost, share, cost_per_source=cost)
            plan = replace(plan, traversed=pairs, num_starts=images if pairs else 0)
            spent = (len(pairs) + len({source for source, _ in pairs})) * cost
        elif kind == "judgements":
            cost = offers.judgement_cost
            plan = replace(plan, judged=selectors.judgements.pairs(values[EvidenceKind.JUDGEMENTS], cost, share))
            spent = len(plan.judged) * cost
        else:
            images = _fewer(min(config.round_images, offers.num_images), 1, share, n * wordings)
            chosen = selectors.data.attributes(values[EvidenceKind.SCORES], share, images * wordings)
            plan = replace(plan, data_attributes=chosen, num_images=images if chosen else 0)
            spent = len(chosen) * images * wordings
        left = None if left is None else left - spent
    return plan


def too_small_for_looks(config: ScoringConfig) -> str:
    """Why a budget seldom or never reaches a look at the model, in words; empty where it does, or no look is wanted."""
    kinds = _on_offer(Offers(num_images=1, new_checkpoint=True, judgement_cost=0), config)
    least = _least_budget(kinds, config)
    if not 0 < config.questions_per_minute < least:
        return ""
    return (
        f"scoring.questions_per_minute={config.questions_per_minute} is too little to look at the model's own images "
        f"while there are data images to score: shared among {', '.join(kinds)} it must be {least} for the smallest "
        "look; raise it, or do without looks by scoring.sample_images=0 and scoring.traversal_images=0"
    )


def _on_offer(offers: Offers, config: ScoringConfig) -> list[str]:
    kinds = {
        "samples": offers.new_checkpoint and config.sample_images > 0,
        "traversals": offers.new_checkpoint and config.traversal_images > 0,
        "judgements": config.judgements,
        "data": offers.num_images > 0 and config.round_images > 0,
    }
    return [name for name, offered in kinds.items() if offered]


def _least_budget(kinds: list[str], config: ScoringConfig) -> int:
    """Questions of which an equal share reaches the smallest look of each kind; 0 where no look is on offer."""
    images = {
        "samples": min(LEAST_SAMPLES, config.sample_images),
        "traversals": min(LEAST_STARTS, config.traversal_images) * config.traversal_steps,
    }
    # Two attributes make a relation; of a traversal they are the target and what the source's node is named after.
    return len(kinds) * max((2 * images.get(kind, 0) * config.wordings for kind in kinds), default=0)


def _fewer(most: int, least: int, share: int | None, cost_per_image: int) -> int:
    """Images within a share: fewer of them rather than fewer attributes, since k of these inform k (k - 1) / 2 pairs.

    Args:
        least: that are worth asking about, unless ``most`` is less
    """
    return most if share is None else min(most, max(least, share // cost_per_image))
