"""What is done about faults of storage: a further try where they may pass, and else an error that says what to do."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import TypeVar

from gem_ray import telemetry
from gem_ray.config import StorageConfig
from gem_ray.errors import StorageError

T = TypeVar("T")
PERMANENT = (FileNotFoundError, PermissionError, FileExistsError, IsADirectoryError, NotADirectoryError)


def with_retries(what: str, action: Callable[[], T], uri: str, config: StorageConfig, is_local: bool) -> T:
    """Run an action, again after faults that may pass. ``FileNotFoundError`` and ``FileExistsError`` stay themselves.

    No try begins later than ``storage.patience_s`` after the first.

    Args:
        what: for the message, as in "cannot ... in s3://bucket/folder"; its first word is a label of metrics
        uri: of the folder that the action is about
        is_local: whether it lies on this machine, whose faults do not pass

    Raises:
        StorageError: a fault that does not pass, or the last one
    """
    endpoint = "this machine" if is_local else f"endpoint {config.endpoint_url or 'default'}"
    end = time.monotonic() + config.patience_s
    for attempt in range(1, config.attempts + 1):
        try:
            return action()
        except FileNotFoundError as error:
            if _bucket_is_missing(error):
                raise StorageError(
                    f"cannot {what} in {uri}: no such bucket at {endpoint}; create it, or check "
                    "the name and storage.endpoint_url"
                ) from error
            raise
        except FileExistsError:
            raise
        except _faults() as error:
            if _has_no_credentials(error):
                raise StorageError(
                    f"cannot {what} in {uri}: no credentials; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, "
                    "give the machine a role, or set storage.anonymous=true for a public bucket"
                ) from error
            pause_s = 0.0 if _is_damaged(error) else min(8.0, 0.2 * 2**attempt) * random.uniform(0.5, 1.0)
            over = attempt == config.attempts or time.monotonic() + pause_s > end
            last = over or isinstance(error, PERMANENT) or is_local
            operation = what.split(maxsplit=1)[0]
            if last:
                telemetry.add_count("gem_storage_failures", 1, operation=operation)
                raise StorageError(
                    f"cannot {what} in {uri} (try {attempt} of {config.attempts}, "
                    f"{endpoint}): {type(error).__name__}: {error}; "
                    "check the location, the permissions and that the server is up"
                ) from error
            telemetry.add_count("gem_storage_retries", 1, operation=operation)
            time.sleep(pause_s)
    raise AssertionError("unreachable")


def _faults() -> tuple[type[Exception], ...]:
    """What storage raises; looked up only where something was raised, since no start shall wait for clients of S3."""
    from aiohttp import ClientError as HTTPError
    from botocore.exceptions import BotoCoreError, ClientError

    return OSError, BotoCoreError, ClientError, HTTPError


def _is_damaged(error: Exception) -> bool:
    """Whether the bytes came and are wrong, of which no server is relieved by waiting."""
    from botocore.exceptions import FlexibleChecksumError

    return isinstance(error, FlexibleChecksumError)


def _has_no_credentials(error: Exception) -> bool:
    from botocore.exceptions import NoCredentialsError

    return isinstance(error, NoCredentialsError)


def _bucket_is_missing(error: FileNotFoundError) -> bool:
    from botocore.exceptions import ClientError

    cause = error.__cause__
    return isinstance(cause, ClientError) and cause.response.get("Error", {}).get("Code") == "NoSuchBucket"
