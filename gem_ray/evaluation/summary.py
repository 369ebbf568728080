"""What a run amounts to, in numbers: the content of ``summary.json``, and the table printed at the end."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from typing import Any

from gem_ray.evaluation.relations import RelationAgreement


@dataclass(frozen=True, kw_only=True)
class RunFacts:
    """What was trained on what, how far and how fast."""

    name: str
    uri: str
    step: int
    steps: int
    epochs: float
    training_s: float
    images_per_s: float
    num_workers: int
    parameters: int
    data_uri: str
    data_source: str
    num_images: int
    num_held_out: int
    image_size: int
    device: str
    versions: dict[str, str]


@dataclass(frozen=True, kw_only=True)
class QualityFacts:
    """Reconstructions of the held-out images, pixels in [0, 1]; and how much of the code is in use.

    Args:
        explained: 1 - mse / mse of answering with the mean image
        active_units: latents whose mean varies over images (Burda et al. 2015)
        kl_nats: of all latents together, mean over the held-out images
        kl_per_latent: nats, named nodes first
        change_per_latent: mean absolute change of a pixel over the span of one entry of z_rel; 0 where the decoder
            ignores it
    """

    mse: float
    psnr_db: float
    ssim: float
    explained: float
    latent_dim: int
    active_units: int
    kl_nats: float
    kl_per_latent: tuple[float, ...]
    change_per_latent: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class NodeFacts:
    """One named node.

    Args:
        kl_nats: over all its dimensions
        active: whether the mean of any of its dimensions varies over images
        change_alone: mean absolute change of a pixel over its span, in [0, 1], moving z_rel of this node alone
        change_through_graph: the same moving z and letting related attributes follow
        match_strength, order_of_scores: |Spearman| with the MLLM's digits of its attribute, and Somers' D of the node
            given them; None where there are no scores
        true_correlation, order_of_truth: the same with the true attribute on the held-out images; None where it is not
            known
        best_match: the attribute it would be named after by the Hungarian match, None without scores and truth
    """

    name: str
    kl_nats: float
    active: bool
    change_alone: float
    change_through_graph: float
    match_strength: float | None
    order_of_scores: float | None
    true_correlation: float | None
    order_of_truth: float | None
    best_match: str | None


@dataclass(frozen=True, kw_only=True)
class RelationFacts:
    """One directed edge; None where nothing is known."""

    source: str
    target: str
    strength: float
    standard_error: float | None
    confidence: float
    refined: float
    shown: float | None
    truth: float | None
    evidence: str
    changed_version: int
    changed_step: int


@dataclass(frozen=True, kw_only=True)
class GraphFacts:
    """The DisGraph that training used at the end.

    Args:
        known: share of directed edges with evidence
        agreement: with the true relations; None where they are not known
        refined_agreement: the same for the adjacency that the model refined
        fidelity_gap: mean |shown - strength|; None where the model's traversals were not scored
    """

    version: int
    digest: str
    known: float
    agreement: RelationAgreement | None
    refined_agreement: RelationAgreement | None
    fidelity_gap: float | None
    relations: tuple[RelationFacts, ...]


@dataclass(frozen=True, kw_only=True)
class ScoringFacts:
    """What the MLLM was asked; None where it is not known."""

    model: str
    asked: int
    missing: int
    images_scored: int
    digit_mass: float | None


@dataclass(frozen=True, kw_only=True)
class Summary:
    """All numbers of a report. ``scoring`` is None for a run without an MLLM."""

    run: RunFacts
    quality: QualityFacts
    nodes: tuple[NodeFacts, ...]
    graph: GraphFacts
    scoring: ScoringFacts | None
    mechanisms: dict[str, str]

    def to_json(self) -> str:
        """Strict JSON; what is not a number is null."""
        return json.dumps(_plain(asdict(self)), indent=2, allow_nan=False)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def format_summary(summary: Summary) -> str:
    """The summary for a terminal: a few aligned lines."""
    run, quality, graph, scoring = summary.run, summary.quality, summary.graph, summary.scoring
    active = sum(node.active for node in summary.nodes)
    lines = [
        (
            "run",
            f"{run.name}: step {run.step:,} of {run.steps:,}, {run.epochs:.1f} epochs of {run.num_images:,} images",
        ),
        (
            "speed",
            f"{duration(run.training_s)} of training at {run.images_per_s:,.0f} images/s, {run.num_workers} workers",
        ),
        (
            "reconstruction",
            f"PSNR {quality.psnr_db:.2f} dB, SSIM {quality.ssim:.3f}, MSE {quality.mse:.5f}, "
            f"{share(quality.explained)} of the variance ({run.num_held_out} held-out images)",
        ),
        (
            "codes",
            f"{quality.active_units} of {quality.latent_dim} latents active, {active} of {len(summary.nodes)} nodes; "
            f"KL {quality.kl_nats:.1f} nats",
        ),
        ("nodes' order", "  ".join(f"{node.name} {_node_number(node)}" for node in summary.nodes)),
        ("DisGraph", f"version {graph.version}, {share(graph.known)} of the edges known"),
    ]
    if graph.agreement is not None:
        lines += [("  against the truth", _agreement(graph.agreement))]
    if graph.refined_agreement is not None:
        lines += [("  refined by the model", _agreement(graph.refined_agreement))]
    if graph.fidelity_gap is not None:
        lines += [("  shown by the model", f"{graph.fidelity_gap:.3f} from the DisGraph on average")]
    if scoring is not None:
        mass = "" if scoring.digit_mass is None else f", digit mass {scoring.digit_mass:.3f}"
        missing = share(scoring.missing / scoring.asked) if scoring.asked else "none"
        lines += [("MLLM", f"{scoring.model}: {scoring.asked:,} questions, {missing} missing{mass}")]
    if "Caution" in summary.mechanisms:
        lines += [("caution", summary.mechanisms["Caution"])]
    lines += [("report", f"{run.uri}/report.html")]
    width = max(len(name) for name, _ in lines)
    return "\n".join(f"{name:<{width}}  {text}" for name, text in lines)


def _node_number(node: NodeFacts) -> str:
    number = node.order_of_truth if node.order_of_truth is not None else node.order_of_scores
    return "?" if number is None else f"{number:.2f}"


def _agreement(found: RelationAgreement) -> str:
    difference = found.mean_absolute_difference
    return (
        f"mean absolute difference {'not known' if difference is None else f'{difference:.3f}'} of Somers' D, "
        f"sign agreement {share(found.sign_agreement)}, direction agreement {share(found.direction_agreement)} "
        "of pairs with a true asymmetry over 0.1"
    )


def share(value: float | None) -> str:
    """A share as a percentage; "not known" for None and NaN."""
    return "not known" if value is None or math.isnan(value) else f"{100 * value:.3g}\u00a0%"


def duration(seconds: float) -> str:
    """Seconds as 1 h 02 min, 3 min 20 s or 45 s."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02d} min"
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"
