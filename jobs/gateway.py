"""``python -m jobs.gateway run.name=NAME``: scores and relations of a run that is up, over HTTP."""

from __future__ import annotations

from gem_ray.config import GemConfig
from jobs.compose import run_job


def main(config: GemConfig) -> None:
    """Serve the run under its own configuration; ``run``, ``storage`` and ``gateway`` are of the command line."""
    from contextlib import suppress
    from dataclasses import replace

    from gem_ray.config_json import config_from_json
    from gem_ray.errors import DataError
    from gem_ray.storage import Storage
    from gem_ray.train.ray_session import running_ray

    run = Storage(f"{config.run.uri}/{config.run.name}", config.storage)
    try:
        stored = config_from_json(run.read_bytes("config.json"))
    except FileNotFoundError as error:
        raise DataError(f"there is no run at {run.uri}; set run.uri and run.name to those of its training") from error
    stored = replace(stored, run=config.run, storage=config.storage)
    with running_ray(config):
        # Imports Ray, which reads its environment as it is imported: the session has set it by now.
        from gem_ray.gateway.server import run_gateway

        # A Ctrl-C comes as KeyboardInterrupt, except where a shell has started this in the background.
        with suppress(KeyboardInterrupt):
            run_gateway(stored, config.gateway)
        print("\nthe gateway has ended; the run goes on")


if __name__ == "__main__":
    run_job("jobs.gateway", "Answer for a run that is up over HTTP: scores of images, relations, the graph.", main)
