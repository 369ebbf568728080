"""Graphs as gem_ray 0.1 wrote them (schema 1), in the layers of the present schema.

That schema held one strength for scores and judgements alike, of which only scores were ever pushed, and what
traversals show. It kept no numbers of observations and no version of a traversal: they read as 0.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from gem_ray.graph.encoding import decode_array, decode_ids, decode_integers
from gem_ray.graph.layers import Layer
from gem_ray.messages.graph import EvidenceKind


def layers_of_schema_1(content: dict[str, Any]) -> dict[EvidenceKind, Layer]:
    """Take the evidence out of a schema 1 graph's content; ``strength`` stays there.

    ValueError, TypeError or KeyError where the content is not what it says.
    """
    content.pop("confidence")
    strength = decode_array(content["strength"])
    n = len(strength)
    scored = _layer(content, strength, "standard_error", "changed_step", "evidence")
    has_evidence = np.array([[bool(x) for x in row] for row in scored["evidence"]], dtype=bool).reshape(n, n)
    scored_known = has_evidence | np.isfinite(scored["standard_error"]) | (strength != 0)
    shown = _layer(content, decode_array(content.pop("shown")), "shown_standard_error", "shown_step", "shown_evidence")
    version = decode_integers(content.pop("changed_version"), "changed_version")
    return {
        EvidenceKind.SCORES: _known_only(scored | {"version": version}, scored_known),
        EvidenceKind.TRAVERSALS: _known_only(shown | {"version": np.zeros_like(version)}, ~np.isnan(shown["value"])),
        EvidenceKind.SAMPLES: Layer.unknown(n),
        EvidenceKind.JUDGEMENTS: Layer.unknown(n),
    }


def _layer(content: dict[str, Any], value: NDArray[np.float64], error: str, step: str, ids: str) -> dict[str, Any]:
    return {
        "value": value,
        "standard_error": decode_array(content.pop(error)),
        "step": decode_integers(content.pop(step), step),
        "evidence": decode_ids(content.pop(ids)),
        "num_observations": np.zeros_like(value, dtype=np.int64),
    }


def _known_only(arrays: dict[str, Any], known: NDArray[np.bool_]) -> Layer:
    known = known & ~np.eye(len(known), dtype=bool)
    return Layer(
        **arrays
        | {
            "value": np.where(known, arrays["value"], np.nan),
            "standard_error": np.where(known, arrays["standard_error"], np.inf),
        }
    )
