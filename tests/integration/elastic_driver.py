"""The driver of the runs in ``test_elastic.py``, with a ledger of the records that every rank trains on.

``python elastic_driver.py JSON``: {"address": of the cluster, "config": the configuration as JSON, "ledger": a folder}.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

from gem_ray.config_json import config_from_json
from gem_ray.storage import Storage

PAUSE_S = {1: 1.5, 2: 0.05}  # of a step by the number of workers: alone it must not be done before it can grow


def drive(settings: dict[str, str]) -> None:
    """``jobs.train`` without a report, in a cluster of several raylets on one machine."""
    from gem_ray.train.ray_environment import TRAIN_ENVIRONMENT
    from gem_ray.train.ray_session import NAMESPACE

    # As on a cluster; without its actor of 400 MB for a page of the dashboard.
    os.environ.update(TRAIN_ENVIRONMENT | {"RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "1"})
    import ray

    from gem_ray.train import trainer

    address = settings["address"]  # several Rays may be up on this machine, and Ray Train looks its controller up there
    ray.init(address=address, namespace=NAMESPACE, runtime_env={"env_vars": {"RAY_ADDRESS": address}})
    train = trainer.train_worker

    def train_with_ledger(loop: dict[str, str]) -> None:
        write_ledger(Path(settings["ledger"]))
        train(loop)

    trainer.train_worker = train_with_ledger
    config = config_from_json(settings["config"])
    trainer.reach_last_step(config, trainer.run_storage(config), Storage(config.data.uri, config.storage))


def write_ledger(folder: Path) -> None:
    """From here on this process writes down which records each of its lanes trains on at each step."""
    import ray.train

    from gem_ray.train import worker

    lane_inputs = worker.lane_inputs
    world = ray.train.get_context().get_world_size()
    path = folder / f"{os.getpid()}.jsonl"

    def noting(config, parts, feed, loaders, batches, step, lanes):
        time.sleep(PAUSE_S[world])
        with path.open("a") as file:
            for lane, batch in zip(lanes, batches):
                file.write(json.dumps({"step": step, "lane": lane, "world": world, "ids": batch.index.tolist()}) + "\n")
        return lane_inputs(config, parts, feed, loaders, batches, step, lanes)

    worker.lane_inputs = noting  # batches are made ahead, also such as no step takes any more


if __name__ == "__main__":
    drive(json.loads(sys.argv[1]))
