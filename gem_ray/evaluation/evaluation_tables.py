"""An evaluation as tables of text, for a terminal and for the report."""

from __future__ import annotations

import math
from typing import NamedTuple

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from gem_ray.evaluation.evaluation_facts import DistanceFacts, EvaluationFacts
from gem_ray.evaluation.health import LEAST_CHANGE
from gem_ray.evaluation.summary import duration, share

SCORE_NAMES = {
    "mig": "MIG",
    "dci_disentanglement": "DCI disentanglement",
    "dci_completeness": "DCI completeness",
    "dci_informativeness_test": "DCI informativeness",
    "factor_vae": "FactorVAE score",
    "beta_vae": "BetaVAE score",
    "sap": "SAP, by a linear SVM",
    "sap_continuous": "SAP, by squared correlation",
    "modularity": "modularity",
    "explicitness": "explicitness",
    "irs": "IRS",
    "tad": "TAD (sum over captured labels)",
    "tad_captured": "  labels captured",
    "total_correlation": "Gaussian total correlation, nats",
    "wasserstein_share": "Gaussian Wasserstein correlation",
    "pairwise_information": "mean pairwise information, nats",
}
COUNTS = ("tad_captured",)
CODE_COLUMNS = {
    "before": "before the graph",
    "after": "after the graph",
    "named_before": "named, before",
    "named_after": "named, after",
}


class FactTable(NamedTuple):
    """One table: the first column of every row is its label, all else are numbers as text; a dash is not known."""

    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str


def evaluation_tables(facts: EvaluationFacts) -> tuple[FactTable, ...]:
    """Scores, nodes, pictures, relations and health of an evaluation; a table about nothing is left out."""
    tables = (_scores(facts), _nodes(facts), _pictures(facts), _relations(facts), _health(facts))
    return tuple(table for table in tables if table.rows)


def print_evaluation(facts: EvaluationFacts, console: Console) -> None:
    """All tables, and loudly what is wrong with the code."""
    console.print(f"[bold]{facts.run}[/], step {facts.step:,}, data {facts.data_uri}")
    for table in evaluation_tables(facts):
        shown = Table(title=table.title, box=SIMPLE_HEAD, title_justify="left", title_style="bold")
        for column, name in enumerate(table.header):
            shown.add_column(name, justify="left" if column == 0 else "right")
        for row in table.rows:
            shown.add_row(*row)
        console.print(shown)
        if table.note:
            console.print(f"  {table.note}", style="dim", markup=False)
    for warning in facts.health.warnings:
        console.print(f"WARNING: {warning}", style="bold red", markup=False)
    if facts.health.ignored:
        console.print("The code of this run is not used: none of its scores means anything.", style="bold red")
    console.print(f"{duration(sum(facts.seconds.values()) - facts.seconds['cpu'])} in all", style="dim")


def _scores(facts: EvaluationFacts) -> FactTable:
    columns = {name: getattr(facts, name) for name in CODE_COLUMNS if getattr(facts, name)}
    rows = [
        (label, *(_number(scores.get(name), 0 if name in COUNTS else 3) for scores in columns.values()))
        for name, label in SCORE_NAMES.items()
        if any(name in scores for scores in columns.values())
    ]
    classes = ", ".join(f"{factor.name} {factor.num_classes}" for factor in facts.factors if factor.scored)
    constant = ", ".join(factor.name for factor in facts.factors if not factor.scored)
    note = f"{facts.images}; classes of the factors: {classes}; reduction of nodes: {facts.reduction}"
    note += f"; left out, never varying: {constant}" if constant else ""
    return FactTable("Disentanglement", ("score", *(CODE_COLUMNS[name] for name in columns)), tuple(rows), note)


