"""Somers' D between attributes: from scores of images to directed, signed strengths with standard errors.

Convention, everywhere: ``strength[i, j]`` is "i acts on j", Somers' D(A_j | A_i) = (Nc - Nd) / (pairs not tied on i),
that is ``scipy.stats.somersd(A_i, A_j)``. For attributes that are absent or present it is P(j | i) - P(j | not i);
CelebA gives .39 for male on beard and .69 for beard on male. Both directions share their numerator, so they differ by
ties alone: keep the ties (GEM paper, section 3.2; its printed formula is the transpose of ours).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gem_ray.errors import GraphError

CONSTANT = 1e-9  # an attribute whose digit distribution varies less than this over the images shows no relation
CHUNK_BYTES = 32_000_000  # bound of the temporaries of one chunk of images


@dataclass(frozen=True, kw_only=True)
class Relations:
    """Strength of every directed pair, all arrays [n, n] indexed [source, target].

    Args:
        strength: float64 in [-1, 1]; 0 on the diagonal and where source or target is constant
        standard_error: float64 >= 0; infinite on the diagonal, where source or target is constant, and where the
            strength hangs on a single image
        num_observations: int64, images in which both attributes are known
    """

    strength: NDArray[np.float64]
    standard_error: NDArray[np.float64]
    num_observations: NDArray[np.int64]


def somers_d(table: NDArray[np.float64]) -> NDArray[np.float64]:
    """Somers' D of columns given rows.

    Args:
        table: [..., rows, columns] counts or probabilities, both scales ascending

    Returns:
        [...] in [-1, 1]; 0 where all mass lies in one row (the relation is not defined)
    """
    rows = table.sum(-1)
    not_tied = rows.sum(-1) ** 2 - (rows**2).sum(-1)
    concordance = (table * _signs(table)).sum((-2, -1))
    return np.divide(concordance, not_tied, out=np.zeros_like(not_tied, dtype=np.float64), where=not_tied > 0)


def relations_from_probabilities(probabilities: NDArray[np.floating]) -> Relations:
    """Relations of digit distributions, by the expected contingency table of each pair.

    T_ij[a, b] is the mean over images of p_i(a) p_j(b); its Somers' D keeps ties, so the asymmetry, and is less noisy
    than that of the most likely digit. Exact in O(N n^2 digits^2), with temporaries bounded by ``CHUNK_BYTES``.

    Args:
        probabilities: [N, n, digits] of every image and attribute, summing to 1 over the digits; a row of NaN where the
            answer is missing (left out pair by pair)

    Raises:
        GraphError: a row that is neither a distribution nor missing
    """
    p, known = _check_probabilities(probabilities)
    num_images, n, digits = p.shape
    present = known.astype(np.float64)
    count = present.T @ present
    flat = p.reshape(num_images, n * digits)
    tables = (flat.T @ flat).reshape(n, digits, n, digits).transpose(0, 2, 1, 3)
    tables /= np.maximum(count, 1.0)[:, :, None, None]
    rows = tables.sum(-1)  # [i, j, a]: distribution of i over the images in which j is known too
    rows_square = (rows**2).sum(-1)
    square = (p**2).sum(-1)
    varies = square.T @ present / np.maximum(count, 1.0) - rows_square > CONSTANT
    defined = varies & varies.T & ~np.eye(n, dtype=bool)
    signs = _signs(tables)
    concordance = (tables * signs).sum((-2, -1))
    strength = np.where(defined, somers_d(tables), 0.0)

    # Leaving image k out, T becomes (N T - p_i p_j') / (N - 1). The image against itself is neither concordant nor
    # discordant on average, so with N^2 pairs the numerator loses 2 N p_i' signs p_j and no more.
    by_source = signs.transpose(0, 2, 1, 3).reshape(n, digits, n * digits)
    jackknife = _Jackknife(strength, count)
    step = max(1, CHUNK_BYTES // (8 * n * n * digits))
    for start in range(0, num_images, step):
        part = slice(start, start + step)
        chunk = p[part].transpose(1, 0, 2)  # [i, c, a]
        acting = (chunk @ by_source).reshape(n, -1, n, digits)  # [i, c, j, b]
        own = np.einsum("icjb,jcb->cij", acting, chunk)
        own_tied = (chunk @ rows.transpose(0, 2, 1)).transpose(1, 0, 2)
        numerator = count**2 * concordance - 2 * count * own
        tied = count**2 * rows_square - 2 * count * own_tied + square[part, :, None]
        both = known[part, :, None] & known[part, None, :]
        jackknife.add(numerator, (count - 1) ** 2 - tied, both)
    return Relations(
        strength=strength,
        standard_error=np.where(defined, jackknife.standard_error(), np.inf),
        num_observations=count.astype(np.int64),
    )


def relations_from_scores(probabilities: NDArray[np.floating], estimator: str) -> Relations:
    """Relations of scores by one of the estimators of ``scoring.estimator``.

    Args:
        probabilities: [N, n, digits], as in ``relations_from_probabilities``
        estimator: ``expected_table``, or Somers' D of the ``most_likely`` digit (GEM paper), of the ``rounded``
            expectation or of the real-valued ``expectation``

    Raises:
        GraphError: another estimator, or a row that is neither a distribution nor missing
    """
    if estimator == "expected_table":
        return relations_from_probabilities(probabilities)
    p, known = _check_probabilities(probabilities)
    digits = np.arange(p.shape[-1], dtype=np.float64)
    if estimator == "most_likely":
        values = digits[p.argmax(-1)]
    elif estimator == "rounded":
        values = np.rint(p @ digits)
    elif estimator == "expectation":
        values = p @ digits
    else:
        raise GraphError(
            f"estimator {estimator!r} is not known; choose expected_table, most_likely, rounded or expectation"
        )
    return relations_from_values(np.where(known, values, np.nan))


def somers_d_of_values(x: NDArray[np.floating], y: NDArray[np.floating]) -> float:
    """Somers' D(y | x) of real-valued samples [N], exact with ties, in O(N log N); 0 where x is constant."""
    balance, tie_size = _pair_balance(np.asarray(x), np.asarray(y))
    not_tied = len(balance) ** 2 - int(tie_size.sum())
    return float(balance.sum() / not_tied) if not_tied else 0.0


