"""GIFs run forth and back without a jump, for ever, and within their size."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image, ImageSequence

from gem_ray.evaluation.animation import eased, looping_gif, still_png, there_and_back
from gem_ray.evaluation.film_figures import FRAME_MS, LARGEST_TILE, LEFT, TOP, TRACK, propagation_film, tiles


def make_frames(num: int = 5, side: int = 24) -> np.ndarray:
    """A grey square that moves to the right on white."""
    frames = np.full((num, side, side, 3), 255, np.uint8)
    for k in range(num):
        frames[k, 4:12, 2 * k : 2 * k + 8] = 90
    return frames


def read_frames(gif: bytes) -> np.ndarray:
    return np.stack([np.asarray(frame.convert("RGB")) for frame in ImageSequence.Iterator(Image.open(io.BytesIO(gif)))])


def test_a_loop_goes_to_the_end_and_the_same_way_back():
    frames = np.arange(4, dtype=np.uint8)[:, None, None, None]
    assert there_and_back(frames).flatten().tolist() == [0, 1, 2, 3, 2, 1]
    assert there_and_back(frames[:2]).flatten().tolist() == [0, 1]


def test_an_eased_movement_is_symmetric_and_slow_at_its_ends():
    steps = eased(9)
    assert (steps[0], steps[-1]) == (0, 1)
    np.testing.assert_allclose(steps, 1 - steps[::-1])
    assert (np.diff(steps)[:4] < np.diff(steps)[1:5] + 1e-12).all()


def test_a_gif_has_every_frame_there_and_back_and_loops_for_ever():
    frames = make_frames()
    gif = Image.open(io.BytesIO(looping_gif(frames, 70, 10**6)))
    assert (gif.format, gif.n_frames, gif.info["loop"], gif.info["duration"]) == ("GIF", 8, 0, 70)
    np.testing.assert_array_equal(read_frames(looping_gif(frames, 70, 10**6)), there_and_back(frames))


def test_a_gif_over_its_size_loses_colours_then_frames_and_keeps_its_ends_and_its_pace():
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 256, (9, 48, 48, 3), np.uint8)
    whole = looping_gif(frames, 50, 10**7)
    fewer_colours = looping_gif(frames, 50, int(0.9 * len(whole)))
    assert len(fewer_colours) <= 0.9 * len(whole)
    assert Image.open(io.BytesIO(fewer_colours)).n_frames == 16
    small = looping_gif(frames, 50, int(0.4 * len(whole)))
    read = Image.open(io.BytesIO(small))
    assert len(small) <= 0.4 * len(whole)
    assert (read.n_frames, read.info["duration"]) == (8, 100)
    ends = read_frames(small)[[0, 4]].astype(float)
    assert all(np.abs(ends[k] - frames[at]).mean() < np.abs(ends[k] - frames[4]).mean() for k, at in ((0, 0), (1, 8)))


def test_a_size_that_cannot_be_kept_gives_the_two_ends_rather_than_nothing():
    gif = Image.open(io.BytesIO(looping_gif(make_frames(), 50, 1)))
    assert gif.n_frames <= 4


def test_a_still_is_the_frame_itself():
    frame = make_frames()[2]
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(still_png(frame)))), frame)


@pytest.mark.parametrize(("side", "shown"), [(32, 128), (64, 128), (128, 128), (144, 144), (256, 128), (299, 99)])
def test_tiles_are_whole_multiples_or_averages_of_any_side(side, shown):
    images = np.random.default_rng(0).random((1, 2, side, side, 3))
    tiled = tiles(images)
    assert tiled.shape == (1, 2, shown, shown, 3)
    assert shown <= LARGEST_TILE
    if side == 256:
        np.testing.assert_allclose(tiled[0, 1, 3, 5], images[0, 1, 6:8, 10:12].mean(axis=(0, 1)))
    if side == 64:
        np.testing.assert_allclose(tiled[0, 1, ::2, 1::2], images[0, 1])


def test_a_film_shows_both_ways_and_their_difference_at_its_place():
    through = np.zeros((2, 3, 32, 32, 3))
    through[1, 2] = 1.0
    film = propagation_film(through, np.zeros_like(through), eased(3), ["a", "b"], 10**6)
    gif = Image.open(io.BytesIO(film.gif))
    assert (gif.n_frames, gif.info["duration"], gif.info["loop"]) == (4, FRAME_MS, 0)
    frames, still = read_frames(film.gif), np.asarray(Image.open(io.BytesIO(film.still)).convert("RGB"))
    x, y = LEFT + 60, TOP + TRACK + 60
    column, row = 128 + 6, 128 + 6
    assert frames[:, y, x].tolist() == [[0, 0, 0]] * 4
    assert frames[:, y, x + column, 0].tolist() == [0, 0, 255, 0]
    assert frames[:, y + row, x + column, 0].tolist() == [0] * 4
    assert (still[y + 2 * row, x] == 255).all(), "no difference is white"
    assert still[y + 2 * row, x + column].sum() < 300, "the greatest difference is the darkest"
    assert still[y, x + column].tolist() == [255] * 3, "the still shows the high end"


def test_a_film_of_nothing_that_follows_shows_no_difference():
    images = np.random.default_rng(0).random((2, 3, 32, 32, 3)) * 0.5
    film = propagation_film(images, images + 1 / 255, eased(3), ["a", "b"], 10**7)
    still = np.asarray(Image.open(io.BytesIO(film.still)).convert("RGB")).astype(int)
    assert still[TOP + TRACK + 2 * 134 + 60, LEFT + 60].min() > 225, "noise of one grey level stays pale"
