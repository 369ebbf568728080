"""The launcher files against Ray's own schema and checks, as its autoscaler reads them, and against a simulated EC2."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from ray._private.label_utils import validate_node_label_syntax
from ray.autoscaler._private.aws.node_provider import AWSNodeProvider
from ray.autoscaler._private.util import prepare_config, validate_config
from ray.autoscaler.v2.instance_manager.config import AutoscalingConfig

FILES = ("aws.yaml", "gcp.yaml")


def prepared(config: dict[str, Any]) -> dict[str, Any]:
    """A launcher file with Ray's defaults filled in, as ``ray up`` does it."""
    return prepare_config(copy.deepcopy(config))


@pytest.mark.parametrize("name", FILES)
def test_ray_accepts_the_file(name: str, launchers: dict[str, dict[str, Any]]) -> None:
    validate_config(prepared(launchers[name]))


@pytest.mark.parametrize(
    ("path", "value"),
    [(("head_node",), {}), (("available_node_types", "train", "label"), {}), (("docker", "img"), "a:1")],
    ids=["a field that is gone", "a misspelt node type", "a misspelt docker option"],
)
def test_ray_refuses_a_field_that_is_not_of_the_schema(
    path: tuple[str, ...], value: Any, launchers: dict[str, dict[str, Any]]
) -> None:
    config = prepared(launchers["aws.yaml"])
    place = config
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    with pytest.raises(jsonschema.ValidationError):
        validate_config(config)


@pytest.mark.parametrize("name", FILES)
def test_nothing_is_installed_on_a_node(name: str, launchers: dict[str, dict[str, Any]]) -> None:
    config = prepared(launchers[name])
    kinds = ("initialization_commands", "setup_commands", "head_setup_commands", "worker_setup_commands")
    assert [config[kind] for kind in kinds] == [[], [], [], []]
    # Said nothing, Ray would install a nightly of its own.
    silent = {key: value for key, value in launchers[name].items() if not key.endswith("setup_commands")}
    assert any("pip install" in command for command in prepared(silent)["head_setup_commands"])


@pytest.mark.parametrize("name", FILES)
def test_the_autoscaler_reads_roles_resources_and_images(
    name: str, launchers: dict[str, dict[str, Any]], tmp_path: Path
) -> None:
    key = tmp_path / "key"  # its content is part of a node type's hash
    key.write_text("a key")
    config = prepared(launchers[name])
    config["auth"]["ssh_private_key"] = str(key)
    autoscaling = AutoscalingConfig(config, skip_content_hash=True)
    types = autoscaling.get_node_type_configs()
    assert types is not None
    assert {role: kind.labels for role, kind in types.items()} == {
        role: {"gem-ray/role": role} for role in ("head", "stable", "ingest", "train", "mllm")
    }
    for role, kind in types.items():
        validate_node_label_syntax(kind.labels)
        gpu = kind.resources.get("GPU", 0) > 0
        assert gpu == (role in ("train", "mllm"))
        assert autoscaling.get_docker_config(role).get("image", "").endswith("-gpu" if gpu else "-cpu")
    assert types["head"].resources == {"CPU": 0}
    assert (types["stable"].min_worker_nodes, types["train"].min_worker_nodes) == (1, 1)
    assert (types["ingest"].min_worker_nodes, types["mllm"].min_worker_nodes) == (0, 0)
    workers = [kind for role, kind in types.items() if role != "head"]
    assert sum(kind.max_worker_nodes for kind in workers) == launchers[name]["max_workers"]


@pytest.mark.parametrize("name", FILES)
def test_the_head_starts_with_the_second_autoscaler_and_its_file(
    name: str, launchers: dict[str, dict[str, Any]]
) -> None:
    start = " ".join(launchers[name]["head_start_ray_commands"])
    assert "RAY_enable_autoscaler_v2=1" in start
    assert "--autoscaling-config=~/ray_bootstrap_config.yaml" in start
    assert "--dashboard-host=127.0.0.1" in start


@pytest.mark.parametrize("name", FILES)
def test_the_token_comes_as_a_file(name: str, launchers: dict[str, dict[str, Any]]) -> None:
    config = launchers[name]
    (mounted,) = config["file_mounts"]
    # ~ of the container; a directory, since a single mounted file would not follow its changes
    assert f"--env RAY_AUTH_TOKEN_PATH={mounted.replace('~', '/home/gem')}auth_token" in config["docker"]["run_options"]


def test_only_training_is_on_the_spot_market(launchers: dict[str, dict[str, Any]]) -> None:
    aws, gcp = (launchers[name]["available_node_types"] for name in FILES)
    spot = {
        "aws": [role for role, kind in aws.items() if "InstanceMarketOptions" in kind["node_config"]],
        "gcp": [
            role
            for role, kind in gcp.items()
            if kind["node_config"].get("scheduling", {}).get("provisioningModel") == "SPOT"
        ],
    }
    assert spot == {"aws": ["train"], "gcp": ["train"]}


@pytest.mark.slow  # the simulated catalogue of instance types takes 15 s to list
def test_declared_resources_are_those_of_the_instance_types(simulated_ec2: dict[str, Any]) -> None:
    types = simulated_ec2["available_node_types"]
    silent = {
        **simulated_ec2,
        "available_node_types": {role: {**kind, "resources": {}} for role, kind in types.items()},
    }
    filled = AWSNodeProvider.fillout_available_node_types_resources(silent)
    for role, kind in types.items():
        if role != "head":
            real = filled["available_node_types"][role]["resources"]
            assert {key: real[key] for key in kind["resources"]} == kind["resources"]