def relations_from_values(values: NDArray[np.floating]) -> Relations:
    """Relations of real-valued attributes (true values, rounded or expected scores), with jackknife standard errors.

    Args:
        values: [N, n]; NaN where missing (left out pair by pair)

    Raises:
        GraphError: an infinite value
    """
    values = np.asarray(values, dtype=np.float64)
    if values.ndim != 2 or np.isinf(values).any():
        raise GraphError(f"values must be finite or NaN, of shape [images, attributes], not of shape {values.shape}")
    known = ~np.isnan(values)
    n = values.shape[1]
    count = known.T.astype(np.int64) @ known.astype(np.int64)
    strength = np.zeros((n, n))
    standard_error = np.full((n, n), np.inf)
    for i in range(n):
        for j in range(i + 1, n):
            both = known[:, i] & known[:, j]
            x, y = values[both, i], values[both, j]
            if both.sum() < 2 or np.ptp(x) == 0 or np.ptp(y) == 0:
                continue
            balance, ties_x = _pair_balance(x, y)
            ties_y = _tie_sizes(y)
            for source, target, ties in ((i, j, ties_x), (j, i, ties_y)):
                not_tied = len(x) ** 2 - float(ties.sum())
                strength[source, target] = balance.sum() / not_tied
                jackknife = _Jackknife(strength[source, target], np.asarray(len(x)))
                jackknife.add(balance.sum() - 2.0 * balance, not_tied - 2.0 * (len(x) - ties), np.ones(len(x), bool))
                standard_error[source, target] = jackknife.standard_error()
    return Relations(strength=strength, standard_error=standard_error, num_observations=count)


class _Jackknife:
    """Sums of delete-one estimates minus the whole estimate, chunk by chunk.

    The error is never below 1/N: a table without one counterexample would otherwise claim an error of 0. It is
    infinite where leaving out one image leaves no pair, that is, where a single image carries the whole relation.
    """

    def __init__(self, estimate: NDArray[np.floating], count: NDArray[np.number]) -> None:
        self.estimate = np.asarray(estimate)
        self.count = np.asarray(count)
        self.total = np.zeros_like(self.estimate)
        self.squares = np.zeros_like(self.estimate)
        self.undefined = np.zeros(self.estimate.shape, dtype=bool)

    def add(self, numerator: NDArray[np.floating], denominator: NDArray[np.floating], part: NDArray[np.bool_]) -> None:
        """Take in the images of the leading axis; ``part`` says which of them belong to a pair's sample."""
        defined = denominator > CONSTANT * self.count**2
        ratio = np.divide(numerator, denominator, out=np.zeros_like(denominator), where=defined)
        difference = np.where(part & defined, ratio - self.estimate, 0.0)
        self.total += difference.sum(0)
        self.squares += (difference**2).sum(0)
        self.undefined |= (part & ~defined).any(0)

    def standard_error(self) -> NDArray[np.float64]:
        count = np.maximum(self.count, 2.0)
        variance = (count - 1) / count * (self.squares - self.total**2 / count)
        error = np.maximum(np.sqrt(np.maximum(variance, 0.0)), 1.0 / count)
        return np.where(self.undefined | (self.count < 2), np.inf, error)


