"""The MLLM goes away in the middle of training and comes back: no step fails or waits, and scoring resumes by itself.

The whole job runs, with the Ray it starts itself; its Serve application is deleted and deployed again while the workers
train, and the run is then ended as by Ctrl-C.
Control: while the MLLM is away nothing is scored and the run says so. Set ``-s`` to see the figures.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ray import cloudpickle, serve

from gem_ray.config import (
    DataConfig,
    GemConfig,
    GraphConfig,
    ModelConfig,
    ObjectiveConfig,
    PrepareConfig,
    RunConfig,
    ScoringConfig,
    TrainConfig,
)
from gem_ray.data.faces import ATTRIBUTES
from gem_ray.evaluation.history import read_metrics
from gem_ray.graph.actor import GraphStore
from gem_ray.messages.questions import ScoreRequest
from gem_ray.scoring.asking.scripted import ScriptedScorer, answer_of_value
from gem_ray.scoring.rescoring.rescorer_client import rescorer_status
from gem_ray.scoring.rescoring.scores import read_scores
from gem_ray.scoring.serving import application
from gem_ray.scoring.serving.application import app_name, start_scorer, stop_scorer
from gem_ray.scoring.serving.deployment import ServedScorer
from gem_ray.storage import Storage
from gem_ray.train.trainer import run_storage, train

pytestmark = [pytest.mark.ray, pytest.mark.timeout(900)]
SEED = 3
MANY_STEPS = 1_000_000  # the run is ended by hand
PATIENCE_S = 240.0


@pytest.fixture(scope="module", autouse=True)
def this_module_travels() -> Iterator[None]:
    """Ray's processes cannot import tests: send what is defined here by value."""
    module = sys.modules[__name__]
    cloudpickle.register_pickle_by_value(module)
    yield
    cloudpickle.unregister_pickle_by_value(module)


class PixelScorer(ScriptedScorer):
    """A scripted scorer that a replica can be made of."""

    async def check_health(self) -> None:
        """Always well."""

    def shutdown(self) -> None:
        """Nothing was started."""


def pixel_scorer(config: ScoringConfig) -> ServedScorer:
    """Answers by a pixel for each attribute: no face is known, but the same question has the same answer."""

    def value(request: ScoreRequest) -> float:
        return request.image[1_000 + 7 * ATTRIBUTES.index(request.attribute)] / 255

    return PixelScorer(lambda request: answer_of_value(value(request)), delay_s=0.05)


def make_config(folder: Path, name: str) -> GemConfig:
    return GemConfig(
        run=RunConfig(uri=str(folder / "runs"), name=name),
        data=DataConfig(uri=str(folder / "faces"), batch_size=16, holdout=16),
        prepare=PrepareConfig(num_images=1_500, image_size=32, shard_mb=4, seed=SEED),
        model=ModelConfig(residual_dim=4),
        objective=ObjectiveConfig(align_batch=4),
        graph=GraphConfig(poll_every_s=0.2, refresh_every_steps=2),
        train=TrainConfig(steps=MANY_STEPS, checkpoint_every_steps=200, log_every_steps=2, log_every_s=10.0),
        scoring=ScoringConfig(
            initial_images=128, round_images=16, round_every_s=1.5, traversal_images=0, sample_images=8, num_cpus=0.5
        ),
    )


@dataclass
class Absence:
    """Deletes the application once scoring goes its rounds, deploys it again, and ends the run when they go on."""

    config: GemConfig
    away_s: float
    start: Any
    left_at: float = 0.0
    back_at: float = 0.0
    resumed_s: float = 0.0
    scored: dict[str, int] = field(default_factory=dict)
    workers: list[int] = field(default_factory=list)
    fault: str = ""

    def work(self) -> None:
        try:
            self._watch()
        except (AssertionError, RuntimeError) as error:
            self.fault = str(error)
        finally:
            os.kill(os.getpid(), signal.SIGINT)

    def _watch(self) -> None:
        name = self.config.run.name
        # Not before Ray is up, which the job starts.
        self._until(lambda: self._steps() > 20 and self._images() >= 160, "the first rounds")
        self.workers = started(run_storage(self.config))["pids"]
        stop_scorer(name)
        assert app_name(name) not in serve.status().applications
        self.left_at, self.scored["left"] = time.time(), self._images()
        time.sleep(self.away_s)
        self.scored["back"] = self._images()
        self.start(self.config.scoring, name)
        self.back_at = time.time()
        self._until(lambda: self._images() >= self.scored["back"] + 32, "scoring resumes")
        self.resumed_s, self.scored["end"] = time.time() - self.back_at, self._images()
        version = self._last().get("graph_version", 0)
        self._until(lambda: self._last().get("graph_version", 0) > version, "training takes a newer graph")

    def _images(self) -> int:
        status = rescorer_status(self.config.run.name, 10.0)
        return status.images_scored if status else 0

    def _steps(self) -> int:
        return int(self._last().get("step", 0))

    def _last(self) -> dict[str, Any]:
        lines = [line for line in read_metrics(run_storage(self.config)) if "event" not in line]
        return lines[-1] if lines else {}

    def _until(self, condition: Any, what: str) -> None:
        end = time.monotonic() + PATIENCE_S
        while not condition():
            assert time.monotonic() < end, f"waited {PATIENCE_S} s in vain: {what}"
            time.sleep(0.2)


