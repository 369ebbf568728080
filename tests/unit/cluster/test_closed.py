"""Nothing in cluster/ is open to the world: one rule each, and a planted violation that each rule reports.

A rule takes one document (a launcher file, a manifest, the compose file) and gives what it finds wrong.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[3]
Rule = Callable[[Any], list[str]]
SECRET_KEY = re.compile(r"(?i)(password|passwd|secret|token|credential|api_?key|access_?key|private_?key)")
NOT_SECRET_KEY = re.compile(
    r"(?i)^(secretName|secretKeyRef|secrets|automountServiceAccountToken|serviceAccountToken|HttpTokens|ssh_private_key)$"
)
REFERENCE = re.compile(r"^(/|~|\$\{?[A-Z_]+)")  # a path or a variable
SECRET_TEXT = {
    "an AWS key id": re.compile(r"\b(AKIA|ASIA)[0-9A-Z]{16}\b"),
    "a private key": re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----"),
    "a hub's or host's token": re.compile(r"\b(hf_|ghp_|github_pat_|xox[bp]-|AIza)[0-9A-Za-z_-]{16,}"),
    "a long hexadecimal number": re.compile(r"\b[0-9a-f]{32,}\b"),
}


def walk(node: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    """Every value of a document with the key it stands under; items of a list keep the list's key."""
    yield key, node
    if isinstance(node, dict):
        for name, value in node.items():
            yield from walk(value, str(name))
    elif isinstance(node, list):
        for value in node:
            yield from walk(value, key)


def texts(document: Any) -> list[str]:
    """Every string of a document, keys included."""
    return [text for key, value in walk(document) for text in (key, value) if isinstance(text, str)]


def pod_specs(document: Any) -> list[dict[str, Any]]:
    """Every pod specification in a document, by its containers."""
    return [value for _, value in walk(document) if isinstance(value, dict) and "containers" in value]


def cluster_specs(document: Any) -> list[dict[str, Any]]:
    """Every specification of a Ray cluster in a manifest."""
    return [value for _, value in walk(document) if isinstance(value, dict) and "headGroupSpec" in value]


def services(document: Any) -> dict[str, dict[str, Any]]:
    """The services of a compose file; none in other documents."""
    found = document.get("services", {})
    return found if isinstance(found, dict) else {}


def node_types(document: Any) -> dict[str, dict[str, Any]]:
    """The node types of a launcher file; none in other documents."""
    return document.get("available_node_types", {})


def names_the_whole_internet(document: Any) -> list[str]:
    """An address range that is everybody."""
    return [text for text in texts(document) if re.search(r"(?<![\d.])0\.0\.0\.0/0|(?<![\da-fA-F:])::/0", text)]


def publishes_beyond_loopback(document: Any) -> list[str]:
    """A port of the compose file that other machines can reach, or a Kubernetes service that is more than internal."""
    found = [
        f"{name}: {port}"
        for name, service in services(document).items()
        for port in service.get("ports", [])
        if not str(port).startswith("127.0.0.1:")
    ]
    if document.get("kind") == "Ingress" or document.get("spec", {}).get("type") in ("LoadBalancer", "NodePort"):
        found.append(f"{document['kind']} {document['metadata']['name']}")
    return found


def lets_the_launcher_open_ssh(document: Any) -> list[str]:
    """A node type without a security group (the launcher's own takes SSH from all), or with an external address."""
    kind = document.get("provider", {}).get("type")
    found = []
    for name, node_type in node_types(document).items():
        node = node_type["node_config"]
        if kind == "aws" and not (node.get("SecurityGroupIds") and node.get("SubnetIds")):
            found.append(f"{name}: no security group or subnet of its own")
        interfaces = node.get("networkInterfaces", [])
        if kind == "gcp" and (not interfaces or any("accessConfigs" in interface for interface in interfaces)):
            found.append(f"{name}: an external address")
    if kind and not document["provider"].get("use_internal_ips"):
        found.append("use_internal_ips is not set")
    return found


def policy_admits_anybody(document: Any) -> list[str]:
    """A NetworkPolicy rule without peers, or with the empty selector of all namespaces."""
    if document.get("kind") != "NetworkPolicy":
        return []
    found = []
    for rule in document["spec"].get("ingress", []):
        for peer in rule.get("from") or [{}]:
            if not peer or peer.get("namespaceSelector") == {} or "ipBlock" in peer:
                found.append(f"{document['metadata']['name']}: {rule}")
    return found


