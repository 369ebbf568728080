"""Which numbers of a cell a table shows, what they are called, and how they are had from ``evaluation.json``.

Everything numeric in it goes to ``cells.csv``; ``METRICS`` are those that a person compares methods by.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from gem_ray.evaluation.evaluation_facts import EvaluationFacts

UDR = "udr"
NOT_MEASURED = {"settings", "factors", "seconds", "step", "seed"}


@dataclass(frozen=True)
class Metric:
    """One column of the Markdown table and one panel of the figures.

    Args:
        key: dotted path in the cell's numbers
        label: as short as a column needs
        higher_is_better: None where neither is: a description, not a score
        theme: which table of a data set it stands in
        decimals: shown
    """

    key: str
    label: str
    higher_is_better: bool | None
    theme: str
    decimals: int = 3

    @property
    def arrow(self) -> str:
        """Which way is better."""
        return {True: "↑", False: "↓", None: ""}[self.higher_is_better]

    @property
    def title(self) -> str:
        """Label and arrow."""
        return f"{self.label} {self.arrow}".rstrip()


CODES, IMAGES = "Codes", "Images and relations"
METRICS = (
    Metric("before.mig", "MIG", True, CODES),
    Metric("before.dci_disentanglement", "DCI-D", True, CODES),
    Metric("before.dci_completeness", "DCI-C", True, CODES),
    Metric("before.dci_informativeness_test", "DCI-I", True, CODES),
    Metric("before.factor_vae", "FactorVAE", True, CODES),
    Metric("before.sap", "SAP", True, CODES),
    Metric("before.tad", "TAD", True, CODES),
    Metric(UDR, "UDR", True, CODES),
    Metric("after.mig", "MIG, z_rel", True, CODES),
    Metric("after.dci_disentanglement", "DCI-D, z_rel", True, CODES),
    Metric("after.tad", "TAD, z_rel", True, CODES),
    Metric("reconstruction.mse", "MSE", False, IMAGES, 4),
    Metric("reconstruction.psnr_db", "PSNR, dB", True, IMAGES, 2),
    Metric("reconstruction.ssim", "SSIM", True, IMAGES),
    Metric("reconstruction.lpips", "LPIPS", False, IMAGES),
    Metric("reconstruction.perceptual", "perceptual", False, IMAGES),
    Metric("distances.frechet.samples", "Fréchet, samples", False, IMAGES, 2),
    Metric("relations.graphs.refined.agreement.mean_absolute_difference", "graph error", False, IMAGES),
    Metric("relations.graphs.recombined images.agreement.mean_absolute_difference", "relation error", False, IMAGES),
    Metric("relations.graphs.recombined images.slope", "slope", None, IMAGES, 2),
    Metric("relations.graphs.prior samples.agreement.mean_absolute_difference", "relation error, prior", False, IMAGES),
    Metric("relations.nodes_before", "TC of nodes", False, IMAGES),
    Metric("health.active_units", "active latents", None, IMAGES, 1),
)
MEANINGS = (
    "Codes are those before the graph (z) unless marked z_rel (after it). MSE, PSNR, SSIM and perceptual distance "
    "are of reconstructions of held-out images; the Fréchet distance is of images decoded from the prior. Graph "
    "error is the mean absolute difference of the relations that the model has refined and the true ones (Somers' "
    "D); without a graph it is that of no relations. Relation error is the same of what the shipped MLLM reads in "
    "images decoded from nodes of different images, or from the prior; slope is how strong those relations are "
    "(1: as strong as the true ones). TC of nodes is the Gaussian total correlation of the named nodes before the "
    "graph, in nats. Active latents vary over images. Named nodes that scores are aligned with come back in every "
    "seed: compare UDR among methods of the same alignment only."
)


def numbers_of(facts: EvaluationFacts) -> dict[str, float]:
    """Every number of an evaluation by its dotted path, but for how it was computed."""
    return flat_numbers({name: value for name, value in asdict(facts).items() if name not in NOT_MEASURED})


def flat_numbers(tree: Mapping[str, Any], prefix: str = "") -> dict[str, float]:
    """Numbers of nested mappings by dotted path; in lists of mappings that have a "name" or "graph", by that.

    Texts, truth values, None and lists of numbers are left out.
    """
    found: dict[str, float] = {}
    for name, value in tree.items():
        path = f"{prefix}{name}"
        if isinstance(value, list | tuple):
            value = {str(one.get("name") or one.get("graph")): one for one in value if isinstance(one, dict)}
        if isinstance(value, dict):
            found |= flat_numbers(value, f"{path}.")
        elif isinstance(value, int | float) and not isinstance(value, bool):
            found[path] = float(value)
    return found


def shown(numbers_of_cells: list[dict[str, float]]) -> tuple[Metric, ...]:
    """The metrics of ``METRICS`` that at least one cell has."""
    return tuple(metric for metric in METRICS if any(metric.key in numbers for numbers in numbers_of_cells))
