"""The Kubernetes manifests, as written and as rendered, against schemas, and as Ray's autoscaler reads them.

schemas/kubernetes.json is Kubernetes' own; schemas/custom.json is a strict subset written for the custom resources.
"""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft7Validator
from ray.autoscaler._private.kuberay.autoscaling_config import _derive_autoscaling_config_from_ray_cr
from ray.serve.schema import ServeDeploySchema

SCHEMAS = Path(__file__).parent / "schemas"
ROOT = Path(__file__).resolve().parents[3]
KINDS: dict[str, str] = {}
DEFINITIONS: dict[str, Any] = {}
for _name in ("kubernetes.json", "custom.json"):
    _schema = json.loads((SCHEMAS / _name).read_text())
    KINDS |= _schema["kinds"]
    DEFINITIONS |= _schema["$defs"]


def problems(document: dict[str, Any]) -> list[str]:
    """What a schema has against an object, with the place."""
    if document["kind"] not in KINDS:
        return [f"no schema for {document['kind']}"]
    validator = Draft7Validator({"$ref": f"#/$defs/{KINDS[document['kind']]}", "$defs": DEFINITIONS})
    return [f"{document['kind']} {error.json_path}: {error.message}" for error in validator.iter_errors(document)]


def test_every_object_fits_its_schema(manifests: list[dict[str, Any]]) -> None:
    assert len(manifests) >= 14
    assert [problem for document in manifests for problem in problems(document)] == []


def test_every_rendered_object_fits_its_schema(rendered: dict[str, list[dict[str, Any]]]) -> None:
    assert [problem for objects in rendered.values() for document in objects for problem in problems(document)] == []


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("spec", "authoptions"), {"mode": "token"}),
        (("spec", "authOptions", "mode"), "tokens"),
        (("spec", "autoscalerOptions", "version"), "2"),
        (("spec", "headGroupSpec", "rayStartParams", "num-cpus"), 0),
        (("spec", "headGroupSpec", "template", "spec", "containers", 0, "readinessProb"), {}),
        (("spec", "workerGroupSpecs", 0, "template", "spec", "toleration"), []),
        (("spec", "workerGroupSpecs", 0, "maxReplicas"), "2"),
    ],
    ids=lambda value: ".".join(map(str, value)) if isinstance(value, tuple) else "",
)
def test_a_planted_mistake_is_reported(path: tuple[Any, ...], value: Any, raycluster: dict[str, Any]) -> None:
    broken = copy.deepcopy(raycluster)
    place: Any = broken
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    assert problems(broken)
    assert problems(raycluster) == []


def autoscaling(spec: dict[str, Any]) -> dict[str, Any]:
    """What Ray's autoscaler makes of a cluster's specification; it validates that against its own schema."""
    return _derive_autoscaling_config_from_ray_cr(
        {"metadata": {"name": "gem-ray", "namespace": "gem-ray"}, "spec": spec}
    )


def test_the_autoscaler_reads_roles_and_resources(
    raycluster: dict[str, Any], launchers: dict[str, dict[str, Any]]
) -> None:
    types = autoscaling(raycluster["spec"])["available_node_types"]
    head = types.pop("headgroup")
    assert (head["resources"]["CPU"], head["labels"]) == (0, {"gem-ray/role": "head"})
    assert {role: kind["labels"] for role, kind in types.items()} == {role: {"gem-ray/role": role} for role in types}
    assert {role: kind["resources"].get("GPU", 0) for role, kind in types.items()} == {
        "stable": 0,
        "ingest": 0,
        "train": 1,
        "mllm": 1,
    }
    # As on AWS and GCP, so that a job's placement and a plan are the same everywhere.
    for launcher in launchers.values():
        there = launcher["available_node_types"]
        assert there.keys() - {"head"} == types.keys()
        for role, kind in types.items():
            assert (kind["min_workers"], kind["max_workers"]) == (
                there[role]["min_workers"],
                there[role]["max_workers"],
            )


def test_a_job_gets_the_whole_cluster_and_a_service_the_mllm_alone(
    rendered: dict[str, list[dict[str, Any]]], raycluster: dict[str, Any]
) -> None:
    objects = {name: {document["kind"]: document for document in rendered[name]} for name in rendered}
    assert "RayCluster" in objects["base"]
    assert "RayCluster" not in objects["job"]
    assert "RayCluster" not in objects["service"]
    whole, alone = (
        objects["job"]["RayJob"]["spec"]["rayClusterSpec"],
        objects["service"]["RayService"]["spec"]["rayClusterConfig"],
    )
    assert [group["groupName"] for group in alone["workerGroupSpecs"]] == ["mllm"]
    expected = copy.deepcopy(raycluster["spec"])
    # KubeRay's operator, in another pod, follows the run by the dashboard.
    expected["headGroupSpec"]["rayStartParams"]["dashboard-host"] = "$POD_IP"
    assert whole == expected
    assert {document["metadata"].get("namespace", "gem-ray") for document in rendered["job"]} == {"gem-ray"}


