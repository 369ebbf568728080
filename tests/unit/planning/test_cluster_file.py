"""Launcher files and KubeRay manifests say the same of a cluster in two ways."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from gem_ray.errors import ConfigError
from gem_ray.planning.cluster_file import read_cluster_file
from gem_ray.planning.ray_cluster_manifest import quantity

LAUNCHER = """
cluster_name: small
max_workers: 5
head_node_type: head
available_node_types:
  train:
    resources: {CPU: 8, GPU: 1, memory: 30000000000}
    labels: {gem-ray/role: train}
    min_workers: 1
    max_workers: 4
    node_config: {InstanceType: g6.2xlarge, InstanceMarketOptions: {MarketType: spot}}
  head:
    resources: {CPU: 0}
    node_config: {machineType: zones/x/machineTypes/n2-standard-4}
"""
MANIFEST = """
apiVersion: v1
kind: Namespace
metadata: {name: x}
---
apiVersion: ray.io/v1
kind: KIND
metadata: {name: small}
spec:
  SPEC
    headGroupSpec:
      rayStartParams: {num-cpus: "0"}
      template: {spec: {containers: [{name: ray, resources: {limits: {cpu: "2", memory: 8Gi}}}]}}
    workerGroupSpecs:
      - groupName: train
        minReplicas: 1
        maxReplicas: 4
        rayStartParams: {labels: "gem-ray/role=train,zone=a"}
        template:
          spec:
            nodeSelector: {cloud.google.com/gke-spot: "true", node.kubernetes.io/instance-type: g2}
            containers:
              - name: ray
                resources: {requests: {cpu: "7"}, limits: {cpu: 7500m, memory: 30G, nvidia.com/gpu: "1"}}
"""


def write(folder: Path, text: str) -> str:
    path = folder / "cluster.yaml"
    path.write_text(text)
    return str(path)


def test_a_launcher_file_is_read_with_its_head_first(tmp_path):
    shape = read_cluster_file(write(tmp_path, LAUNCHER))
    head, train = shape.node_types
    assert (shape.name, shape.max_workers) == ("small", 5)
    assert (head.cpus, head.min_count, head.max_count, head.instance, head.spot) == (0, 1, 1, "n2-standard-4", False)
    assert (train.role, train.cpus, train.gpus, head.memory) == ("train", 8, 1, None)
    assert train.memory == pytest.approx(3e10 / 0.7), "the launcher's memory is what the object store leaves"
    assert (train.min_count, train.max_count, train.instance, train.spot) == (1, 4, "g6.2xlarge", True)


@pytest.mark.parametrize(("kind", "holder"), [("RayJob", "rayClusterSpec:"), ("RayService", "rayClusterConfig:")])
def test_a_manifest_is_read_wherever_its_cluster_stands(tmp_path, kind, holder):
    shape = read_cluster_file(write(tmp_path, MANIFEST.replace("KIND", kind).replace("SPEC", holder, 1)))
    head, train = shape.node_types
    assert (head.cpus, head.memory) == (0, 8 * 2**30)
    assert (train.role, train.cpus, train.gpus, train.memory) == ("train", 7.5, 1, 3e10)
    assert (train.min_count, train.max_count, train.instance, train.spot) == (1, 4, "g2", True)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (LAUNCHER.replace("{CPU: 8, GPU: 1, memory: 30000000000}", "{GPU: 1}"), "'train' has no resources.CPU"),
        (LAUNCHER.replace("head_node_type: head", "head_node_type: boss"), "boss"),
        ("kind: Deployment", "Deployment"),
        ("kind: RayCluster\nspec: {}", "headGroupSpec"),
        ("a: [", "cannot be read"),
        ("", "holds nothing"),
    ],
)
def test_a_file_that_is_no_cluster_is_refused_with_the_reason(tmp_path, text, message):
    with pytest.raises(ConfigError, match=re.escape(message)):
        read_cluster_file(write(tmp_path, text))


def test_quantities_of_kubernetes():
    assert [quantity(value) for value in ("500m", "4", 2, "16Gi", "1.5G")] == [0.5, 4, 2, 16 * 2**30, 1.5e9]
    with pytest.raises(ConfigError, match="1Zb"):
        quantity("1Zb")