def dashboard_on_all_addresses(document: Any) -> list[str]:
    """A dashboard that is bound to all addresses, or left to KubeRay, which would do that."""
    wide = [text for text in texts(document) if re.search(r"dashboard[-_]host[= ]+['\"]?(0\.0\.0\.0|::)", text)]
    hosts = [value for key, value in walk(document) if re.fullmatch("dashboard[-_]host", key)]
    wide += [f"dashboard-host: {host}" for host in hosts if host not in ("127.0.0.1", "$POD_IP")]
    for spec in cluster_specs(document):
        if "dashboard-host" not in spec["headGroupSpec"].get("rayStartParams", {}):
            wide.append("headGroupSpec says no dashboard-host")
    return wide


def starts_ray_without_token(document: Any) -> list[str]:
    """A place that starts Ray and does not ask for token authentication; Ray 2.60 is open unless told."""
    found = []
    for key, commands in document.items():
        if key.endswith("start_ray_commands"):
            found += [c for c in commands if "ray start" in c and not re.search(r"\bRAY_AUTH_MODE=token\b", c)]
    if node_types(document) and "--env RAY_AUTH_MODE=token" not in document["docker"]["run_options"]:
        found.append("docker.run_options")
    for name, service in services(document).items():
        if "ray start" in str(service.get("command")) and service["environment"].get("RAY_AUTH_MODE") != "token":
            found.append(name)
    found += ["authOptions" for spec in cluster_specs(document) if spec.get("authOptions", {}).get("mode") != "token"]
    return found


def holds_a_secret(document: Any) -> list[str]:
    """A Secret object, or a value under a name of secrets that is neither a reference nor a path."""
    found = ["kind: Secret"] if document.get("kind") == "Secret" else []
    for key, value in walk(document):
        if (
            isinstance(value, dict)
            and SECRET_KEY.search(str(value.get("name", "")))
            and isinstance(value.get("value"), str)
        ):
            found.append(f"{value['name']}: {value['value']}")
        if isinstance(value, str):
            if value and SECRET_KEY.search(key) and not (NOT_SECRET_KEY.search(key) or REFERENCE.search(value)):
                found.append(f"{key}: {value}")
            assigned = re.findall(r"(?i)--?(?:requirepass|password|token)[= ]+([^\s$/'\"]+)", value)
            found += [f"{key}: ... {text}" for text in assigned]
    return found


def is_privileged(document: Any) -> list[str]:
    """More than an ordinary process: privileged, the host's namespaces, added capabilities."""
    found = [
        key for key, value in walk(document) if key in ("privileged", "hostNetwork", "hostPID", "hostIPC") and value
    ]
    found += [
        f"capabilities.add {value['add']}"
        for _, value in walk(document)
        if isinstance(value, dict) and value.get("add")
    ]
    found += [text for text in texts(document) if re.search(r"--privileged|--cap-add|docker\.sock", text)]
    found += [key for key, value in walk(document) if key in ("network_mode", "pid", "cap_add") and value]
    found += [key for key, _ in walk(document) if key == "hostPath"]
    return found


def pods_are_not_confined(document: Any) -> list[str]:
    """A pod or container that runs as root, can gain rights, writes to its image, or lacks limits."""
    found = []
    for spec in pod_specs(document):
        pod = spec.get("securityContext", {})
        if not (pod.get("runAsNonRoot") and pod.get("runAsUser") and pod.get("seccompProfile")):
            found.append("pod: runAsNonRoot, runAsUser or seccompProfile")
        if spec.get("automountServiceAccountToken") is not False:
            found.append("pod: its account's token is mounted")
        for container in [*spec["containers"], *spec.get("initContainers", [])]:
            found += unconfined(container["name"], container.get("securityContext", {}))
            limits, requests = (container.get("resources", {}).get(part, {}) for part in ("limits", "requests"))
            if not {"cpu", "memory"} <= limits.keys() & requests.keys() or limits["memory"] != requests["memory"]:
                found.append(f"{container['name']}: requests and limits")
    for spec in cluster_specs(document):
        found += unconfined("autoscaler", spec.get("autoscalerOptions", {}).get("securityContext", {}))
    for name, service in services(document).items():
        closed = service.get("read_only") and service.get("cap_drop") == ["ALL"]
        if not closed or "no-new-privileges:true" not in service.get("security_opt", []):
            found.append(f"{name}: read_only, cap_drop or no-new-privileges")
    return found


def unconfined(name: str, context: dict[str, Any]) -> list[str]:
    """What a container's security context leaves open."""
    closed = context.get("allowPrivilegeEscalation") is False and context.get("readOnlyRootFilesystem") is True
    return [] if closed and context.get("capabilities") == {"drop": ["ALL"]} else [f"{name}: securityContext {context}"]


