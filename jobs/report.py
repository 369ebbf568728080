"""``python -m jobs.report run.name=NAME``: write the report of a run again, from its newest checkpoint."""

from __future__ import annotations

from gem_ray.config import GemConfig
from jobs.compose import run_job


def main(config: GemConfig) -> None:
    """Evaluate the run under its own configuration; only ``run`` and ``storage`` are taken from the command line."""
    from gem_ray.evaluation.stored_run import stored_config
    from gem_ray.storage import Storage

    run = Storage(f"{config.run.uri}/{config.run.name}", config.storage)
    stored = stored_config(run, config)

    from gem_ray.evaluation.report import format_summary, write_report  # seconds of imports that a typo need not cost

    print(format_summary(write_report(run, Storage(stored.data.uri, stored.storage), stored)))


if __name__ == "__main__":
    run_job("jobs.report", "Write the report of a run again, from its newest checkpoint.", main)
