"""What the tests of this folder run on a cluster: it joins through the node it names, as if on a machine of its own.

``python driver.py ACTION ADDRESS HOST FOLDER ...``: ``train STEPS [WORKERS]``, ``train_placed STEPS`` with an MLLM and
a role for each part, ``train_and_push STEPS``, ``push`` some, ``look`` for the store, or ``demand ROLE``, a node of it.
What is acknowledged goes to FOLDER/acknowledged.
"""

from __future__ import annotations

import sys
import threading
import time
from pathlib import Path

import numpy as np
import ray

from gem_ray.config import (
    DataConfig,
    GemConfig,
    GraphConfig,
    ModelConfig,
    ObjectiveConfig,
    PlacementConfig,
    PrepareConfig,
    RunConfig,
    ScoringConfig,
    TrainConfig,
)
from gem_ray.errors import GraphError
from gem_ray.graph.store import NAMESPACE, StoreClient, connect_store, start_store
from gem_ray.messages.graph import EdgeUpdate, EvidenceKind, Push
from gem_ray.train.trainer import run_storage, train

RUN, ATTRIBUTES, PUSHES = "headless", ("male", "beard", "bald"), 12
ENOUGH, ACKNOWLEDGED = "enough", "acknowledged"


def make_config(folder: Path, steps: int, num_workers: int = 2) -> GemConfig:
    return GemConfig(
        run=RunConfig(uri=str(folder / "runs"), name=RUN),
        data=DataConfig(uri=str(folder / "faces"), batch_size=24, holdout=64),
        prepare=PrepareConfig(num_images=256, image_size=32, concurrency=1),
        model=ModelConfig(attributes=list(ATTRIBUTES), residual_dim=4),
        objective=ObjectiveConfig(align_weight=0.0, align_batch=24),
        graph=GraphConfig(poll_every_s=0.5, keep_versions=100_000),
        train=TrainConfig(steps=steps, num_workers=num_workers, checkpoint_every_steps=10, log_every_steps=2),
        scoring=ScoringConfig(scorer="none"),
    )


def make_push(number: int) -> Push:
    rng = np.random.default_rng(number)
    source, target = rng.choice(len(ATTRIBUTES), 2, replace=False)
    edge = EdgeUpdate(
        source=ATTRIBUTES[source],
        target=ATTRIBUTES[target],
        strength=float(rng.uniform(-1, 1)),
        standard_error=0.1,
        num_observations=number,
    )
    return Push(
        push_id=f"p{number}",
        base_version=number - 1,
        kind=EvidenceKind.SCORES,
        edges=(edge,),
        evidence_id=f"{number}.json",
    )


def push(client: StoreClient, numbers: range, folder: Path) -> None:
    """Push until somebody has had enough, and note what is acknowledged, when and as which version."""
    with (folder / ACKNOWLEDGED).open("a", buffering=1) as file:
        for number in numbers:
            if (folder / ENOUGH).exists():
                return
            reply = client.push(make_push(number), deadline_s=120.0)
            assert reply.applied, reply
            file.write(f"{number} {reply.version} {time.time()}\n")
            time.sleep(0.5)


def push_beside(config: GemConfig, folder: Path) -> None:
    client = StoreClient(RUN, run_storage(config))
    while client.find() is None:
        time.sleep(0.2)
    push(client, range(1, 10_000), folder)


def demand(role: str) -> None:
    """Wait for a node of a role."""
    ask = ray.remote(num_cpus=1, label_selector={"gem-ray/role": role})(ray.util.get_node_ip_address)
    print("served by", ray.get(ask.remote()), flush=True)


def main() -> None:
    (action, address, host), folder, rest = sys.argv[1:4], Path(sys.argv[4]), sys.argv[5:]
    ray.init(address=address, namespace=NAMESPACE, _node_ip_address=host, log_to_driver=False)
    if action == "train":
        train(make_config(folder, *map(int, rest)))
    elif action == "train_placed":
        config = make_config(folder, *map(int, rest))
        config.placement = PlacementConfig(ingest="ingest", training="train", mllm="mllm")
        config.scoring = ScoringConfig(questions_per_minute=60)
        config.model.attributes = ModelConfig().attributes
        config.prepare.num_images = 6_000
        train(config)
    elif action == "train_and_push":
        config = make_config(folder, *map(int, rest))
        threading.Thread(target=push_beside, args=(config, folder), daemon=True).start()
        train(config)
    elif action == "push":
        config = make_config(folder, 1)
        client = start_store(run_storage(config), RUN, ATTRIBUTES, config.graph)
        push(client, range(1, PUSHES + 1), folder)
        show(client)
    elif action == "look":
        try:
            show(connect_store(RUN))
        except GraphError as error:
            print(error, flush=True)
    elif action == "demand":
        demand(*rest)
    else:
        sys.exit(f"no such action: {action}")


def show(client: StoreClient) -> None:
    info = client.describe()
    print("store", info.pid, info.version, flush=True)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)  # as jobs do; Python's own status is another where something is imported on the way out
