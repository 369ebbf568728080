"""The MLLM in Ray Serve and the rescorer that asks it, up for the length of a run."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from gem_ray.config import GemConfig
from gem_ray.scoring.asking.model_files import model_fingerprint
from gem_ray.scoring.rescoring.rescorer import start_rescorer, stop_rescorer
from gem_ray.scoring.serving.application import start_scorer, stop_scorer
from gem_ray.storage import Storage


@contextmanager
def scoring_service(config: GemConfig, run: Storage, data: Storage) -> Iterator[None]:
    """The MLLM and the rescorer, up for the length of the body.

    Raises:
        ScorerError: see ``application.start_scorer``
    """
    with ExitStack() as services:
        services.callback(stop_scorer, config.run.name)  # first: Ctrl-C may come while the model loads
        app = start_scorer(config.scoring, config.run.name, role=config.placement.mllm)
        services.callback(stop_rescorer, config.run.name)
        start_rescorer(config, run, data, app, model_fingerprint(config.scoring.model))
        yield
