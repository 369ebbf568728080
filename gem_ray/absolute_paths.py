"""Local paths as every process sees them: a Ray worker may run in another working directory than the driver."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from gem_ray.config import GemConfig


def absolute(uri: str) -> str:
    """A local path from the root of the file system; URIs, and nothing, stay as they are."""
    return uri if not uri or "://" in uri else str(Path(uri).expanduser().absolute())


def with_absolute_paths(config: GemConfig) -> GemConfig:
    """The places that Ray's processes read and write by their options.

    Not ``prepare.source``, which tells data sets apart as it was typed; ``list_source`` makes what it finds absolute.
    """
    objective, scoring = config.objective, config.scoring
    return replace(
        config,
        run=replace(config.run, uri=absolute(config.run.uri)),
        data=replace(config.data, uri=absolute(config.data.uri)),
        objective=replace(objective, perceptual_weights=absolute(objective.perceptual_weights)),
        scoring=replace(scoring, scores_from=absolute(scoring.scores_from)),
    )
