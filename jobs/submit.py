"""``python -m jobs.submit cluster=aws ...``: check a job here, send it to a cluster, follow it, end with its status."""

from __future__ import annotations

import sys
from pathlib import Path

from gem_ray.config import GemConfig
from jobs.compose import run_job

ROOT = Path(__file__).parent.parent
PURPOSE = (
    "Send a job to a Ray cluster: submit.job=train|prepare|table|evaluate, and that job's own options.\n"
    "Everything is checked before anything is sent. The log is followed, and the status is the job's own (2 also\n"
    "where nothing was sent, 130 where the job was stopped or left). A run under way is not sent again; one\n"
    "that was stopped, failed or was killed goes on from its last checkpoint when it is sent again.\n"
    "submit.action=follow and submit.action=stop, with the options it was sent with, are for a job under way."
)


def main(config: GemConfig) -> None:
    """Send, follow or stop, and end with the job's status."""
    from gem_ray.submission.submit import submit

    overrides = [argument for argument in sys.argv[1:] if not argument.startswith("-")]
    if config.submit.job == "table":
        from gem_ray.submission.entrypoint import job_overrides, placed
        from jobs.table import compose_cells

        sent = placed(config)
        compose_cells(sent, job_overrides(sent, overrides))  # cells have configurations of their own
    raise SystemExit(submit(config, overrides, ROOT))


if __name__ == "__main__":
    run_job("jobs.submit", PURPOSE, main)
