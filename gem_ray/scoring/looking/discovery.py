"""The work of ``jobs.name_attributes``: an engine of its own, the strips, the questions, the names. No Ray runs."""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gem_ray.config import NamingConfig, ScoringConfig
from gem_ray.errors import DataError
from gem_ray.messages.rescorer import Cost
from gem_ray.scoring.asking.asker import Asker
from gem_ray.scoring.asking.model_files import prompt_style, resolve_model
from gem_ray.scoring.asking.patience import ENGINE_REMEDY, with_patience
from gem_ray.scoring.asking.prompts import NUM_DIGITS, PromptStyle
from gem_ray.scoring.asking.vllm_scorer import VLLMScorer
from gem_ray.scoring.looking.codes import ImageSource, newest_model
from gem_ray.scoring.looking.naming import (
    LatentName,
    Strips,
    candidate_names,
    draw_strips,
    name_latents,
    strip_requests,
)
from gem_ray.scoring.serving.deployment import vllm_scorer
from gem_ray.storage import Storage

DESCRIBED_AT_A_TIME = 16


@dataclass(frozen=True)
class Discovery:
    """What was found.

    Args:
        model: the MLLM that was asked
        candidates: all names that were scored, those that the model proposed last
        names: of every latent
        cost: of the questions with digits for answers
        described: strips that the model described in open words, and failures among them
    """

    model: str
    strips: Strips
    candidates: tuple[str, ...]
    names: tuple[LatentName, ...]
    cost: Cost
    described: tuple[int, int]


def discover(run: Storage, images: ImageSource, naming: NamingConfig, scoring: ScoringConfig) -> Discovery:
    """Name the latents of a run's newest checkpoint.

    Args:
        run: the run's folder, which also keeps the answers: a second look asks nothing again
        images: of the run's data

    Raises:
        DataError: no checkpoint, or no images
        ConfigError: a candidate that must not be asked about
        ScorerError: the model cannot be served, or does not answer
    """
    newest = newest_model(run)
    if newest is None:
        raise DataError(f"{run.uri} has no complete checkpoint whose latents could be named; run jobs.train first")
    strips = draw_strips(newest, images, naming.images, naming.steps)
    attributes, node_dim = newest.graph.attributes, newest.model.config.node_dim
    given = candidate_names(naming.candidates or attributes, ())
    # A forked engine would hold PyG's compiled helpers, at which vLLM's search through all modules fails.
    os.environ.setdefault("VLLM_WORKER_MULTIPROC_METHOD", "spawn")
    scorer = vllm_scorer(scoring)
    return asyncio.run(_discover(scorer, run, strips, given, (attributes, node_dim), naming, scoring))


async def _discover(
    scorer: VLLMScorer,
    run: Storage,
    strips: Strips,
    given: tuple[str, ...],
    nodes: tuple[tuple[str, ...], int],
    naming: NamingConfig,
    scoring: ScoringConfig,
) -> Discovery:
    try:
        capable = prompt_style(resolve_model(scoring.model)) is not PromptStyle.NANO
        per_latent = naming.described if capable else 0
        proposed, described = await _describe(scorer, strips, per_latent)
        candidates = candidate_names(given, [name for names in proposed for name in names])
        asker = Asker(scoring, run, candidates, scorer, scorer.fingerprint)
        work = _score(asker, strips, candidates)
        probabilities = await with_patience(work, asker, scoring.deadline_s, ENGINE_REMEDY)
    finally:
        scorer.shutdown()
    names = name_latents(strips, *nodes, candidates, probabilities, proposed)
    return Discovery(scoring.model, strips, candidates, names, asker.cost, described)


async def _describe(scorer: VLLMScorer, strips: Strips, per_latent: int) -> tuple[list[list[str]], tuple[int, int]]:
    """Open answers about each moving latent, and (strips described, failures among them)."""
    requests = strip_requests(strips, per_latent)
    proposed: list[list[str]] = [[] for _ in strips.latents]
    failed = 0
    for start in range(0, len(requests), DESCRIBED_AT_A_TIME):
        part = requests[start : start + DESCRIBED_AT_A_TIME]
        for (row, _), answer in zip(part, await scorer.describe([request for _, request in part]), strict=True):
            if answer.text is None:
                failed += 1
            elif answer.text.casefold() not in (name.casefold() for name in proposed[row]):
                proposed[row].append(answer.text)
    return proposed, (len(requests), failed)


async def _score(asker: Asker, strips: Strips, candidates: tuple[str, ...]) -> NDArray[np.float64]:
    """Digit probabilities [m, B, T, C, 6] of every frame and candidate; NaN where missing."""
    frames = strips.images.reshape(-1, *strips.images.shape[3:])
    answers = await asker.ask_images(frames, range(len(candidates)))
    rows = [answer.probabilities or (np.nan,) * NUM_DIGITS for answer in answers]
    return np.array(rows).reshape(*strips.images.shape[:3], len(candidates), NUM_DIGITS)