def images_float(document: Any) -> list[str]:
    """An image without a tag, or with one that moves."""
    images = [str(value) for key, value in walk(document) if key in ("image", "head_image", "worker_image")]
    return [
        image for image in images if not re.search(r"(:(?!latest$)[\w][\w.-]*\d[\w.-]*|@sha256:[0-9a-f]{64})$", image)
    ]


def instances_are_soft(document: Any) -> list[str]:
    """An EC2 node whose metadata service hands out credentials without a session, or whose disk is in the clear."""
    if document.get("provider", {}).get("type") != "aws":
        return []
    found = []
    for name, node_type in node_types(document).items():
        node = node_type["node_config"]
        if node.get("MetadataOptions", {}).get("HttpTokens") != "required":
            found.append(f"{name}: IMDSv2 is not required")
        disks = [device["Ebs"] for device in node.get("BlockDeviceMappings", [])]
        if not disks or not all(disk.get("Encrypted") is True for disk in disks):
            found.append(f"{name}: a disk is not encrypted")
    return found


def container(**more: Any) -> dict[str, Any]:
    """A pod that would pass, but for what is said."""
    context = {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
        **more.pop("securityContext", {}),
    }
    size = {"cpu": "1", "memory": "1Gi"}
    one = {"name": "one", "image": "a:1", "securityContext": context, "resources": {"limits": size, "requests": size}}
    pod = {"runAsNonRoot": True, "runAsUser": 1, "seccompProfile": {"type": "RuntimeDefault"}}
    return {"spec": {"containers": [one], "securityContext": pod, "automountServiceAccountToken": False, **more}}


