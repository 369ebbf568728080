"""The work of ``jobs.check_mllm``: an engine of its own, the images, the questions, the verdict. No Ray is needed.

The engine is asked directly rather than a running Serve application: a check then needs nothing but the model, and its
rate is that of the model.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace

from gem_ray.config import GemConfig
from gem_ray.data.images import ImageShape
from gem_ray.data.labelled import read_labelled
from gem_ray.scoring.asking.asker import Asker
from gem_ray.scoring.asking.patience import ENGINE_REMEDY, with_patience
from gem_ray.scoring.asking.prompts import validate_attributes
from gem_ray.scoring.checking.checks import DRAWN, Check
from gem_ray.scoring.checking.examination import Sitting, examine, face_sittings, labelled_sitting
from gem_ray.scoring.serving.deployment import vllm_scorer
from gem_ray.storage import Storage

SHOW_EVERY_S = 5.0


def check_mllm(config: GemConfig) -> Check:
    """Ask the model of ``scoring.model`` about the images of ``check.source``.

    Raises:
        GemRayError: no such images or model, an attribute without a label, an engine that does not answer
    """
    sittings = read_sittings(config)
    attributes = validate_attributes([name for sitting in sittings if sitting.present for name in sitting.attributes])
    num_questions = sum(sitting.num_questions for sitting in sittings)
    print(f"{num_questions:,} questions to {config.scoring.model} about {config.check.source}", flush=True)
    return asyncio.run(_check(config, sittings, attributes))


def read_sittings(config: GemConfig) -> list[Sitting]:
    """What is asked: drawn faces, or labelled photographs at the size that training would see."""
    wanted = config.check
    attributes = wanted.attributes or config.model.attributes
    if wanted.source == DRAWN:
        return face_sittings(attributes, wanted.images)
    prepared = config.prepare
    shape = ImageShape(size=prepared.image_size, crop=prepared.crop, max_pixels=prepared.max_pixels)
    folder = Storage(wanted.source, config.storage)
    return [
        labelled_sitting(
            read_labelled(
                folder, attributes, shape=shape, num_images=wanted.images, split=wanted.split, seed=wanted.seed
            )
        )
    ]


async def _check(config: GemConfig, sittings: list[Sitting], attributes: tuple[str, ...]) -> Check:
    scorer = vllm_scorer(config.scoring)
    try:
        # Remembered answers would be right, but nobody would learn how fast the model is.
        scoring = replace(config.scoring, answers_bytes=0)
        folder = Storage(config.check.output, config.storage)
        asker = Asker(scoring, folder, attributes, scorer, scorer.fingerprint)
        shown = time.monotonic()

        def progress(done: int, total: int) -> None:
            nonlocal shown
            if time.monotonic() - shown > SHOW_EVERY_S:
                shown = time.monotonic()
                print(f"{done:,} of {total:,} questions, {asker.questions_per_s:.0f} a second", flush=True)

        work = examine(
            lambda images, names: asker.ask_images(images, [attributes.index(name) for name in names]),
            sittings,
            progress,
        )
        found = await with_patience(work, asker, config.scoring.deadline_s, ENGINE_REMEDY)
    finally:
        scorer.shutdown()
    return Check(
        model=config.scoring.model,
        fingerprint=scorer.fingerprint,
        source=config.check.source,
        protocol=asker.protocol,
        image_size=sittings[0].images.shape[1],
        num_questions=found.num_questions,
        questions_per_s=found.num_questions / found.seconds,
        attributes=found.attributes,
    )
