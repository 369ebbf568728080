"""Every part of a run lies on the nodes of its role: ingest, training and MLLM, each on a node of its own."""

from __future__ import annotations

import time
from pathlib import Path

import psutil
import pytest

from gem_ray.checkpoint import latest_step
from gem_ray.config import StorageConfig
from gem_ray.storage import Storage

pytestmark = [pytest.mark.ray, pytest.mark.vllm, pytest.mark.slow, pytest.mark.timeout(900)]
DRIVER = str(Path(__file__).with_name("driver.py"))
DRIVER_HOST, HOSTS = "127.0.0.3", ("127.0.0.4", "127.0.0.5", "127.0.0.6")
PARTS = {"make_shard": "ingest", "RayTrainWorker": "train", "ServeReplica:scorer-headless": "mllm"}
STEPS = 40


def parts_on(node) -> set[str]:
    """Which parts of a run have a process on the node now: Ray's workers call themselves by what they do."""
    found = set()
    for process in node.processes():
        try:
            title = " ".join(process.cmdline())
        except psutil.Error:
            continue
        found |= {part for part in PARTS if title.startswith("ray::") and part in title}
    return found


@pytest.mark.parametrize("roles", [("ingest", "train", "mllm"), ("mllm", "ingest", "train")], ids=" ".join)
def test_every_part_lies_on_the_node_of_its_role_wherever_that_is(new_cluster, roles, capsys):
    cluster = new_cluster()
    cluster.start_head("--no-monitor")
    # As many CPUs everywhere as the whole run asks for: without its role any part fits anywhere.
    nodes = {"none": cluster.start_worker(DRIVER_HOST, "--num-cpus=6")}
    for host, role in zip(HOSTS, roles, strict=True):
        nodes[role] = cluster.start_worker(host, "--num-cpus=6", f"--labels=gem-ray/role={role}")
    ask = (cluster.address, DRIVER_HOST, str(cluster.folder))
    driver = cluster.start_driver(DRIVER, "train_placed", *ask, str(STEPS))
    seen: dict[str, set[str]] = {role: set() for role in nodes}
    while driver.process.poll() is None:
        for role, node in nodes.items():
            seen[role] |= parts_on(node)
        time.sleep(0.1)
    output = driver.output()
    with capsys.disabled():
        print(f"\n{seen}")
    assert latest_step(Storage(f"{cluster.folder}/runs/headless", StorageConfig())) == STEPS, output[-2000:]
    assert seen == {"none": set()} | {role: {part} for part, role in PARTS.items()}
