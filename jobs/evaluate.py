"""``python -m jobs.evaluate run.name=NAME``: score a run's codes, pictures and relations; no Ray is started."""

from __future__ import annotations

from dataclasses import replace

from gem_ray.config import DataConfig, GemConfig
from jobs.compose import run_job

PAGE_WIDTH = 120  # columns of the tables in a file or pipe


def main(config: GemConfig) -> None:
    """Evaluate under the run's own configuration, but the ``run``, ``storage``, ``evaluate`` and ``data.uri`` given."""
    from rich.console import Console

    from gem_ray.evaluation.stored_run import stored_config
    from gem_ray.storage import Storage

    run = Storage(f"{config.run.uri}/{config.run.name}", config.storage)
    stored = replace(stored_config(run, config), evaluate=config.evaluate)
    uri = stored.data.uri if config.data.uri == DataConfig().uri else config.data.uri

    from gem_ray.evaluation.evaluation_tables import print_evaluation  # seconds of imports that a typo need not cost
    from gem_ray.evaluation.scoring_of_codes import evaluate_codes

    facts = evaluate_codes(stored, run, Storage(uri, stored.storage), say=lambda text: print(text, flush=True))
    console = Console()
    print_evaluation(facts, console if console.is_terminal else Console(width=max(console.width, PAGE_WIDTH)))
    print(f"{run.uri}/evaluation.json")


if __name__ == "__main__":
    run_job("jobs.evaluate", "Score a run's codes, pictures and relations, without Ray.", main)
