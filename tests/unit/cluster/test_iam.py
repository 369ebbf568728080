"""The policies grant what Ray's launcher, its autoscaler and our storage really call, and no more.

The calls are recorded while Ray's AWS provider runs against a simulated EC2, and our storage against a simulated S3.
"""

from __future__ import annotations

import copy
import json
import re
from pathlib import Path
from typing import Any

import boto3
import botocore.client
import pytest
import yaml
from aiobotocore.client import AioBaseClient
from ray.autoscaler._private.aws.node_provider import AWSNodeProvider

from gem_ray.config import StorageConfig
from gem_ray.storage import Storage
from kit.s3_server import s3_server

ROOT = Path(__file__).resolve().parents[3]
# AWS knows no resources for these: the grant is for all or none.
WITHOUT_RESOURCES = re.compile(r"ec2:Describe\w+|ssm:UpdateInstanceInformation|ssmmessages:\w+")
# What Ray calls as it launches and ends nodes; the slow test below holds this against a recording.
CALLED = {
    "aws-launcher": {
        "ec2:CreateTags",
        "ec2:DescribeInstances",
        "ec2:DescribeSecurityGroups",
        "ec2:DescribeSubnets",
        "ec2:RunInstances",
        "ec2:TerminateInstances",
    },
    "aws-head": {"ec2:CreateTags", "ec2:DescribeInstances", "ec2:RunInstances", "ec2:TerminateInstances"},
}
# And what that recording cannot show: AWS asks for it behind RunInstances, Session Manager's agent and client call it,
# and `ray up` lists instance types (test_launcher.py).
BEHIND_THE_CALLS = {
    "aws-launcher": {
        "ec2:DescribeInstanceTypes",
        "iam:PassRole",
        "ssm:GetParameters",
        "ssm:StartSession",
        "ssm:TerminateSession",
    },
    "aws-head": {
        "iam:PassRole",
        "ssm:GetParameters",
        "ssm:UpdateInstanceInformation",
        "ssmmessages:CreateControlChannel",
        "ssmmessages:CreateDataChannel",
        "ssmmessages:OpenControlChannel",
        "ssmmessages:OpenDataChannel",
    },
}
S3_ACTIONS = {
    "HeadObject": "s3:GetObject",
    "GetObject": "s3:GetObject",
    "PutObject": "s3:PutObject",
    "DeleteObject": "s3:DeleteObject",
    "DeleteObjects": "s3:DeleteObject",
    "ListObjectsV2": "s3:ListBucket",
}


def listed(value: str | list[str]) -> list[str]:
    """A policy's value, which may be one or several."""
    return [value] if isinstance(value, str) else value


def granted(policy: dict[str, Any]) -> set[str]:
    """Every action of a policy."""
    return {action for statement in policy["Statement"] for action in listed(statement["Action"])}


def too_wide(policy: dict[str, Any]) -> list[str]:
    """Statements with a wildcard for an action, all resources without need, a whole bucket, or passing any role."""
    found = []
    for statement in policy["Statement"]:
        actions, resources = listed(statement["Action"]), listed(statement["Resource"])
        if any("*" in action for action in actions) or "NotAction" in statement or "NotResource" in statement:
            found.append(f"{statement['Sid']}: {actions}")
        if "*" in resources and not all(WITHOUT_RESOURCES.fullmatch(action) for action in actions):
            found.append(f"{statement['Sid']}: all resources")
        for resource in resources:
            if re.fullmatch(r"arn:aws:s3:::[^/]+(/\*)?", resource) and "s3:prefix" not in json.dumps(statement):
                found.append(f"{statement['Sid']}: the whole bucket {resource}")
            if re.search(r":role/.*\*", resource):
                found.append(f"{statement['Sid']}: any role")
            if resource.endswith(":instance/*") and not statement.get("Condition"):
                found.append(f"{statement['Sid']}: any instance")
    return found


def test_no_policy_is_too_wide(policies: dict[str, dict[str, Any]]) -> None:
    assert policies.keys() == {"aws-launcher", "aws-head", "aws-worker"}
    assert [finding for policy in policies.values() for finding in too_wide(policy)] == []


