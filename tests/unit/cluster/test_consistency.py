"""One source for every version, image and name: the files of cluster/ agree with pyproject.toml and with each other."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import ray
import yaml

ROOT = Path(__file__).resolve().parents[3]
CLUSTER = ROOT / "cluster"
ROLES = {"stable", "ingest", "train", "mllm"}
OURS = re.compile(r"[\w./-]+/gem-ray:([\w.-]+)")  # OWNER, or whoever took its place


def wrong_tags(text: str, version: str) -> set[str]:
    """Tags of our images in a text that are not of the project's version, or of neither kind."""
    return set(OURS.findall(text)) - {f"{version}-cpu", f"{version}-gpu"}


@pytest.fixture(scope="module")
def files() -> dict[str, str]:
    """Every file of cluster/ and the operations page, by path."""
    found = [file for file in CLUSTER.rglob("*") if file.is_file()] + [ROOT / "docs" / "operations.md"]
    return {str(file.relative_to(ROOT)): file.read_text() for file in found}


def test_every_image_has_the_projects_version(files: dict[str, str], project: dict[str, Any]) -> None:
    version = project["version"]
    wrong = {name: wrong_tags(text, version) for name, text in files.items()}
    assert {name: tags for name, tags in wrong.items() if tags} == {}
    named = {name for name, text in files.items() if OURS.search(text)}
    assert {"cluster/aws.yaml", "cluster/gcp.yaml", "cluster/compose.yaml", "cluster/images/Dockerfile"} <= named
    assert f'image.version="{version}"' in files["cluster/images/Dockerfile"]
    assert wrong_tags(f"a/gem-ray:9.9.9-cpu a/gem-ray:{version}", version) == {"9.9.9-cpu", version}


def test_ray_is_everywhere_the_version_of_pyproject(raycluster: dict[str, Any], project: dict[str, Any]) -> None:
    (pinned,) = re.findall(r"ray\[[\w,]+\]==([\d.]+)", " ".join(project["dependencies"]))
    assert (raycluster["spec"]["rayVersion"], ray.__version__) == (pinned, pinned)
    constraints = (ROOT / "requirements" / "constraints.txt").read_text()
    assert f"\nray=={pinned}\n" in constraints


def test_the_images_python_is_that_of_the_constraints(files: dict[str, str], project: dict[str, Any]) -> None:
    (minor,) = re.findall(r"FROM python:(\d+\.\d+)\.\d+", files["cluster/images/Dockerfile"])
    assert f"CPython {minor}" in (ROOT / "requirements" / "constraints.txt").read_text()
    assert project["requires-python"] == f">={minor}"


def test_gpu_roles_run_the_gpu_image(raycluster: dict[str, Any]) -> None:
    for group in raycluster["spec"]["workerGroupSpecs"]:
        (container,) = group["template"]["spec"]["containers"]
        kind = "gpu" if "nvidia.com/gpu" in container["resources"]["limits"] else "cpu"
        assert container["image"].endswith(f"-{kind}")


def test_jobs_are_placed_on_roles_that_exist(raycluster: dict[str, Any], launchers: dict[str, dict[str, Any]]) -> None:
    assert {group["groupName"] for group in raycluster["spec"]["workerGroupSpecs"]} == ROLES
    assert all(set(launcher["available_node_types"]) == ROLES | {"head"} for launcher in launchers.values())
    wanted = {
        file.name: set(yaml.safe_load(file.read_text()).get("placement", {}).values())
        for file in sorted((ROOT / "configs" / "cluster").glob("*.yaml"))
    }
    assert {name: roles - ROLES - {""} for name, roles in wanted.items() if roles - ROLES - {""}} == {}


def test_metrics_are_scraped_where_they_are_exported(
    manifests: list[dict[str, Any]], raycluster: dict[str, Any], launchers: dict[str, dict[str, Any]]
) -> None:
    spec = raycluster["spec"]
    head = {
        port["name"]: port["containerPort"]
        for port in spec["headGroupSpec"]["template"]["spec"]["containers"][0]["ports"]
    }
    exported = {name: port for name, port in head.items() if name.endswith("metrics")}
    assert exported == {"metrics": 8080, "as-metrics": 44217, "dash-metrics": 44227}
    (monitor,) = (document["spec"] for document in manifests if document["kind"] == "PodMonitor")
    assert {endpoint["port"] for endpoint in monitor["podMetricsEndpoints"]} == set(exported)
    (policy,) = (
        d["spec"] for d in manifests if d["kind"] == "NetworkPolicy" and d["metadata"]["name"] == "gem-ray-metrics"
    )
    assert {port["port"] for port in policy["ingress"][0]["ports"]} == set(exported.values())
    for group in [spec["headGroupSpec"], *spec["workerGroupSpecs"]]:
        assert group["rayStartParams"]["metrics-export-port"] == "8080"
    for launcher in launchers.values():
        for commands in (launcher["head_start_ray_commands"], launcher["worker_start_ray_commands"]):
            assert "--metrics-export-port=8080" in commands[-1]


def test_every_secret_that_is_named_is_made_in_the_docs(files: dict[str, str], manifests: list[dict[str, Any]]) -> None:
    text = yaml.safe_dump_all(manifests)
    named = set(re.findall(r"secretName: (\S+)", text)) | set(
        re.findall(r"secretKeyRef:\s+key: \S+\s+name: (\S+)", text)
    )
    assert named == {"gem-ray-token", "gem-ray-redis"}
    assert {name for name in named if f"create secret generic {name}" not in files["docs/operations.md"]} == set()


def test_every_placeholder_is_explained_in_the_docs(files: dict[str, str]) -> None:
    used = {
        word
        for name, text in files.items()
        if name.startswith("cluster/") and not name.endswith("Dockerfile")
        for word in re.findall(
            r"\b(OWNER|PROJECT|ACCOUNT|REGION|ZONE|PRIVATE|GEM_RAY|SSH_PUBLIC_KEY|DATA_BUCKET|DATA_PREFIX|RUN_BUCKET|RUN_PREFIX)\b",
            text,
        )
    }
    assert {word for word in used if not re.search(rf"\b{word}\b", files["docs/operations.md"])} == set()
