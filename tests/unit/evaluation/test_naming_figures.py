from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from gem_ray.evaluation.naming_figures import naming_figure, naming_table, unnamed_words
from gem_ray.messages.rescorer import Cost
from gem_ray.scoring.looking.discovery import Discovery
from gem_ray.scoring.looking.naming import LatentName, Strips

SIDE = 32


def make_discovery(described: bool) -> Discovery:
    strips = Strips(
        step=500,
        changes=np.array([20.0, 8.0, 0.1]),
        latents=(0, 1),
        positions=np.tile(np.linspace(-1, 1, 4), (2, 1)),
        images=np.random.default_rng(0).integers(0, 255, (2, 3, 4, SIDE, SIDE, 3)).astype(np.uint8),
    )
    named = LatentName(
        latent=0, given="beard", change=20.0, proposed=("facial hair",) if described else (), name="$beard$ [bold]",
        strength=-0.91, standard_error=0.03, p_value=0.005, runner_up=("male", 0.3),
    )  # fmt: skip
    names = (named, LatentName(latent=1, given=None, change=8.0), LatentName(latent=2, given=None, change=0.1))
    return Discovery("nano", strips, ("$beard$ [bold]", "male"), names, Cost(asked=48), (0, 0))


def printed(found: Discovery) -> str:
    console = Console(width=110, file=io.StringIO(), force_terminal=False)
    console.print(naming_table(found))
    return console.file.getvalue()


def test_the_table_holds_latents_that_change_something_with_name_and_strength():
    text = printed(make_discovery(False))
    assert "0 (beard)" in text
    assert "$beard$ [bold]" in text
    assert "−.91 ± .03" in text
    assert "no name" in text
    assert "in open words" not in text
    assert unnamed_words(make_discovery(False)) == "1 of 3 latents change nothing in the picture."


def test_open_answers_get_a_column_of_their_own():
    assert "facial hair" in printed(make_discovery(True))


@pytest.mark.parametrize("described", [False, True])
def test_the_figure_has_a_strip_for_each_latent_that_changes_something(described):
    found = make_discovery(described)
    picture = np.asarray(Image.open(io.BytesIO(naming_figure(found))).convert("RGB"))
    # The strips stand in the picture pixel by pixel: the frames of latent 0 from its most telling start image.
    change = np.abs(found.strips.images[0, :, -1].astype(float) - found.strips.images[0, :, 0]).mean(axis=(1, 2, 3))
    frame = found.strips.images[0, int(change.argmax()), 0]
    scale = 3
    top, left = 104, 330
    shown = picture[top + 1 : top + SIDE * scale : scale, left + 1 : left + SIDE * scale : scale]
    np.testing.assert_allclose(shown, frame, atol=1)