def test_pods_land_on_the_nodes_of_their_role(raycluster: dict[str, Any]) -> None:
    spec = raycluster["spec"]
    templates = {"stable": [spec["headGroupSpec"]["template"]["spec"]]}
    for group in spec["workerGroupSpecs"]:
        templates.setdefault(group["groupName"], []).append(group["template"]["spec"])
    for role, pods in templates.items():
        for pod in pods:
            assert pod["nodeSelector"] == {"gem-ray/role": role}
            assert {"key": "gem-ray/role", "operator": "Equal", "value": role, "effect": "NoSchedule"} in pod[
                "tolerations"
            ]


def test_only_the_autoscaler_beside_the_head_gets_the_kubernetes_api(raycluster: dict[str, Any]) -> None:
    spec = raycluster["spec"]
    path = "/var/run/secrets/kubernetes.io/serviceaccount"
    assert path in [mount["mountPath"] for mount in spec["autoscalerOptions"]["volumeMounts"]]
    templates = [spec["headGroupSpec"]["template"], *(group["template"] for group in spec["workerGroupSpecs"])]
    containers = [container for template in templates for container in template["spec"]["containers"]]
    assert path not in [mount["mountPath"] for container in containers for mount in container["volumeMounts"]]


def test_a_read_only_root_leaves_ray_what_it_writes_to(raycluster: dict[str, Any]) -> None:
    spec = raycluster["spec"]
    for template in [spec["headGroupSpec"]["template"], *(group["template"] for group in spec["workerGroupSpecs"])]:
        volumes = {volume["name"]: volume for volume in template["spec"]["volumes"]}
        (container,) = template["spec"]["containers"]
        mounted = {mount["mountPath"]: volumes[mount["name"]]["emptyDir"] for mount in container["volumeMounts"]}
        assert mounted.keys() == {"/tmp", "/home/gem", "/dev/shm"}
        assert all("sizeLimit" in volume for volume in mounted.values())


def test_probes_ask_the_health_that_needs_no_token(raycluster: dict[str, Any]) -> None:
    from ray._private.ray_constants import DEFAULT_DASHBOARD_AGENT_LISTEN_PORT
    from ray.dashboard.http_server_agent import PUBLIC_EXACT_PATHS

    spec = raycluster["spec"]
    for template in [spec["headGroupSpec"]["template"], *(group["template"] for group in spec["workerGroupSpecs"])]:
        for probe in ("readinessProbe", "livenessProbe"):
            asked = template["spec"]["containers"][0][probe]["httpGet"]
            assert asked["path"] in PUBLIC_EXACT_PATHS
            assert asked["port"] == DEFAULT_DASHBOARD_AGENT_LISTEN_PORT


def test_budgets_protect_the_coordinators(manifests: list[dict[str, Any]]) -> None:
    budgets = {d["metadata"]["name"]: d["spec"] for d in manifests if d["kind"] == "PodDisruptionBudget"}
    selected = {name: budget["selector"]["matchLabels"] for name, budget in budgets.items()}
    assert selected["gem-ray-head"]["ray.io/node-type"] == "head"
    assert selected["gem-ray-stable"]["ray.io/group"] == "stable"
    # The only form that counts pods of a custom resource.
    assert [set(budget) for budget in budgets.values()] == [{"minAvailable", "selector"}] * 2


def test_a_jobs_driver_asks_for_what_only_stable_nodes_have(
    manifests: list[dict[str, Any]], raycluster: dict[str, Any]
) -> None:
    (job,) = (document["spec"] for document in manifests if document["kind"] == "RayJob")
    types = autoscaling(raycluster["spec"])["available_node_types"]
    wanted = json.loads(job["entrypointResources"])
    able = [role for role, kind in types.items() if all(kind["resources"].get(k, 0) >= v for k, v in wanted.items())]
    assert able == ["stable"]
    assert types["stable"]["resources"]["CPU"] >= job["entrypointNumCpus"]


def test_a_jobs_environment_is_that_of_every_job(manifests: list[dict[str, Any]]) -> None:
    (job,) = (document["spec"] for document in manifests if document["kind"] == "RayJob")
    submitted = yaml.safe_load((ROOT / "cluster" / "runtime_env.yaml").read_text())
    assert yaml.safe_load(job["runtimeEnvYAML"]) == {"env_vars": submitted["env_vars"]}


def test_the_service_deploys_the_application_of_serve(manifests: list[dict[str, Any]]) -> None:
    (service,) = (document["spec"] for document in manifests if document["kind"] == "RayService")
    deployed = yaml.safe_load(service["serveConfigV2"])
    ServeDeploySchema.model_validate(deployed)
    alone = yaml.safe_load((ROOT / "serve" / "config.yaml").read_text())
    (application,), (local,) = deployed.pop("applications"), alone.pop("applications")
    assert deployed == alone
    values = yaml.safe_load((ROOT / "configs" / "mllm" / "gpu_7b.yaml").read_text())
    arguments = application.pop("args")
    local.pop("args")
    assert application == local
    assert arguments == {name: values[name] for name in arguments}
    assert {"model", "num_gpus", "max_queued_requests"} <= arguments.keys()
