"""``python -m jobs.relations run.name=NAME``: the relations of a run, ranked, with what stands behind each."""

from __future__ import annotations

from gem_ray.config import GemConfig
from jobs.compose import run_job

PAGE_WIDTH = 132  # columns of the table in a file or pipe


def main(config: GemConfig) -> None:
    """Print the ranked table and draw it into the run's ``figures/``; a run in progress is not disturbed."""
    from rich.console import Console

    from gem_ray.evaluation.ranking import ranked_pairs
    from gem_ray.evaluation.ranking_figures import ranking_figure, ranking_table
    from gem_ray.evaluation.stored_graph import newest_graph
    from gem_ray.storage import Storage

    run = Storage(f"{config.run.uri}/{config.run.name}", config.storage)
    graph = newest_graph(run)
    pairs = ranked_pairs(graph)
    console = Console()
    if not console.is_terminal:
        console = Console(width=max(console.width, PAGE_WIDTH))
    console.print(ranking_table(pairs, graph.version))
    run.write_bytes("figures/ranking.png", ranking_figure(pairs, graph.version))
    print(f"{run.uri}/figures/ranking.png")


if __name__ == "__main__":
    run_job("jobs.relations", "Rank the relations of a run, strongest first, and tell which may be noise.", main)