def started(run: Storage) -> dict[str, Any]:
    """The newest start of the workers; a restart from the beginning overwrites what was logged before."""
    return [line for line in read_metrics(run) if line.get("event") == "started"][-1]


def train_through(absence: Absence) -> Storage:
    """A whole run with the absence in it; ended by Ctrl-C."""
    breaking = threading.Thread(target=absence.work)
    breaking.start()
    try:
        with pytest.raises(KeyboardInterrupt):
            train(absence.config)
    finally:
        breaking.join()
    assert absence.fault == ""
    return run_storage(absence.config)


def check(run: Storage, absence: Absence) -> None:
    metrics = read_metrics(run)
    lines = [line for line in metrics if "event" not in line]
    away = [line for line in lines if absence.left_at + 1 < line["time"] < absence.left_at + absence.away_s]
    before = [line for line in lines if line["time"] < absence.left_at]
    assert before, "the workers were restarted"
    assert len(away) > 1, "training stood still"
    longest_s = max(np.diff([line["time"] for line in away]))
    print(
        json.dumps(
            {
                "seed": SEED,
                "away_s": absence.away_s,
                "steps_before": before[-1]["step"],
                "steps_while_away": away[-1]["step"] - away[0]["step"],
                "longest_gap_of_two_steps_s": round(float(longest_s), 2),
                "oldest_graph_s": round(max(line["graph_age_s"] for line in lines), 1),
                "resumed_s": round(absence.resumed_s, 1),
                **{f"images_{when}": count for when, count in absence.scored.items()},
            }
        ),
        flush=True,
    )
    # No step failed, none was redone, none waited.
    assert started(run)["pids"] == absence.workers, "the workers were restarted"
    assert set(np.diff([line["step"] for line in lines])) == {2}
    assert all(np.isfinite(line["total"]) for line in lines)
    assert longest_s < 5.0
    # It was away, and the run said so.
    assert absence.scored["back"] <= absence.scored["left"] + 16, "it went on scoring: nothing was away"
    assert "waiting" in {line["rescorer_phase"] for line in away}
    assert "waiting" not in {line["rescorer_phase"] for line in before}
    assert max(line["graph_age_s"] for line in away) > 0.7 * absence.away_s
    # It resumed, and nothing was lost on the way.
    assert lines[-1]["questions_asked"] > away[-1]["questions_asked"]
    assert lines[-1]["graph_version"] > away[-1]["graph_version"]
    graph = GraphStore(run, absence.config.run.name, ATTRIBUTES, absence.config.graph).snapshot(None)
    assert graph is not None
    assert graph.scores is not None
    table = read_scores(run, graph.scores)
    assert table.index.tolist() == list(range(len(table.index)))
    assert len(table.index) >= absence.scored["back"]
    assert table.num_missing == 0
    first = table.asked[: absence.scored["left"]]
    assert first.sum(axis=1).min() >= 2, "an image was passed over"


@pytest.mark.slow
def test_ten_seconds_without_the_mllm_cost_no_step_and_no_pair(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scripted = partial(start_scorer, build_scorer=pixel_scorer)
    monkeypatch.setattr("gem_ray.scoring.serving.service.start_scorer", scripted)
    absence = Absence(make_config(tmp_path, f"away-{os.getpid()}"), away_s=10.0, start=scripted)
    check(train_through(absence), absence)


@pytest.mark.slow
@pytest.mark.vllm
def test_a_minute_without_the_shipped_mllm_costs_no_step_and_no_pair(tmp_path: Path) -> None:
    absence = Absence(make_config(tmp_path, f"long-away-{os.getpid()}"), 60.0, application.start_scorer)
    check(train_through(absence), absence)
