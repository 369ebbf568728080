"""The report of a run: figures, ``summary.json`` and one HTML page that needs nothing else to be read."""

from __future__ import annotations

import base64
from datetime import UTC, datetime
from typing import NamedTuple

import jinja2
import numpy as np

from gem_ray.config import GemConfig
from gem_ray.config_json import config_to_json
from gem_ray.evaluation.animation import Film
from gem_ray.evaluation.associations import Associations
from gem_ray.evaluation.drawings import draw_figures, draw_films
from gem_ray.evaluation.evaluate import evaluate
from gem_ray.evaluation.evaluation_facts import EvaluationFacts, HealthFacts, read_evaluation
from gem_ray.evaluation.evaluation_tables import evaluation_tables
from gem_ray.evaluation.facts import Summary
from gem_ray.evaluation.followers import Follow
from gem_ray.evaluation.graph_figures import signed
from gem_ray.evaluation.pictures import make_pictures
from gem_ray.evaluation.report_progress import report_progress
from gem_ray.evaluation.score_meanings import meaning
from gem_ray.evaluation.summarize import summarize
from gem_ray.evaluation.summary import cost_words, duration, fidelity_words, format_summary, share
from gem_ray.storage import Storage

__all__ = ["Summary", "format_summary", "write_report"]
MOST_PAIRS = 60
PIXEL_DENSITY = 1.6
SCORE_TABLES = 2  # of codes and of named nodes: the others say what the report says elsewhere


class Picture(NamedTuple):
    """An inlined image and the width, in CSS pixels, at which its type is easy to read on a screen of any density."""

    uri: str
    width: int

    @staticmethod
    def of(png: bytes) -> Picture:
        """From PNG bytes, whose header holds the width."""
        width = int.from_bytes(png[16:20], "big")
        return Picture("data:image/png;base64," + base64.b64encode(png).decode(), round(width / PIXEL_DENSITY))


class Moving(NamedTuple):
    """An inlined film, and the picture that stands in for it where nothing is to move."""

    uri: str
    still: Picture

    @staticmethod
    def of(film: Film) -> Moving:
        """From its GIF and PNG bytes."""
        return Moving("data:image/gif;base64," + base64.b64encode(film.gif).decode(), Picture.of(film.still))


class Shown(NamedTuple):
    """All that a page shows beside the summary; ``scores`` is None where ``jobs.evaluate`` has not been there."""

    figures: dict[str, bytes]
    films: dict[str, Film]
    follows: tuple[Follow, ...]
    associations: Associations | None
    health: HealthFacts
    scores: EvaluationFacts | None


def write_report(run: Storage, data: Storage, config: GemConfig) -> Summary:
    """Evaluate the newest checkpoint and write ``figures/``, ``summary.json`` and ``report.html`` to the run's folder.

    Args:
        run: the run's folder
        data: the data it was trained on
        config: the run's configuration

    Raises:
        DataError: no checkpoint to report on, data that do not fit it, or an ``evaluation.json`` that cannot be read
        StorageError: a folder that cannot be read or written
    """
    with report_progress() as part:
        with part("measuring the model"):
            found = evaluate(run, data, config)
        with part("moving its nodes"):
            extra = make_pictures(found, data)
        with part("drawing figures"):
            figures = draw_figures(found, extra)
        with part("drawing films"):
            films = draw_films(found, extra)
    shown = Shown(
        figures=figures,
        films=films,
        follows=extra.follows,
        associations=extra.associations,
        health=extra.health,
        scores=read_evaluation(run),
    )
    summary = summarize(found, run)
    for name, picture in shown.figures.items():
        run.write_bytes(f"figures/{name}.png", picture)
    for name, film in shown.films.items():
        run.write_bytes(f"figures/{name}.gif", film.gif)
    run.write_bytes("summary.json", summary.to_json().encode())
    run.write_bytes("report.html", render(summary, shown, config).encode())
    return summary


def render(summary: Summary, shown: Shown, config: GemConfig) -> str:
    """The page; images are inlined, and every text from outside is escaped."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("gem_ray", "evaluation"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"signed": _signed, "share": share, "duration": duration, "number": _number}
    environment.globals |= {"fidelity_words": fidelity_words, "cost_words": cost_words, "meaning": meaning}
    pictures = {name: Picture.of(png) for name, png in shown.figures.items()}
    return environment.get_template("report.html.j2").render(
        summary=summary,
        pictures=pictures,
        films=[Moving.of(film) for _, film in sorted(shown.films.items())],
        follows=shown.follows,
        associations=shown.associations,
        health=shown.health,
        scores=shown.scores,
        score_tables=() if shown.scores is None else evaluation_tables(shown.scores)[:SCORE_TABLES],
        traversals=[picture for name, picture in sorted(pictures.items()) if name.startswith("traversals_")],
        pairs=list(zip(summary.graph.relations[::2], summary.graph.relations[1::2]))[:MOST_PAIRS],
        num_pairs=len(summary.nodes) * (len(summary.nodes) - 1) // 2,
        config_json=config_to_json(config),
        written=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
    )


def _signed(value: float | None) -> str:
    return signed(float("nan") if value is None else value)


def _number(value: float | None, digits: int = 2) -> str:
    """A number with that many decimals, an en dash where there is none."""
    return "–" if value is None or not np.isfinite(value) else f"{value:,.{digits}f}".replace("-", "−")
