"""Names of submissions: functions of the run and of how often it was sent.

Ray refuses a second job of the same submission id, so of two people who send one run at once one is refused.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass

from gem_ray.config import GemConfig

ENDED = frozenset({"STOPPED", "SUCCEEDED", "FAILED"})
LONGEST = 64


@dataclass(frozen=True)
class Attempts:
    """What a cluster knows of one run.

    Args:
        under_way: submission id of the attempt that has not ended, None where all have
        next: submission id that the next attempt gets
        latest: submission id of the newest attempt, None where there was none
    """

    under_way: str | None
    next: str
    latest: str | None


def subject(config: GemConfig) -> tuple[str, str]:
    """(name, place) of what a job writes, which no two jobs may do at once."""
    places = {"prepare": config.data.uri, "table": config.table.output}
    place = places.get(config.submit.job, f"{config.run.uri.rstrip('/')}/{config.run.name}")
    return place.rstrip("/").rpartition("/")[2], place


def submission_prefix(config: GemConfig) -> str:
    """Submission id of a run, without the number of its attempt: job, name, and a digest of the place."""
    name, place = subject(config)
    plain = re.sub(r"[^A-Za-z0-9._-]+", "-", name)[:LONGEST].strip("-") or "job"
    return f"{config.submit.job}-{plain}-{hashlib.sha256(place.encode()).hexdigest()[:6]}"


def attempts(prefix: str, statuses: Mapping[str, str]) -> Attempts:
    """Attempts of one run among the jobs of a cluster.

    Args:
        statuses: status of every job by its submission id
    """
    numbered = {}
    for submission_id, status in statuses.items():
        head, _, number = submission_id.rpartition("-")
        if head == prefix and number.isdecimal():
            numbered[int(number)] = (submission_id, status)
    under_way = [name for _, (name, status) in sorted(numbered.items()) if status not in ENDED]
    newest = max(numbered, default=0)
    return Attempts(
        under_way=under_way[-1] if under_way else None,
        next=f"{prefix}-{newest + 1}",
        latest=numbered[newest][0] if newest else None,
    )