AWS_NODE = {"MetadataOptions": {"HttpTokens": "required"}, "BlockDeviceMappings": [{"Ebs": {"Encrypted": True}}]}
CONTROLS: list[tuple[Rule, Any]] = [
    (names_the_whole_internet, {"IpPermissions": [{"CidrIp": "0.0.0.0/0"}]}),
    (names_the_whole_internet, {"IpPermissions": [{"CidrIpv6": "::/0"}]}),
    (publishes_beyond_loopback, {"services": {"head": {"ports": ["8265:8265"]}}}),
    (publishes_beyond_loopback, {"services": {"head": {"ports": ["0.0.0.0:8265:8265"]}}}),
    (publishes_beyond_loopback, {"kind": "Service", "metadata": {"name": "a"}, "spec": {"type": "LoadBalancer"}}),
    (
        lets_the_launcher_open_ssh,
        {
            "provider": {"type": "aws", "use_internal_ips": True},
            "available_node_types": {"head": {"node_config": {"SubnetIds": ["subnet-1"]}}},
        },
    ),
    (
        lets_the_launcher_open_ssh,
        {
            "provider": {"type": "gcp", "use_internal_ips": True},
            "available_node_types": {"head": {"node_config": {"networkInterfaces": [{"accessConfigs": []}]}}},
        },
    ),
    (lets_the_launcher_open_ssh, {"provider": {"type": "aws"}}),
    (policy_admits_anybody, {"kind": "NetworkPolicy", "metadata": {"name": "a"}, "spec": {"ingress": [{}]}}),
    (
        policy_admits_anybody,
        {
            "kind": "NetworkPolicy",
            "metadata": {"name": "a"},
            "spec": {"ingress": [{"from": [{"namespaceSelector": {}}]}]},
        },
    ),
    (dashboard_on_all_addresses, {"head_start_ray_commands": ["ray start --head --dashboard-host=0.0.0.0"]}),
    (dashboard_on_all_addresses, {"head_start_ray_commands": ["ray start --head --dashboard-host ::"]}),
    (dashboard_on_all_addresses, {"spec": {"headGroupSpec": {"rayStartParams": {"dashboard-host": "0.0.0.0"}}}}),
    (dashboard_on_all_addresses, {"spec": {"headGroupSpec": {"rayStartParams": {}}}}),
    (starts_ray_without_token, {"worker_start_ray_commands": ["ray start --address=$RAY_HEAD_IP:6379"]}),
    (starts_ray_without_token, {"head_start_ray_commands": ["export RAY_AUTH_MODE=disabled; ray start --head"]}),
    (starts_ray_without_token, {"available_node_types": {"head": {}}, "docker": {"run_options": []}}),
    (starts_ray_without_token, {"services": {"head": {"command": "ray start --head", "environment": {}}}}),
    (starts_ray_without_token, {"spec": {"headGroupSpec": {}, "authOptions": {"mode": "disabled"}}}),
    (starts_ray_without_token, {"spec": {"headGroupSpec": {}}}),
    (holds_a_secret, {"kind": "Secret", "stringData": {}}),
    (holds_a_secret, {"spec": {"redisPassword": {"value": "x"}, "password": "hunter2"}}),
    (holds_a_secret, {"env": [{"name": "REDIS_PASSWORD", "value": "hunter2"}]}),
    (holds_a_secret, {"environment": {"AWS_SECRET_ACCESS_KEY": "moto"}}),
    (holds_a_secret, {"environment": {"RAY_AUTH_TOKEN": "abc"}}),
    (holds_a_secret, {"args": ["redis-server --requirepass hunter2"]}),
    (is_privileged, {"spec": {"containers": [{"securityContext": {"privileged": True}}]}}),
    (is_privileged, {"spec": {"hostNetwork": True}}),
    (is_privileged, {"spec": {"containers": [{"securityContext": {"capabilities": {"add": ["SYS_ADMIN"]}}}]}}),
    (is_privileged, {"docker": {"run_options": ["--privileged"]}}),
    (is_privileged, {"services": {"head": {"network_mode": "host"}}}),
    (is_privileged, {"spec": {"volumes": [{"hostPath": {"path": "/"}}]}}),
    (pods_are_not_confined, container(securityContext={"readOnlyRootFilesystem": False})),
    (pods_are_not_confined, container(securityContext={"allowPrivilegeEscalation": True})),
    (pods_are_not_confined, container(securityContext={"capabilities": {"drop": ["NET_RAW"]}})),
    (pods_are_not_confined, {"spec": {**container()["spec"], "securityContext": {"runAsNonRoot": True}}}),
    (pods_are_not_confined, container(automountServiceAccountToken=True)),
    (pods_are_not_confined, {"services": {"head": {"cap_drop": ["ALL"]}}}),
    (images_float, {"image": "ghcr.io/OWNER/gem-ray:latest"}),
    (images_float, {"image": "ghcr.io/OWNER/gem-ray"}),
    (images_float, {"docker": {"worker_image": "localhost:5000/gem-ray"}}),
    (
        instances_are_soft,
        {
            "provider": {"type": "aws"},
            "available_node_types": {
                "head": {"node_config": {**AWS_NODE, "MetadataOptions": {"HttpTokens": "optional"}}}
            },
        },
    ),
    (
        instances_are_soft,
        {
            "provider": {"type": "aws"},
            "available_node_types": {"head": {"node_config": {**AWS_NODE, "BlockDeviceMappings": []}}},
        },
    ),
]
RULES = list(dict.fromkeys(rule for rule, _ in CONTROLS))


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_no_file_breaks_the_rule(rule: Rule, all_documents: list[Any]) -> None:
    assert [finding for document in all_documents for finding in rule(document)] == []


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_no_rendered_manifest_breaks_the_rule(rule: Rule, rendered: dict[str, list[Any]]) -> None:
    assert [finding for objects in rendered.values() for document in objects for finding in rule(document)] == []


@pytest.mark.parametrize(
    ("rule", "violation"), CONTROLS, ids=[f"{rule.__name__}-{number}" for number, (rule, _) in enumerate(CONTROLS)]
)
def test_the_rule_reports_a_planted_violation(rule: Rule, violation: Any) -> None:
    assert rule(violation)


def test_a_pod_as_it_should_be_is_not_reported() -> None:
    assert pods_are_not_confined(container()) == []


@pytest.mark.parametrize("kind", SECRET_TEXT)
def test_no_text_of_a_cluster_file_looks_like_a_secret(kind: str) -> None:
    files = [file for file in (ROOT / "cluster").rglob("*") if file.is_file()]
    assert len(files) > 20
    assert [str(file) for file in files if SECRET_TEXT[kind].search(file.read_text())] == []


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("an AWS key id", "aws_access_key_id=AKIA" + "A" * 16),
        ("a private key", "-----BEGIN RSA " + "PRIVATE KEY-----"),
        ("a hub's or host's token", "hf_" + "a" * 32),
        ("a long hexadecimal number", "token: " + "0f" * 32),
    ],
)
def test_a_planted_secret_is_recognised(kind: str, text: str) -> None:
    assert SECRET_TEXT[kind].search(text)


def test_every_namespace_has_a_policy_that_denies_by_default(manifests: list[dict[str, Any]]) -> None:
    policies = [document["spec"] for document in manifests if document["kind"] == "NetworkPolicy"]
    assert {"podSelector": {}, "policyTypes": ["Ingress"]} in policies
