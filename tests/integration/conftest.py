"""What integration tests start for themselves and end by pid or handle: a local Ray, an S3 server on loopback."""

from __future__ import annotations

import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest
import ray
import s3fs

from gem_ray.config import GemConfig, StorageConfig
from gem_ray.storage import Storage
from gem_ray.train.ray_session import start_ray
from kit.sockets import free_port
from tests.integration.small_run import make_config, write_data, write_run


@pytest.fixture(scope="module")
def ray_4_cpus() -> Iterator[None]:
    """A Ray of this module's own, with more logical CPUs than this machine may have."""
    start_ray(num_cpus=4, include_dashboard=False, object_store_memory=400_000_000)
    yield
    ray.shutdown()


@pytest.fixture(scope="session")
def s3_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Endpoint of a moto server: real HTTP and the S3 protocol."""
    port = free_port()
    log = Path(tmp_path_factory.mktemp("s3") / "server.log")
    with log.open("wb") as output:
        server = subprocess.Popen(
            [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)], stdout=output, stderr=output
        )
    url = f"http://127.0.0.1:{port}"
    try:
        wait_for(url, server, log)
        yield url
    finally:
        server.terminate()
        server.wait(timeout=10)


def wait_for(url: str, server: subprocess.Popen[bytes], log: Path, timeout_s: float = 60.0) -> None:
    end = time.monotonic() + timeout_s
    while True:
        try:
            urllib.request.urlopen(f"{url}/moto-api/", timeout=5).close()
            return
        except (urllib.error.URLError, OSError):
            assert server.poll() is None, f"the S3 server ended: {log.read_text()}"
            assert time.monotonic() < end, f"the S3 server did not answer: {log.read_text()}"
            time.sleep(0.1)


@pytest.fixture(scope="session")
def s3_credentials() -> Iterator[None]:
    """Credentials in the environment, before a module's Ray starts: its workers inherit them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ACCESS_KEY_ID", "testing")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        yield


@pytest.fixture
def s3_bucket(s3_url: str, s3_credentials: None) -> tuple[str, StorageConfig]:
    """(URI of an empty bucket, how to reach it)."""
    # An earlier test's filesystem would keep that test's credentials.
    s3fs.S3FileSystem.clear_instance_cache()
    name = f"bucket-{time.monotonic_ns()}"
    boto3.client("s3", endpoint_url=s3_url).create_bucket(Bucket=name)
    return f"s3://{name}", StorageConfig(endpoint_url=s3_url)


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Storage, Storage, GemConfig]:
    """(run, data, configuration) of a run whose report has been written."""
    folder = tmp_path_factory.mktemp("runs")
    config = make_config(folder)
    run = write_run(folder, config, write_data(folder))
    data = Storage(config.data.uri, config.storage)
    from gem_ray.evaluation.report import write_report  # seconds that no other test has to wait for

    write_report(run, data, config)
    return run, data, config
