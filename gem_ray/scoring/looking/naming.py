"""What each latent changes in the picture, in words: attribute discovery ("attributes beyond CelebA's" of the paper).

Each latent of the newest checkpoint is moved over the range of its codes, alone: the entry of the relation-aware code,
so that related attributes do not follow. A capable model is asked in open words what changes along the strip; the names
it gives join the candidates. Then every frame is scored for every candidate, whoever proposed it: a name counts by how
well its score follows the position, not by how well it sounds. Names and latents are matched one to one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from gem_ray.errors import ConfigError
from gem_ray.graph.relations import somers_d
from gem_ray.messages.questions import StripRequest
from gem_ray.scoring.asking.prompts import validate_attributes
from gem_ray.scoring.looking.codes import ImageSource, NewestModel, read_some
from gem_ray.scoring.looking.traversals import positions_of, shown_relations

UNCHANGED = 1.0
"""Grey levels: a latent that changes the mean pixel by less from one end of its range to the other is not asked about.
In the default run latents that the prior has swallowed stay below 1, the faintest named node is at 5."""
SHUFFLES = 200
CHANCE = 0.05


@dataclass(frozen=True)
class Strips:
    """Pictures of one checkpoint in which a single latent moves.

    Args:
        step: of the checkpoint
        changes: [L], grey levels of 255 by which the mean pixel changes from end to end, of every latent
        latents: the m latents that change something
        positions: [m, T], ascending
        images: uint8 [m, B, T, H, W, 3] of B start images
    """

    step: int
    changes: NDArray[np.float64]
    latents: tuple[int, ...]
    positions: NDArray[np.float64]
    images: NDArray[np.uint8]


@dataclass(frozen=True, kw_only=True)
class LatentName:
    """One latent and the name that was found for it.

    Args:
        latent: its place in the code
        given: name of the node it belongs to, None for a residual latent
        change: grey levels by which the mean pixel changes from end to end
        proposed: what the model called the change, in open words; empty where it was not asked
        name: the matched candidate, None where no score follows the position better than by chance
        strength: signed Somers' D of the score given the position; None without a name
        standard_error: of the strength, over start images; None without a name
        p_value: that the strongest of all names on all latents follows shuffled positions so well
        runner_up: the next best candidate and its |strength|; near the first, the latent mixes two things
    """

    latent: int
    given: str | None
    change: float
    proposed: tuple[str, ...] = ()
    name: str | None = None
    strength: float | None = None
    standard_error: float | None = None
    p_value: float | None = None
    runner_up: tuple[str, float] | None = None


def draw_strips(newest: NewestModel, images: ImageSource, num_starts: int, num_positions: int) -> Strips:
    """Strips of every latent that changes the picture.

    Raises:
        DataError: there are no images
    """
    codes = newest.relate(newest.encode(read_some(images, np.random.default_rng([newest.step, 8])))[0])
    starts = codes[:num_starts]
    changes, positions, pictures, latents = [], [], [], []
    for latent in range(codes.shape[1]):
        places = positions_of(codes[:, latent].double().numpy(), num_positions)[0]
        moved = starts.repeat_interleave(num_positions, dim=0)
        moved[:, latent] = starts.new_tensor(places).repeat(len(starts))
        frames = newest.decode(moved)
        frames = frames.reshape(len(starts), num_positions, *frames.shape[1:])
        changes.append(float(np.abs(frames[:, -1].astype(np.float64) - frames[:, 0]).mean()))
        if changes[-1] >= UNCHANGED:
            latents.append(latent)
            positions.append(places)
            pictures.append(frames)
    shape = (0, len(starts), num_positions, newest.model.image_size, newest.model.image_size, 3)
    return Strips(
        newest.step,
        np.array(changes),
        tuple(latents),
        np.array(positions).reshape(len(latents), num_positions),
        np.stack(pictures) if pictures else np.zeros(shape, np.uint8),
    )


def strip_requests(strips: Strips, per_latent: int) -> list[tuple[int, StripRequest]]:
    """Open questions about the start images in which each latent changes most: (row of ``strips.latents``, request)."""
    requests = []
    for row, pictures in enumerate(strips.images):
        change = np.abs(pictures[:, -1].astype(np.float64) - pictures[:, 0]).mean(axis=(1, 2, 3))
        for start in np.argsort(-change, kind="stable")[:per_latent]:
            strip = np.concatenate(list(pictures[start]), axis=1)
            request = StripRequest(
                image=strip.tobytes(), height=strip.shape[0], width=strip.shape[1], num_frames=len(pictures[start])
            )
            requests.append((row, request))
    return requests


def candidate_names(given: Sequence[str], proposed: Sequence[str]) -> tuple[str, ...]:
    """The names to score: those given, then those proposed that may be asked about, each once in whatever case.

    Raises:
        ConfigError: a given name that must not be asked about; one that a model proposed is left out
    """
    names = list(validate_attributes(given))
    for name in proposed:
        try:
            names = list(validate_attributes([*names, name.lower()]))
        except ConfigError:
            continue
    return tuple(names)


def follow_strengths(probabilities: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """How well the score of each name follows each latent: Somers' D [m, C] and its standard error.

    Args:
        probabilities: [m, B, T, C, 6]; NaN where an answer is missing
    """
    shown = [shown_relations(latent) for latent in probabilities]
    shape = (len(shown), probabilities.shape[3])
    return (
        np.array([strength for strength, _ in shown]).reshape(shape),
        np.array([error for _, error in shown]).reshape(shape),
    )


def chance_of(probabilities: NDArray[np.float64], strength: NDArray[np.float64], seed: int = 0) -> NDArray[np.float64]:
    """p-values [m, C]: share of shuffles in which the best of all m * C matches is at least as good.

    Positions are shuffled within each start image, so what tells start images apart stays. Because the best of all is
    compared, one run in twenty has a name by chance, not one name in twenty.
    """
    rng = np.random.default_rng(seed)
    known: NDArray[np.bool_] = np.logical_not(np.isnan(probabilities[..., 0]).any(axis=2))
    p = np.where(known[:, :, None, :, None], probabilities, 0.0)
    best = np.empty(SHUFFLES)
    for shuffle in range(SHUFFLES):
        order = rng.random(p.shape[:3]).argsort(axis=2)
        shuffled = np.take_along_axis(p, order[..., None, None], axis=2)
        tables = shuffled.sum(axis=1).transpose(0, 2, 1, 3)  # [m, C, T, 6]
        best[shuffle] = np.abs(somers_d(tables)).max(initial=0.0)
    reached = (best[:, None, None] >= np.abs(strength)[None]).sum(axis=0)
    return (1 + reached) / (1 + SHUFFLES)


def matched(strength: NDArray[np.float64], p_value: NDArray[np.float64]) -> list[int | None]:
    """The candidate of each latent, one to one, with the greatest sum of |strength|; None where chance would do."""
    value = np.where(p_value <= CHANCE, np.abs(strength), 0.0)
    found: list[int | None] = [None] * len(value)
    for row, column in zip(*linear_sum_assignment(value, maximize=True)):
        found[row] = int(column) if value[row, column] > 0 else None
    return found


def name_latents(
    strips: Strips,
    attributes: Sequence[str],
    node_dim: int,
    candidates: Sequence[str],
    probabilities: NDArray[np.float64],
    proposed: Sequence[Sequence[str]] = (),
) -> tuple[LatentName, ...]:
    """Every latent with its name, in the order of the code.

    Args:
        attributes, node_dim: the named nodes of the model
        candidates: the C names that were scored
        probabilities: [m, B, T, C, 6] digit distributions of the strips' frames
        proposed: open answers about each of ``strips.latents``; empty where none were asked for
    """
    strength, error = follow_strengths(probabilities)
    p_value = chance_of(probabilities, strength)
    match = matched(strength, p_value)
    rows = {latent: row for row, latent in enumerate(strips.latents)}
    names = []
    for latent, change in enumerate(strips.changes):
        node = latent // node_dim
        given = attributes[node] if node < len(attributes) else None
        row = rows.get(latent)
        if row is None:
            names.append(LatentName(latent=latent, given=given, change=float(change)))
            continue
        column = match[row]
        others = [other for other in np.argsort(-np.abs(strength[row]), kind="stable") if other != column]
        runner_up = (candidates[others[0]], float(abs(strength[row, others[0]]))) if others else None
        names.append(
            LatentName(
                latent=latent,
                given=given,
                change=float(change),
                proposed=tuple(proposed[row]) if proposed else (),
                name=None if column is None else candidates[column],
                strength=None if column is None else float(strength[row, column]),
                standard_error=None if column is None else float(error[row, column]),
                p_value=None if column is None else float(p_value[row, column]),
                runner_up=runner_up,
            )
        )
    return tuple(names)
