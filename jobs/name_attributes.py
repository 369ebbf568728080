"""``python -m jobs.name_attributes run.name=NAME``: what each latent of a trained model changes, in words."""

from __future__ import annotations

from gem_ray.config import GemConfig
from jobs.compose import run_job


def main(config: GemConfig) -> None:
    """Draw strips of the newest checkpoint, ask the MLLM, print the table and draw it into the run's ``figures/``."""
    from dataclasses import replace

    from rich.console import Console

    from gem_ray.evaluation.naming_figures import naming_figure, naming_table, unnamed_words
    from gem_ray.evaluation.stored_run import stored_config
    from gem_ray.scoring.looking.codes import DataImages
    from gem_ray.scoring.looking.discovery import discover
    from gem_ray.storage import Storage

    run = Storage(f"{config.run.uri}/{config.run.name}", config.storage)
    stored = stored_config(run, config)
    naming = config.naming
    scoring = stored.scoring if naming.model is None else replace(config.scoring, model=naming.model)
    images = DataImages(Storage(stored.data.uri, stored.storage), stored.data.holdout)
    found = discover(run, images, naming, scoring)
    console = Console()
    if not console.is_terminal:
        console = Console(width=max(console.width, PAGE_WIDTH))
    console.print(naming_table(found))
    print(" ".join(filter(None, (unnamed_words(found), f"{found.cost.asked:,} questions were asked."))))
    run.write_bytes("figures/naming.png", naming_figure(found))
    print(f"{run.uri}/figures/naming.png")


PAGE_WIDTH = 120  # columns of the table in a file or pipe

if __name__ == "__main__":
    run_job("jobs.name_attributes", "Name what each latent of a trained model changes in the picture.", main)
