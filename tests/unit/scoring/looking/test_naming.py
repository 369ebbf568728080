from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from gem_ray.checkpoint import Checkpoint, save_checkpoint
from gem_ray.config import GemConfig, ModelConfig, NamingConfig, ScoringConfig
from gem_ray.config_json import config_to_json
from gem_ray.errors import ConfigError, DataError, ScorerError
from gem_ray.graph.disgraph import DisGraph
from gem_ray.messages.questions import StripAnswer, StripRequest
from gem_ray.models.gem import Gem
from gem_ray.scoring.asking.prompts import NUM_DIGITS
from gem_ray.scoring.asking.scripted import ScriptedScorer, answer_of_value
from gem_ray.scoring.looking import discovery
from gem_ray.scoring.looking.codes import newest_model
from gem_ray.scoring.looking.naming import (
    Strips,
    candidate_names,
    chance_of,
    draw_strips,
    follow_strengths,
    matched,
    name_latents,
    strip_requests,
)
from gem_ray.storage import Storage

STARTS, STEPS, SIDE = 6, 5, 32


class Noise:
    """Images of noise, numbered."""

    count = 64

    def read(self, start: int, stop: int) -> tuple[np.ndarray, np.ndarray]:
        rng = np.random.default_rng(start)
        return np.arange(start, stop), rng.integers(0, 256, (stop - start, SIDE, SIDE, 3)).astype(np.uint8)


def make_strips(num_latents: int, still: int = 0) -> Strips:
    """Strips of black pictures; ``still`` further latents change nothing."""
    return Strips(
        step=5,
        changes=np.array([9.0] * num_latents + [0.0] * still),
        latents=tuple(range(num_latents)),
        positions=np.tile(np.linspace(-2, 2, STEPS), (num_latents, 1)),
        images=np.zeros((num_latents, STARTS, STEPS, SIDE, SIDE, 3), np.uint8),
    )


def make_answers(effects: np.ndarray, seed: int = 0) -> np.ndarray:
    """Digit probabilities [m, B, T, C, 6]: each score goes by ``effects`` [m, C] of its range along the strip."""
    rng = np.random.default_rng(seed)
    position = np.linspace(-0.5, 0.5, STEPS)
    value = 0.5 + effects[:, None, None, :] * position[:, None] + 0.08 * rng.standard_normal((1, STARTS, 1, 1))
    place = np.clip(value, 0, 1) * (NUM_DIGITS - 1)
    distance = np.abs(place[..., None] - np.arange(NUM_DIGITS))
    weight = np.clip(1 - distance, 0, 1)
    return weight / weight.sum(-1, keepdims=True)


EFFECTS = np.array([[0.1, 0.9, 0.0], [0.8, 0.7, 0.0], [0.0, 0.0, -0.9], [0.0, 0.0, 0.0]])
CANDIDATES = ("beard", "male", "bangs")


def test_latents_and_names_are_matched_one_to_one_by_how_the_scores_follow():
    names = name_latents(make_strips(4), ("one", "two"), 1, CANDIDATES, make_answers(EFFECTS))
    assert [entry.name for entry in names] == ["male", "beard", "bangs", None]
    assert [entry.given for entry in names] == ["one", "two", None, None]
    assert names[2].strength < -0.5, "the latent runs the other way"
    assert names[1].runner_up[0] == "male"
    assert names[1].runner_up[1] > 0.5, "it moves two attributes"
    assert names[3].strength is names[3].p_value is None


def test_names_that_follow_shuffled_positions_as_well_are_not_given():
    answers = make_answers(EFFECTS)
    order = np.random.default_rng(3).random(answers.shape[:3]).argsort(axis=2)
    shuffled = np.take_along_axis(answers, order[..., None, None], axis=2)
    assert all(entry.name is None for entry in name_latents(make_strips(4), ("one", "two"), 1, CANDIDATES, shuffled))


def test_chance_gives_a_name_in_one_run_of_twenty_at_most():
    rng = np.random.default_rng(0)
    found = 0
    for _ in range(60):
        answers = rng.dirichlet(np.ones(NUM_DIGITS), (3, STARTS, STEPS, 4))
        found += bool((chance_of(answers, follow_strengths(answers)[0]) <= 0.05).any())
    assert found <= 8


def test_a_name_without_answers_is_no_match():
    answers = make_answers(EFFECTS)
    answers[..., 2, :] = np.nan
    names = name_latents(make_strips(4), ("one", "two"), 1, CANDIDATES, answers)
    assert [entry.name for entry in names] == ["male", "beard", None, None]


def test_the_matching_takes_the_greatest_sum_and_leaves_out_what_chance_would_do():
    strength = np.array([[0.9, 0.8], [0.85, 0.1]])
    assert matched(strength, np.full((2, 2), 0.01)) == [1, 0]
    assert matched(strength, np.array([[0.01, 0.01], [0.5, 0.5]])) == [0, None]
    assert matched(np.zeros((0, 2)), np.zeros((0, 2))) == []


