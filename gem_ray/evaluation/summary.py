"""The summary of a run for a person: the lines printed at its end, and the words and units of the report."""

from __future__ import annotations

import math

from gem_ray.evaluation.facts import GraphFacts, NodeFacts, ScoringFacts, Summary
from gem_ray.evaluation.relations import RelationAgreement


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
        lines += [("  relation fidelity", fidelity_words(graph))]
    if scoring is not None:
        mass = "" if scoring.digit_mass is None else f", digit mass {scoring.digit_mass:.3f}"
        missing = share(scoring.missing / scoring.asked) if scoring.asked else "none"
        lines += [("MLLM", f"{scoring.model}: {scoring.asked:,} questions, {missing} missing{mass}")]
        if scoring.total is not None:
            lines += [("  cost", cost_words(scoring))]
    if "Caution" in summary.mechanisms:
        lines += [("caution", summary.mechanisms["Caution"])]
    lines += [("report", f"{run.uri}/report.html")]
    width = max(len(name) for name, _ in lines)
    return "\n".join(f"{name:<{width}}  {text}" for name, text in lines)


def fidelity_words(graph: GraphFacts) -> str:
    """How far the relations among the model's own images are from the DisGraph, and how far chance would take them."""
    noise = "" if graph.fidelity_noise is None else f" (a perfect model: {graph.fidelity_noise:.3f}, by chance)"
    return f"the model's own images are {graph.fidelity_gap:.3f} from the DisGraph on average{noise}"


def cost_words(scoring: ScoringFacts) -> str:
    """Tokens, seconds, money and use of the questions in one line."""
    total = scoring.total
    if total is None:
        return "not known"
    parts = [f"{total.prompt_tokens:,} tokens"]
    if total.prompt_tokens:
        parts[0] += f" ({share(total.cached_tokens / total.prompt_tokens)} of them cached)"
    parts += [duration(total.seconds), f"{total.stored:,} answers from the store"]
    if total.money:
        parts += [f"{total.money:,.2f} by the configured prices"]
    if scoring.questions_per_useful_change is not None:
        parts += [f"{scoring.questions_per_useful_change:,.0f} questions per useful change"]
    return ", ".join(parts)


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
