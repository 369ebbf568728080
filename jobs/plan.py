"""``python -m jobs.plan plan.cluster_file=cluster/aws.yaml cluster=aws``: what a job needs, before it is started."""

from __future__ import annotations

from gem_ray.config import GemConfig
from jobs.compose import run_job

PAGE_WIDTH = 132  # columns of the tables in a file or pipe
UNSATISFIABLE = 2
PURPOSE = (
    "Say which part of a job runs on which nodes, whether it fits, how long it takes and what it costs, from the file\n"
    "of a cluster (plan.cluster_file) and the job's own options. Status 2 where it cannot work, with both sides named."
)


def main(config: GemConfig) -> None:
    """Print the plan; nothing is started."""
    from rich.console import Console

    from gem_ray.planning.plan import cluster_of, make_plan
    from gem_ray.planning.tables import print_plan

    plan = make_plan(config, cluster_of(config))
    console = Console()
    print_plan(plan, console if console.is_terminal else Console(width=max(console.width, PAGE_WIDTH)))
    if plan.problems:
        raise SystemExit(UNSATISFIABLE)


if __name__ == "__main__":
    run_job("jobs.plan", PURPOSE, main)