def test_latents_of_a_node_with_several_dimensions_carry_its_name():
    names = name_latents(make_strips(4, still=1), ("one", "two"), 2, CANDIDATES, make_answers(EFFECTS))
    assert [entry.given for entry in names] == ["one", "one", "two", "two", None]
    assert names[4].name is None
    assert names[4].change == 0.0


def test_proposed_names_join_the_candidates_cleaned_and_once():
    assert candidate_names(["Beard"], ["beard", "Hair Length", "<image>", "", "hair length"]) == (
        "Beard",
        "hair length",
    )
    with pytest.raises(ConfigError, match="line"):
        candidate_names(["new\nline"], [])


def test_strips_of_the_start_images_that_change_most_are_described():
    strips = make_strips(2)
    strips.images[0, 4, -1], strips.images[1, 2, -1] = 200, 90
    requests = strip_requests(strips, 1)
    assert [row for row, _ in requests] == [0, 1]
    request = requests[0][1]
    assert (request.height, request.width, request.num_frames) == (SIDE, STEPS * SIDE, STEPS)
    pixels = np.frombuffer(request.image, np.uint8).reshape(SIDE, STEPS, SIDE, 3)
    np.testing.assert_array_equal(pixels, strips.images[0, 4].transpose(1, 0, 2, 3))
    assert strip_requests(strips, 0) == []


@pytest.fixture
def run(tmp_path: Path) -> Storage:
    config = GemConfig(model=ModelConfig(attributes=["beard", "male"], residual_dim=2))
    run = Storage(str(tmp_path), config.storage)
    torch.manual_seed(0)
    model = Gem(config.model, SIDE)
    # Latent 3 is cut off from the decoder; the others are made loud.
    with torch.no_grad():
        first = next(layer for layer in model.decoder.modules() if isinstance(layer, torch.nn.Linear))
        first.weight *= 40
        first.weight[:, 3] = 0
        model.encoder.head.weight *= 30
    tensors = {f"gem.{name}": tensor for name, tensor in model.state_dict().items()}
    graph = DisGraph.from_strength(("beard", "male"), np.array([[0, 0.9], [0.9, 0]]), np.full((2, 2), 0.1))
    state = {"config": config_to_json(config), "image_size": SIDE}
    checkpoint = Checkpoint(step=9, model=tensors, optimizer={}, graph_json=graph.to_json(), state=state)
    save_checkpoint(run, checkpoint, 3)
    return run


def test_only_latents_that_change_the_picture_are_drawn_and_each_moves_alone(run):
    newest = newest_model(run)
    assert newest is not None
    strips = draw_strips(newest, Noise(), STARTS, STEPS)
    assert strips.latents == (0, 1, 2)
    assert strips.changes[3] == 0.0
    assert strips.images.shape == (3, STARTS, STEPS, SIDE, SIDE, 3)
    codes = newest.relate(newest.encode(Noise().read(0, 64)[1])[0])
    codes = codes[:1].repeat(STEPS, 1)
    codes[:, 1] = torch.tensor(strips.positions[1])
    np.testing.assert_array_equal(strips.images[1, 0], newest.decode(codes))


def test_a_run_without_a_checkpoint_has_no_latents_to_name(tmp_path):
    with pytest.raises(DataError, match=r"no complete checkpoint.*jobs\.train"):
        discovery.discover(Storage(str(tmp_path), GemConfig().storage), Noise(), NamingConfig(), GemConfig().scoring)


class Engine(ScriptedScorer):
    fingerprint = "nano"

    def shutdown(self) -> None:
        """Nothing was started."""


def test_a_batch_of_questions_may_take_the_time_that_it_has(run, monkeypatch):
    async def wait(work: Any, asker: Any, deadline_s: float, remedy: str) -> None:
        work.close()
        raise ScorerError(f"waited for {deadline_s:g} s")

    monkeypatch.setenv("VLLM_WORKER_MULTIPROC_METHOD", "spawn")
    monkeypatch.setattr(discovery, "vllm_scorer", lambda _: Engine(lambda _: answer_of_value(0)))
    monkeypatch.setattr(discovery, "with_patience", wait)
    with pytest.raises(ScorerError, match="waited for 77 s"):
        discovery.discover(run, Noise(), NamingConfig(images=2), ScoringConfig(deadline_s=77))


class Describer:
    """Answers about a strip by the brightness of its last frame."""

    def __init__(self) -> None:
        self.batches: list[int] = []

    async def describe(self, strips: list[StripRequest]) -> list[StripAnswer]:
        self.batches.append(len(strips))
        names = {0: None, 90: "Hat", 200: "hair length"}
        answers = []
        for strip in strips:
            text = names[strip.image[-1]]
            answers.append(StripAnswer(text=text, failure=None if text else "no_words"))
        return answers


def test_open_answers_are_gathered_by_latent_each_name_once_and_failures_are_counted():
    strips = make_strips(7)
    strips.images[0, :, -1] = 90
    strips.images[1, 0, -1], strips.images[1, 1, -1] = 200, 90
    scorer = Describer()
    proposed, described = asyncio.run(discovery._describe(scorer, strips, 3))
    assert proposed[:3] == [["Hat"], ["hair length", "Hat"], []]
    assert described == (21, 21 - 3 - 2)
    assert scorer.batches == [16, 5]
