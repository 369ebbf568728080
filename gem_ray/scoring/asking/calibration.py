"""Contextual calibration (Zhao et al. 2021, arXiv 2102.09690): what a model says of nothing is divided out.

A model that prefers some digits whatever it is shown gives the same preference away about a grey image. Dividing an
answer by the answer about grey, and renormalising, removes it exactly where it is a factor on each digit.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from gem_ray.messages.questions import ScoreAnswer, ScoreRequest

GREY = 128
GREY_SIDE = 64
LEAST_CONTENT_FREE = 1e-3
"""A digit to which grey gives less probability is taken to have this much, or its noise would be multiplied without
bound: an answer is changed by a factor of at most a thousand between two digits."""


def grey_request(attribute: str, *, height: int = GREY_SIDE, width: int = GREY_SIDE, wording: int = 0) -> ScoreRequest:
    """The question about an image without content; ask it in the size and wording of the answers to be calibrated."""
    return ScoreRequest(
        image=bytes([GREY]) * (height * width * 3), height=height, width=width, attribute=attribute, wording=wording
    )


def calibrated(probabilities: NDArray[np.floating], content_free: NDArray[np.floating]) -> NDArray[np.float64]:
    """Answers with the content-free preference divided out.

    Args:
        probabilities: [..., 6] of the digits, summing to 1; NaN where an answer is missing
        content_free: [..., 6] of the same questions about a grey image, broadcast against ``probabilities``; NaN where
            that one is missing

    Returns:
        float64 [..., 6] summing to 1; NaN where either side is missing, since an answer that is not calibrated must not
        be mixed with those that are
    """
    p = np.asarray(probabilities, dtype=np.float64)
    weighted = p / np.maximum(np.asarray(content_free, dtype=np.float64), LEAST_CONTENT_FREE)
    return weighted / weighted.sum(axis=-1, keepdims=True)


def calibrated_answer(answer: ScoreAnswer, content_free: ScoreAnswer | None) -> ScoreAnswer:
    """One answer, calibrated by that about a grey image; missing where either is (see ``calibrated``)."""
    if answer.probabilities is None:
        return answer
    if content_free is None or content_free.probabilities is None:
        return replace(answer, probabilities=None, failure="no_content_free_answer")
    better = calibrated(np.array(answer.probabilities), np.array(content_free.probabilities))
    return replace(answer, probabilities=tuple(better.tolist()))