@pytest.mark.parametrize(
    "statement",
    [
        {"Action": "ec2:*", "Resource": "arn:aws:ec2:r:1:volume/1"},
        {"Action": "s3:Get*", "Resource": "arn:aws:s3:::b/p/*"},
        {"Action": "ec2:TerminateInstances", "Resource": "*"},
        {"Action": ["ec2:DescribeInstances", "ec2:TerminateInstances"], "Resource": "*"},
        {"Action": "ec2:TerminateInstances", "Resource": "arn:aws:ec2:r:1:instance/*"},
        {"Action": "s3:GetObject", "Resource": "arn:aws:s3:::b/*"},
        {"Action": "s3:ListBucket", "Resource": "arn:aws:s3:::b"},
        {"Action": "iam:PassRole", "Resource": "arn:aws:iam::1:role/*"},
    ],
    ids=lambda statement: f"{statement['Action']} on {statement['Resource']}",
)
def test_a_planted_wide_statement_is_reported(statement: dict[str, Any]) -> None:
    assert too_wide({"Statement": [{"Sid": "planted", "Effect": "Allow", **statement}]})


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, dict[str, Any]]]:
    """Actions and arguments of every boto call from here on."""
    recorded: list[tuple[str, dict[str, Any]]] = []
    original = botocore.client.BaseClient._make_api_call

    def record(client: Any, operation: str, arguments: dict[str, Any]) -> Any:
        recorded.append((f"{client.meta.service_model.service_name}:{operation}", arguments))
        return original(client, operation, arguments)

    monkeypatch.setattr(botocore.client.BaseClient, "_make_api_call", record)
    return recorded


def live_and_end(provider: AWSNodeProvider, config: dict[str, Any], role: str) -> None:
    """Launch a node of a type, look at it, tag it and end it, as launcher and autoscaler do."""
    tags = {
        "ray-node-type": "head" if role == "head" else "worker",
        "ray-user-node-type": role,
        "ray-node-name": f"ray-gem-ray-{role}",
        "ray-node-status": "uninitialized",
        "ray-launch-config": "hash",
    }
    provider.create_node(copy.deepcopy(config["available_node_types"][role]["node_config"]), tags, 1)
    (node,) = provider.non_terminated_nodes({"ray-user-node-type": role})
    assert provider.internal_ip(node)
    provider.set_node_tags(node, {"ray-node-status": "up-to-date"})
    provider.terminate_nodes([node])


def request_is_granted(policy: dict[str, Any], request: dict[str, Any]) -> bool:
    """Whether the conditions on launching an instance and its disks hold for a recorded request."""
    values = {f"aws:RequestTag/{tag['Key']}": tag["Value"] for tag in request["TagSpecifications"][0]["Tags"]}
    values["ec2:MetadataHttpTokens"] = request.get("MetadataOptions", {}).get("HttpTokens", "optional")
    launching = [s for s in policy["Statement"] if s["Action"] == "ec2:RunInstances" and "Condition" in s]
    (instance,) = (s["Condition"]["StringEquals"] for s in launching if "StringEquals" in s["Condition"])
    (disks,) = (s["Condition"]["Bool"] for s in launching if "Bool" in s["Condition"])
    encrypted = all(device["Ebs"].get("Encrypted") for device in request["BlockDeviceMappings"])
    return disks == {"ec2:Encrypted": "true"} and encrypted and all(values.get(k) == v for k, v in instance.items())


@pytest.mark.parametrize("name", CALLED)
def test_launcher_and_head_are_granted_what_ray_calls_and_no_more(
    name: str, policies: dict[str, dict[str, Any]]
) -> None:
    assert granted(policies[name]) == CALLED[name] | BEHIND_THE_CALLS[name]


