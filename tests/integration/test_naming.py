"""Latents are named by the real engine: faces are drawn from codes, so that what each latent changes is known."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from gem_ray.config import GemConfig, NamingConfig
from gem_ray.data.faces import ATTRIBUTES, draw_face, sample_attributes, sample_nuisance
from gem_ray.graph.disgraph import DisGraph
from gem_ray.scoring.looking import discovery
from gem_ray.scoring.looking.codes import NewestModel
from gem_ray.scoring.looking.naming import name_latents
from gem_ray.storage import Storage

pytestmark = [pytest.mark.vllm, pytest.mark.slow, pytest.mark.timeout(600)]
SIDE = 64
# Codes are attributes in another order, one of them upside down, then the brightness of the picture, then nothing.
ORDER = ("makeup", "beard", "bangs", "male", "blond", "bald")
UPSIDE_DOWN = ORDER.index("male")
NUM_LATENTS = len(ORDER) + 2


class DrawnFaces:
    """Draws a face for a code, as a decoder does; a face is an image that holds its own number."""

    config = SimpleNamespace(node_dim=1)
    image_size = SIDE

    def encode(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        codes = np.zeros((len(x), NUM_LATENTS), np.float32)
        for row, number in enumerate((x[:, 0, 0, 0] * 255).round().int().tolist()):
            attributes = dict(zip(ATTRIBUTES, sample_attributes(0, number), strict=True))
            codes[row, : len(ORDER)] = [attributes[name] for name in ORDER]
            codes[row, ORDER.index("bald")] = 0.4 * (number % 16 == 0)
            codes[row, UPSIDE_DOWN] *= -1
            codes[row, len(ORDER)] = number / 255 - 0.5
        return torch.from_numpy(codes), torch.zeros(codes.shape)

    def relate(self, z: torch.Tensor, strength: torch.Tensor) -> torch.Tensor:
        return z

    def decode(self, z_rel: torch.Tensor) -> torch.Tensor:
        pictures = []
        for code in z_rel.numpy():
            code = code.copy()
            code[UPSIDE_DOWN] *= -1
            attributes = np.array([code[ORDER.index(name)] for name in ATTRIBUTES]).clip(0, 1)
            face = draw_face(attributes, sample_nuisance(np.random.default_rng(7)), SIDE) / 255.0
            pictures.append(face * (1 + 0.2 * code[len(ORDER)]))
        return torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).float()

    @staticmethod
    def images(logits: torch.Tensor) -> torch.Tensor:
        return logits.clamp(0, 1)


class Numbers:
    """Images whose first pixel is their number."""

    count = 250

    def read(self, start: int, stop: int) -> tuple[np.ndarray, np.ndarray]:
        index = np.arange(start, stop)
        return index, np.broadcast_to(index[:, None, None, None], (len(index), SIDE, SIDE, 3)).astype(np.uint8)


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> tuple[discovery.Discovery, np.ndarray]:
    """What is found, and all digit probabilities behind it."""
    run = Storage(str(tmp_path_factory.mktemp("run")), GemConfig().storage)
    graph = DisGraph.empty(tuple(f"node {number}" for number in range(6)))
    newest = NewestModel(3, graph, DrawnFaces(), torch.zeros(6, 6))
    naming = NamingConfig(candidates=[*ATTRIBUTES, "necktie"], images=4, steps=5)
    kept: list[np.ndarray] = []
    score = discovery._score

    async def keep(*arguments):
        kept.append(await score(*arguments))
        return kept[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(discovery, "newest_model", lambda run: newest)
        patch.setattr(discovery, "_score", keep)
        return discovery.discover(run, Numbers(), naming, GemConfig().scoring), kept[0]


def test_every_latent_is_named_after_the_attribute_it_moves(found):
    names = found[0].names
    assert [entry.name for entry in names] == [*ORDER, None, None]
    assert all(entry.strength > 0.5 for entry in names[: len(ORDER)] if entry.latent != UPSIDE_DOWN)
    assert names[UPSIDE_DOWN].strength < -0.5
    assert found[0].strips.latents == tuple(range(NUM_LATENTS - 1)), "the last one changes nothing"


def test_a_name_that_the_model_cannot_tell_is_given_to_nobody(found):
    assert "necktie" not in {entry.name for entry in found[0].names}


def test_frames_in_another_order_have_no_names(found):
    first, answers = found
    order = np.random.default_rng(0).random(answers.shape[:3]).argsort(axis=2)
    shuffled = np.take_along_axis(answers, order[..., None, None], axis=2)
    names = name_latents(first.strips, [f"node {k}" for k in range(6)], 1, first.candidates, shuffled)
    assert all(entry.name is None for entry in names)


def test_the_nano_model_is_asked_about_frames_and_not_in_open_words(found):
    first, _ = found
    assert first.described == (0, 0)
    assert first.cost.asked + first.cost.stored == 7 * 4 * 5 * 7, "frames that are the same are asked about once"
    assert first.cost.failed == 4 * 5 * 7, "of the necktie, which the shipped model does not know"