def _nodes(facts: EvaluationFacts) -> FactTable:
    rows = [
        (
            node.name,
            _number(node.auroc),
            _number(node.auroc_rel),
            _number(node.spearman),
            _number(node.spearman_rel),
            _number(node.order),
            _number(node.order_rel),
            _number(node.runner_up),
            _number(facts.health.change_per_node.get(node.name), 4),
        )
        for node in facts.nodes
    ]
    header = (
        "node",
        "AUROC",
        "after",
        "|Spearman|",
        "after",
        "order",
        "after",
        "|Spearman| of the next latent",
        "decoder",
    )
    note = (
        "of each node with its own attribute; order: Somers' D given the attribute, 1 where every pair is right; "
        "decoder: mean change of a pixel over the node's span"
    )
    return FactTable("Named nodes", header, tuple(rows), note)


def _pictures(facts: EvaluationFacts) -> FactTable:
    found = facts.reconstruction
    rows = [
        ("MSE", _number(found.mse, 5)),
        ("PSNR, dB", _number(found.psnr_db, 2)),
        ("SSIM", _number(found.ssim)),
        ("share of the variance explained", share(found.explained)),
    ]
    if found.lpips is not None:
        rows += [("LPIPS (AlexNet)", _number(found.lpips))]
    if found.perceptual is not None:
        rows += [(f"patch distance ({found.perceptual_network})", _number(found.perceptual))]
    if facts.distances is not None:
        rows += _distance_rows(facts.distances)
    note = f"reconstructions of {found.num_images:,} held-out images"
    if facts.distances is not None:
        note += (
            f"; distances of {facts.distances.num_images:,} images each to as many of the data; other data: what a "
            "perfect model would have"
        )
    return FactTable("Pictures", ("measure", "value"), tuple(rows), note)


def _distance_rows(found: DistanceFacts) -> list[tuple[str, str]]:
    of = {"samples": "samples", "reconstructions": "reconstructions", "data": "other data"}
    return [
        (f"{name}, {words}", _number(values.get(kind), digits))
        for name, values, digits in zip(found.names, (found.frechet, found.kernel), (2, 4))
        for kind, words in of.items()
    ]


def _relations(facts: EvaluationFacts) -> FactTable:
    rows = [
        (
            one.graph,
            _number(one.agreement.mean_absolute_difference),
            share(one.agreement.sign_agreement),
            share(one.agreement.direction_agreement),
            _number(one.rank_correlation),
            _number(one.slope, 2),
        )
        for one in facts.relations.graphs
    ]
    note = f"against {facts.relations.truth}"
    if facts.relations.fidelity_gap is not None:
        note += f"; relation fidelity: the model's own images are {facts.relations.fidelity_gap:.3f} from the DisGraph"
        if facts.relations.fidelity_noise is not None:
            note += f" (a perfect model: {facts.relations.fidelity_noise:.3f}, by chance)"
    if facts.relations.nodes_before is not None and facts.relations.nodes_after is not None:
        before, after = facts.relations.nodes_before, facts.relations.nodes_after
        note += f"; total correlation of the nodes: {before:.2f} nats before the graph, {after:.2f} after it"
    return FactTable(
        "Relations", ("graph", "mean |error|", "signs", "directions", "rank correlation", "slope"), tuple(rows), note
    )


def _health(facts: EvaluationFacts) -> FactTable:
    health = facts.health
    heeded = sum(change >= LEAST_CHANGE for change in health.change_per_latent)
    rows = (
        ("latents whose mean varies over images", f"{health.active_units} of {health.latent_dim}"),
        ("latents that the decoder heeds", f"{heeded} of {health.latent_dim}"),
        ("KL, nats", _number(health.kl_nats, 1)),
        ("  greatest of one latent", _number(max(health.kl_per_latent), 2)),
    )
    return FactTable("Use of the code", ("measure", "value"), rows, "; ".join(health.warnings))


def _number(value: float | None, digits: int = 3) -> str:
    return "–" if value is None or not math.isfinite(value) else f"{value:,.{digits}f}"