def _signs(table: NDArray[np.float64]) -> NDArray[np.float64]:
    """[..., a, b]: mass concordant minus mass discordant with an observation in cell (a, b)."""
    rows, columns = table.shape[-2:]
    return _order(rows) @ table @ _order(columns).T


def _order(size: int) -> NDArray[np.float64]:
    return np.sign(np.subtract.outer(np.arange(size), np.arange(size))).astype(np.float64)


def _check_probabilities(probabilities: NDArray[np.floating]) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    p = np.asarray(probabilities, dtype=np.float64)
    if p.ndim != 3 or p.shape[2] < 2:
        raise GraphError(f"probabilities must have the shape [images, attributes, digits], not {p.shape}")
    missing: NDArray[np.bool_] = np.all(np.isnan(p), axis=-1)
    p = np.where(missing[..., None], 0.0, p)
    good = missing | ((p >= 0).all(-1) & (np.abs(p.sum(-1) - 1) < 1e-3))
    if not good.all():
        image, attribute = np.argwhere(~good)[0]
        raise GraphError(
            f"probabilities of image {image}, attribute {attribute} are {p[image, attribute].tolist()}: they must sum "
            "to 1 and not be negative; mark a missing answer by NaN in every digit"
        )
    return p / np.where(missing, 1.0, p.sum(-1))[..., None], ~missing


def _tie_sizes(x: NDArray[np.floating]) -> NDArray[np.int64]:
    """[N]: how many values equal x_k, itself included."""
    _, index, counts = np.unique(x, return_inverse=True, return_counts=True)
    return counts[index]


def _pair_balance(x: NDArray[np.floating], y: NDArray[np.floating]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """[N]: for each k the pairs concordant minus those discordant with it; and the size of its tie group in x.

    The product of the signs of x_k - x_l and y_k - y_l, each written as [l < k] + [l <= k] - 1, takes four counts of
    points to the lower left of k, answered together by a wavelet matrix over y in the order of x.
    """
    n = len(x)
    _, rank_y, counts_y = np.unique(y, return_inverse=True, return_counts=True)
    up_to_y = np.cumsum(counts_y)[rank_y]
    below_y = up_to_y - counts_y[rank_y]
    order = np.argsort(x, kind="stable")
    below_x = np.searchsorted(x[order], x, side="left")
    up_to_x = np.searchsorted(x[order], x, side="right")
    prefixes = np.concatenate([below_x, below_x, up_to_x, up_to_x])
    limits = np.concatenate([rank_y, rank_y + 1, rank_y, rank_y + 1])
    corners = _count_below(rank_y[order], prefixes, limits).reshape(4, n).sum(0)
    return corners + n - (below_x + up_to_x) - (below_y + up_to_y), up_to_x - below_x


def _count_below(ranks: NDArray[np.int64], prefixes: NDArray[np.int64], limits: NDArray[np.int64]) -> NDArray[np.int64]:
    """For each query the number of ``ranks[:prefix]`` below ``limit``; one pass over the bits of the ranks."""
    counts = np.zeros(len(prefixes), dtype=np.int64)
    left, right = np.zeros_like(prefixes), prefixes
    for bit in reversed(range(int(ranks.max(initial=0) + 1).bit_length())):
        ones = (ranks >> bit) & 1
        zeros_before = np.concatenate([[0], np.cumsum(1 - ones)])
        left_zeros, right_zeros = zeros_before[left], zeros_before[right]
        up = ((limits >> bit) & 1).astype(bool)
        counts += np.where(up, right_zeros - left_zeros, 0)
        left = np.where(up, zeros_before[-1] + left - left_zeros, left_zeros)
        right = np.where(up, zeros_before[-1] + right - right_zeros, right_zeros)
        ranks = np.concatenate([ranks[ones == 0], ranks[ones == 1]])
    return counts
