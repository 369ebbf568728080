"""What chaos tests share: an S3 server on loopback, a Ray of their own with Serve, and eyes for its processes."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator

import boto3
import psutil
import pytest
import ray
import s3fs
from ray import serve

from gem_ray.train.ray_session import start_ray
from kit.s3_server import s3_server

FindProcesses = Callable[[str], list[psutil.Process]]
FindEngines = Callable[[], list[psutil.Process]]


@pytest.fixture(scope="module")
def s3_endpoint() -> Iterator[str]:
    """A moto server in this process, with an empty bucket ``chaos``; its credentials are in the environment."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ACCESS_KEY_ID", "testing")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        s3fs.S3FileSystem.clear_instance_cache()  # an earlier module's would keep that module's credentials
        with s3_server() as endpoint:
            boto3.client("s3", endpoint_url=endpoint).create_bucket(Bucket="chaos")
            yield endpoint


@pytest.fixture(scope="module")
def ray_with_serve() -> Iterator[None]:
    """More logical CPUs than this machine may have: replicas of scripted scorers need next to none."""
    start_ray(num_cpus=8, include_dashboard=False, object_store_memory=400_000_000, log_to_driver=False)
    logging.getLogger("ray.serve").setLevel(logging.ERROR)  # it warns of each refusal and each lost replica
    yield
    serve.shutdown()
    ray.shutdown()


@pytest.fixture(scope="session")
def find_processes() -> FindProcesses:
    """Live processes below this test whose title holds a name."""

    def find(name: str) -> list[psutil.Process]:
        return [process for process in psutil.Process().children(recursive=True) if name in _title(process)]

    return find


@pytest.fixture(scope="session")
def find_engines(find_processes: FindProcesses) -> FindEngines:
    """vLLM's engines, by the title they give themselves or, where that did not take, by how they were started."""
    return lambda: find_processes("EngineCore") or find_processes("spawn_main")


def _title(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline()) if process.status() != psutil.STATUS_ZOMBIE else ""
    except psutil.NoSuchProcess:
        return ""
