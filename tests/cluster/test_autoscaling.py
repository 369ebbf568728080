"""Ray's autoscaler, version 2, with the fake provider it is tested with: training brings nodes up, and they go again.

The head does no work, so that a training run has nowhere to go until the autoscaler has heard of its placement group.
"""

from __future__ import annotations

import time
from pathlib import Path

import psutil
import pytest
import yaml

from gem_ray.checkpoint import latest_step
from gem_ray.config import StorageConfig
from gem_ray.storage import Storage
from kit.waiting import wait_until

pytestmark = [
    pytest.mark.ray,
    pytest.mark.slow,
    pytest.mark.timeout(900),
]
DRIVER = str(Path(__file__).with_name("driver.py"))
HEAD_ID = "f" * 51 + "00000"  # the fake provider knows its nodes by such ids
IDLE_S = 12.0
UP_S, DOWN_S = 120.0, IDLE_S + 60.0
WORKER_CPUS = 2
CONFIG = {
    "cluster_name": "fake",
    "max_workers": 3,
    "idle_timeout_minutes": IDLE_S / 60,
    "upscaling_speed": 10,
    # As an external provider: the wheel lacks the file of defaults that the name fake_multinode stands for.
    "provider": {
        "type": "external",
        "module": "ray.autoscaler._private.fake_multi_node.node_provider.FakeMultiNodeProvider",
        "launch_multiple": True,
        "head_node_id": HEAD_ID,
    },
    "auth": {},
    "file_mounts": {},
    "file_mounts_sync_continuously": False,
    "cluster_synced_files": [],
    "rsync_exclude": [],
    "rsync_filter": [],
    **{
        f"{what}_commands": []
        for what in ("initialization", "setup", "head_setup", "worker_setup", "head_start_ray", "worker_start_ray")
    },
    "available_node_types": {
        "ray.head.default": {"resources": {"CPU": 0}, "node_config": {}, "max_workers": 0},
        "train": {
            "resources": {"CPU": WORKER_CPUS, "object_store_memory": 200_000_000},
            "labels": {"gem-ray/role": "train"},
            "node_config": {},
            "min_workers": 0,
            "max_workers": 2,
        },
    },
    "head_node_type": "ray.head.default",
}


def start_autoscaling_head(cluster):
    """A head whose autoscaler looks once a second."""
    config = CONFIG | {"provider": CONFIG["provider"] | {"gcs_address": cluster.address}}
    (cluster.folder / "autoscaling.yaml").write_text(yaml.safe_dump(config))
    return cluster.start_head(
        f"--autoscaling-config={cluster.folder / 'autoscaling.yaml'}",
        AUTOSCALER_UPDATE_INTERVAL_S="1",
        RAY_FAKE_CLUSTER="1",
        RAY_enable_autoscaler_v2="1",
        RAY_CLOUD_INSTANCE_ID=HEAD_ID,
        RAY_OVERRIDE_NODE_ID_FOR_TESTING=HEAD_ID,
    )


def workers_of(head) -> dict[int, str]:
    """Type of every node that the autoscaler has started, by the process id of its raylet."""
    found = {}
    for process in head.processes("raylet"):
        try:
            node_type = process.environ().get("RAY_NODE_TYPE_NAME")
        except psutil.Error:
            continue
        if node_type:
            found[process.pid] = node_type
    return found


def test_training_brings_up_as_many_nodes_as_it_needs_and_they_go_when_it_has_ended(new_cluster, capsys):
    cluster = new_cluster()
    head = start_autoscaling_head(cluster)
    time.sleep(5)
    assert workers_of(head) == {}, "nobody has asked for a node"

    ask = (cluster.address, "127.0.0.2", str(cluster.folder))
    driver = cluster.start_driver(DRIVER, "train", *ask, "30", "3")
    first = wait_until(lambda: len(workers_of(head)) == 1, lambda: driver.log.read_text()[-2000:], UP_S)
    second = wait_until(lambda: len(workers_of(head)) == 2, lambda: driver.log.read_text()[-2000:], UP_S)
    assert set(workers_of(head).values()) == {"train"}
    driver.output()
    assert latest_step(Storage(f"{cluster.folder}/runs/headless", StorageConfig())) == 30
    gone = wait_until(lambda: not workers_of(head), "idle nodes stay", DOWN_S)
    with capsys.disabled():
        print(f"\nfirst node after {first:.1f} s, second {second:.1f} s later; both gone {gone:.1f} s after the end")


def test_a_role_that_no_node_type_has_brings_nothing_up(new_cluster):
    cluster = new_cluster()
    head = start_autoscaling_head(cluster)
    ask = (cluster.address, "127.0.0.2", str(cluster.folder))
    hopeless = cluster.start_driver(DRIVER, "demand", *ask, "mllm")
    time.sleep(20)
    assert workers_of(head) == {}
    assert hopeless.process.poll() is None
    assert "served by" in cluster.start_driver(DRIVER, "demand", *ask, "train").output(UP_S)
    assert list(workers_of(head).values()) == ["train"]
    assert hopeless.process.poll() is None