@pytest.mark.slow  # 3 s of work in the simulation, half a minute on a busy machine
def test_ray_calls_that_and_its_requests_fit_the_conditions(
    calls: list[tuple[str, dict[str, Any]]], simulated_ec2: dict[str, Any], policies: dict[str, dict[str, Any]]
) -> None:
    calls.clear()
    config = AWSNodeProvider.bootstrap_config(simulated_ec2)
    provider = AWSNodeProvider(config["provider"], config["cluster_name"])
    live_and_end(provider, config, "head")
    assert {action for action, _ in calls} == CALLED["aws-launcher"]
    (request,) = (arguments for action, arguments in calls if action == "ec2:RunInstances")
    assert request_is_granted(policies["aws-launcher"], request)
    assert not request_is_granted(policies["aws-head"], request)  # the head makes no second head

    calls.clear()
    live_and_end(provider, config, "train")
    assert {action for action, _ in calls} == CALLED["aws-head"]
    (request,) = (arguments for action, arguments in calls if action == "ec2:RunInstances")
    assert request["InstanceMarketOptions"]["MarketType"] == "spot"
    assert request_is_granted(policies["aws-head"], request)
    for soft in ({"MetadataOptions": {}}, {"BlockDeviceMappings": [{"Ebs": {}}]}):
        assert not request_is_granted(policies["aws-head"], {**request, **soft})


def test_roles_that_are_passed_are_those_of_the_launcher_file(
    launchers: dict[str, dict[str, Any]], policies: dict[str, dict[str, Any]]
) -> None:
    types = launchers["aws.yaml"]["available_node_types"]
    profiles = {role: kind["node_config"]["IamInstanceProfile"]["Name"] for role, kind in types.items()}
    passed = {
        name: {
            statement["Resource"].rpartition("/")[2]
            for statement in policies[name]["Statement"]
            if statement["Action"] == "iam:PassRole"
        }
        for name in ("aws-launcher", "aws-head")
    }
    assert passed["aws-launcher"] == {profiles["head"]}
    assert passed["aws-head"] == {profile for role, profile in profiles.items() if role != "head"}


def test_workers_are_granted_what_storage_calls_and_no_more(
    monkeypatch: pytest.MonkeyPatch, policies: dict[str, dict[str, Any]]
) -> None:
    recorded: set[str] = set()
    original = AioBaseClient._make_api_call

    async def record(client: Any, operation: str, arguments: dict[str, Any]) -> Any:
        recorded.add(operation)
        return await original(client, operation, arguments)

    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "simulated")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    with s3_server() as endpoint:
        boto3.client("s3", endpoint_url=endpoint).create_bucket(Bucket="bucket")
        monkeypatch.setattr(AioBaseClient, "_make_api_call", record)
        storage = Storage("s3://bucket/runs/a", StorageConfig(endpoint_url=endpoint))
        storage.write_bytes("graph/snapshot.json", b"{}")
        assert storage.create_bytes("lock.json", b"{}") is True
        assert storage.create_bytes("lock.json", b"{}") is False
        assert storage.read_bytes("graph/snapshot.json") == b"{}"
        assert storage.exists("lock.json")
        assert storage.list()
        storage.delete("lock.json")
    called = {S3_ACTIONS[operation] for operation in recorded}
    # A large write goes in parts, and one that fails is aborted.
    assert granted(policies["aws-worker"]) == called | {"s3:AbortMultipartUpload"}
    writing = [s for s in policies["aws-worker"]["Statement"] if "s3:PutObject" in listed(s["Action"])]
    assert [statement["Resource"] for statement in writing] == ["arn:aws:s3:::RUN_BUCKET/RUN_PREFIX/*"]


def test_gcp_roles_are_short_lists_of_single_permissions() -> None:
    roles = {file.stem: yaml.safe_load(file.read_text()) for file in (ROOT / "cluster" / "iam").glob("*.yaml")}
    assert roles.keys() == {"gcp-head", "gcp-worker"}
    for role in roles.values():
        permissions = role["includedPermissions"]
        assert permissions == sorted(set(permissions))
        assert all(re.fullmatch(r"(compute|storage)\.[a-zA-Z]+\.[a-zA-Z]+", permission) for permission in permissions)
        assert not any("setIamPolicy" in permission for permission in permissions)
    assert not any("instances" in permission for permission in roles["gcp-worker"]["includedPermissions"])
