"""The files of cluster/, read once: launcher files, manifests as written and as kustomize renders them, policies."""

from __future__ import annotations

import json
import shutil
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
import yaml
from moto import mock_aws
from ray.autoscaler._private.util import prepare_config

ROOT = Path(__file__).resolve().parents[3]
CLUSTER = ROOT / "cluster"
LAUNCHER_FILES = ("aws.yaml", "gcp.yaml")
OVERLAYS = ("base", "job", "service")


def _documents(text: str) -> list[Any]:
    return [document for document in yaml.safe_load_all(text) if document is not None]


@pytest.fixture(scope="session")
def project() -> dict[str, Any]:
    """The table ``project`` of pyproject.toml."""
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


@pytest.fixture(scope="session")
def launchers() -> dict[str, dict[str, Any]]:
    """The launcher files, by name."""
    return {name: yaml.safe_load((CLUSTER / name).read_text()) for name in LAUNCHER_FILES}


@pytest.fixture(scope="session")
def manifests() -> list[dict[str, Any]]:
    """Every object of cluster/kuberay as it is written; kustomizations are not objects."""
    files = sorted((CLUSTER / "kuberay").rglob("*.yaml"))
    return [
        document for file in files if file.name != "kustomization.yaml" for document in _documents(file.read_text())
    ]


@pytest.fixture(scope="session")
def raycluster(manifests: list[dict[str, Any]]) -> dict[str, Any]:
    """The one RayCluster, which jobs and services copy."""
    (cluster,) = (document for document in manifests if document["kind"] == "RayCluster")
    return cluster


@pytest.fixture(scope="session")
def rendered() -> dict[str, list[dict[str, Any]]]:
    """What ``kubectl apply -k`` would send, by folder."""
    if shutil.which("kubectl") is None:
        pytest.skip("kubectl, which renders kustomizations, is not installed")
    result = {}
    for overlay in OVERLAYS:
        output = subprocess.run(
            ["kubectl", "kustomize", str(CLUSTER / "kuberay" / overlay)], capture_output=True, text=True, timeout=60
        )
        assert output.returncode == 0, output.stderr
        result[overlay] = _documents(output.stdout)
    return result


@pytest.fixture(scope="session")
def compose() -> dict[str, Any]:
    """The compose file."""
    return yaml.safe_load((CLUSTER / "compose.yaml").read_text())


@pytest.fixture(scope="session")
def policies() -> dict[str, dict[str, Any]]:
    """The AWS policies, by name."""
    return {file.stem: json.loads(file.read_text()) for file in sorted((CLUSTER / "iam").glob("*.json"))}


@pytest.fixture(scope="session")
def all_documents(
    launchers: dict[str, dict[str, Any]], manifests: list[dict[str, Any]], compose: dict[str, Any]
) -> list[Any]:
    """Every YAML document of cluster/ that somebody could apply."""
    return [*launchers.values(), *manifests, compose]


@pytest.fixture
def simulated_ec2(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Any]]:
    """aws.yaml as ``ray up`` prepares it, filled in for a network in a simulated EC2, which answers meanwhile."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "simulated")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-west-2")
    with mock_aws():
        client = boto3.client("ec2")
        network = client.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
        subnet = client.create_subnet(VpcId=network, CidrBlock="10.0.1.0/24")["Subnet"]["SubnetId"]
        group = client.create_security_group(GroupName="gem-ray", Description="inside", VpcId=network)["GroupId"]
        for role in ("gem-ray-head", "gem-ray-worker"):
            boto3.client("iam").create_instance_profile(InstanceProfileName=role)
        text = (CLUSTER / "aws.yaml").read_text()
        for blank, value in {"REGION": "us-west-2", "subnet-PRIVATE": subnet, "sg-GEM_RAY": group}.items():
            text = text.replace(blank, value)
        yield prepare_config(yaml.safe_load(text))
