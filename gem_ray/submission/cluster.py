"""The cluster's job server: reaching it, what it knows, and errors that say what to do."""

from __future__ import annotations

import logging
import os
import socket
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlparse

import aiohttp
import requests
from ray._private.ray_constants import get_runtime_env_default_excludes
from ray._private.runtime_env.packaging import create_package
from ray.exceptions import AuthenticationError
from ray.job_submission import JobDetails, JobSubmissionClient

from gem_ray.errors import ClusterError, ConfigError
from gem_ray.submission.messages import token_places, unreachable
from gem_ray.submission.package import packaged_sizes

T = TypeVar("T")
quiet = logging.getLogger(__name__)  # Ray tells of every .gitignore it leaves out
CONNECT_S = 5.0
PORTS = {"http": 80, "https": 443}
FAULTS = (RuntimeError, ConnectionError, requests.exceptions.RequestException, aiohttp.ClientError)


class JobServer:
    """The jobs of one cluster.

    Args:
        address: http:// or https:// address of the dashboard

    Raises:
        ClusterError: from every method, where the cluster cannot be reached or lets nobody in
    """

    def __init__(self, address: str) -> None:
        self.address = address.rstrip("/")
        self._knock()
        # Ray lets these two win over the argument, and RAY_ADDRESS may name the control port of another cluster.
        os.environ["RAY_API_SERVER_ADDRESS"] = self.address
        self._client = self.call(lambda: JobSubmissionClient(self.address))

    def _knock(self) -> None:
        parts = urlparse(self.address)
        try:
            port = parts.port or PORTS[parts.scheme]
            socket.create_connection((parts.hostname or "", port), timeout=CONNECT_S).close()
        except (OSError, ValueError) as error:
            raise ClusterError(unreachable(self.address, str(error))) from error

    def call(self, action: Callable[[], T]) -> T:
        """Run a request; what Ray raises becomes an error that names the remedy."""
        try:
            return action()
        except AuthenticationError as error:
            refused = "403: the token is not this cluster's" if "invalid" in str(error).lower() else "401: no token"
            raise ClusterError(
                f"the cluster at {self.address} does not let us in ({refused}). Ray looked for its token in: "
                f"{token_places()}. Put the cluster's token into one of them (on a head node of the "
                "launcher it is in ~/.ray/auth_token; KubeRay keeps it in the Secret of the cluster's name)"
            ) from error
        except FAULTS as error:
            raise ClusterError(f"the job server at {self.address} failed: {type(error).__name__}: {error}") from error

    def statuses(self) -> dict[str, str]:
        """Status of every job by its submission id."""
        jobs = self.call(self._client.list_jobs)
        return {job.submission_id: job.status.value for job in jobs if job.submission_id}

    def details(self, submission_id: str) -> JobDetails:
        """What the cluster knows of a job."""
        return self.call(lambda: self._client.get_job_info(submission_id))

    def submit(self, submission_id: str, **options: Any) -> None:
        """Send a job.

        Args:
            options: of ``JobSubmissionClient.submit_job``

        Raises:
            ConfigError: the id is taken, since somebody has just sent the same run
        """
        try:
            self.call(lambda: self._client.submit_job(submission_id=submission_id, **options))
        except ClusterError as error:
            if "already" in str(error) and submission_id in str(error):
                raise ConfigError(f"{submission_id} has just been sent by somebody else; follow it") from error
            raise

    def stop(self, submission_id: str) -> bool:
        """Ask a job to end as Ctrl-C does; False where it had ended."""
        return self.call(lambda: self._client.stop_job(submission_id))

    def logs(self, submission_id: str) -> str:
        """Everything a job has written."""
        return self.call(lambda: self._client.get_job_logs(submission_id))

    @property
    def tail(self) -> Callable[[str], Any]:
        """Asynchronous iterator over a job's log, from its beginning; see ``JobSubmissionClient.tail_job_logs``."""
        return self._client.tail_job_logs


def package_sizes(working_dir: str, excludes: list[str]) -> dict[str, int]:
    """Compressed bytes of every file that Ray will send, found by packing it as Ray does."""
    with tempfile.TemporaryDirectory() as folder:
        package = Path(folder) / "package.zip"
        create_package(
            working_dir,
            package,
            include_gitignore=True,
            excludes=[*get_runtime_env_default_excludes(), *excludes],
            logger=quiet,
        )
        return packaged_sizes(package)
