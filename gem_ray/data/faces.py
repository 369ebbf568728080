"""Parametric faces whose attribute relations are known: the data set that the project draws itself.

Presence of the six attributes follows a maximum-entropy model with pairwise terms,

    P(s) = exp(sum_i BIAS[i] s_i + sum_{i<j} COUPLING[i, j] s_i s_j) / Z,    s in {0, 1}^6,

fitted by iterative proportional fitting to the 6 marginal and 15 pair frequencies of CelebA (``CELEBA_TOGETHER``; all
202,599 images) and rounded to three decimals: no conditional frequency is off by more than .0003. An absent attribute
is 0, a present one uniform on [``WEAKEST``, 1], on its own. Image i is a pure function of (seed, i).
"""

from __future__ import annotations

from functools import lru_cache
from itertools import product

import numpy as np

from gem_ray.data.portrait import draw_face, sample_nuisance

ATTRIBUTES = ("bangs", "bald", "male", "beard", "blond", "makeup")
WEAKEST = 0.4
"""Smallest strength of an attribute that is present."""

CELEBA_TOGETHER = np.array(
    [
        [0.151575, 0.000000, 0.034304, 0.007389, 0.035020, 0.079680],
        [0.000000, 0.022443, 0.022359, 0.010064, 0.000005, 0.000010],
        [0.034304, 0.022359, 0.416754, 0.164374, 0.008633, 0.001155],
        [0.007389, 0.010064, 0.164374, 0.165060, 0.001930, 0.000355],
        [0.035020, 0.000005, 0.008633, 0.001930, 0.147992, 0.099917],
        [0.079680, 0.000010, 0.001155, 0.000355, 0.099917, 0.386922],
    ]
)
"""Share of CelebA's images that show both attributes (diagonal: one). Bangs, Bald, Male, not No_Beard, Blond_Hair,
Heavy_Makeup."""

BIAS = np.array([-1.511, -7.434, 0.470, -5.778, -1.451, 0.582])
COUPLING = np.array(
    [
        [0.0, -6.936, -0.566, -0.925, 0.323, 0.074],
        [0.0, 0.0, 4.612, 0.153, -4.582, -2.995],
        [0.0, 0.0, 0.0, 5.426, -2.132, -6.074],
        [0.0, 0.0, 0.0, 0.0, -0.843, -1.464],
        [0.0, 0.0, 0.0, 0.0, 0.0, 0.329],
        [0.0, 0.0, 0.0, 0.0, 0.0, 0.0],
    ]
)
STATES = np.array(list(product((0.0, 1.0), repeat=len(ATTRIBUTES))))

__all__ = ["ATTRIBUTES", "draw_face", "face", "sample_attributes", "sample_nuisance", "true_strength"]


@lru_cache(maxsize=1)
def state_probabilities() -> np.ndarray:
    """Probability of each of the 64 ``STATES``, float64 [64]."""
    weight = np.exp(STATES @ BIAS + np.einsum("si,ij,sj->s", STATES, COUPLING, STATES))
    return weight / weight.sum()


@lru_cache(maxsize=1)
def _cumulative() -> np.ndarray:
    return np.cumsum(state_probabilities())


def attributes_from_uniforms(uniforms: np.ndarray) -> np.ndarray:
    """Attribute vectors, float64 [N, 6], from uniform numbers [N, 7]: one for presence, six for strength."""
    state = np.minimum(np.searchsorted(_cumulative(), uniforms[:, 0], side="right"), len(STATES) - 1)
    return STATES[state] * (WEAKEST + (1.0 - WEAKEST) * uniforms[:, 1:])


def sample_attributes(seed: int, index: int) -> np.ndarray:
    """Attributes of face ``index``: float64 [6] in the order of ``ATTRIBUTES``, 0 or in [``WEAKEST``, 1]."""
    return attributes_from_uniforms(np.random.default_rng((seed, index, 0)).random((1, len(ATTRIBUTES) + 1)))[0]


def face(seed: int, index: int, size: int = 64) -> tuple[np.ndarray, np.ndarray]:
    """Face ``index`` of the endless data set ``seed``.

    Returns:
        image uint8 [size, size, 3], attributes float64 [6]
    """
    attributes = sample_attributes(seed, index)
    return draw_face(attributes, sample_nuisance(np.random.default_rng((seed, index, 1))), size), attributes


@lru_cache(maxsize=1)
def _true_strength() -> np.ndarray:
    probabilities = state_probabilities()
    both = np.einsum("s,si,sj->ij", probabilities, STATES, STATES)
    one = np.diag(both)
    neither = 1.0 - one[:, None] - one[None, :] + both
    only_source, only_target = one[:, None] - both, one[None, :] - both
    strength = 2.0 * (both * neither - only_source * only_target) / (1.0 - (1.0 - one) ** 2)[:, None]
    np.fill_diagonal(strength, 0.0)
    strength.setflags(write=False)
    return strength


def true_strength() -> np.ndarray:
    """The true relations: float64 [6, 6], entry [i, j] = Somers' D of attribute j given attribute i (method.md, 2).

    Exact, of the distribution itself. Two faces that both show i are concordant on (i, j) as often as discordant, since
    strengths are independent given presence; so only pairs that differ in the presence of i and of j count above the
    line, and below it all pairs but those that both lack i.
    """
    return _true_strength()
