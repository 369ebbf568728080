"""Following a job's log from afar, over lost connections, until it ends or the person who watches leaves."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

import aiohttp
from ray.job_submission import JobDetails

from gem_ray.errors import ClusterError
from gem_ray.submission.cluster import JobServer
from gem_ray.submission.messages import INTERRUPTED, ending, exit_status

POLL_S = 1.0
ASK_S = 5.0
SAY_PENDING_S = 15.0
GIVE_UP_S = 120.0
TAIL_CHARACTERS = 20_000


class Follower:
    """Shows a job's log as it grows, each character once, however often the connection is made anew.

    Args:
        write: takes text as it comes
    """

    def __init__(self, server: JobServer, submission_id: str, write: Callable[[str], Any]) -> None:
        self._server, self._id, self._write = server, submission_id, write
        self._shown = 0
        self.end_of_log = ""

    def until_it_ends(self) -> JobDetails:
        """Follow; gives what the cluster says at the end.

        Raises:
            ClusterError: the cluster has not answered for two minutes
            KeyboardInterrupt: Ctrl-C; calling again goes on where it stopped
        """
        return asyncio.run(self._follow())

    async def _follow(self) -> JobDetails:
        answered = said = time.monotonic()
        while True:
            try:
                await self._read()
                details = await asyncio.to_thread(self._server.details, self._id)
                answered = time.monotonic()
            except (ClusterError, RuntimeError, OSError, aiohttp.ClientError) as error:
                if time.monotonic() - answered > GIVE_UP_S:
                    raise ClusterError(
                        f"lost the cluster for {GIVE_UP_S:.0f} s ({error}); the job may go on: submit.action=follow"
                    ) from error
                await asyncio.sleep(POLL_S)
                continue
            if details.status.is_terminal():
                await self._read()  # what was written between the last look and the end
                return details
            if not self._shown and time.monotonic() - said > SAY_PENDING_S:
                said = time.monotonic()
                self._write(f"{self._id} is {details.status.value}: {details.message or 'waiting for a node'}\n")
            await asyncio.sleep(POLL_S)

    async def _read(self) -> None:
        """Read the log from its beginning, as the server gives it, and show what is new."""
        passed = 0
        async for text in self._server.tail(self._id):
            new = text[max(0, self._shown - passed) :]
            passed += len(text)
            self._shown = max(self._shown, passed)
            if new:
                self._write(new)
                self.end_of_log = (self.end_of_log + new)[-TAIL_CHARACTERS:]


def follow(server: JobServer, submission_id: str, on_interrupt: str, write: Callable[[str], Any]) -> int:
    """Show a job's log until it ends, say how it ended, and return the status to end with.

    Args:
        on_interrupt: see ``submit.on_interrupt``

    Raises:
        ClusterError: the cannot be reached any more
    """
    follower = Follower(server, submission_id, write)
    try:
        details = follower.until_it_ends()
    except KeyboardInterrupt:
        if not _wants_to_stop(submission_id, on_interrupt, write):
            write(f"\nleft {submission_id} running; submit.action=follow shows it again, submit.action=stop ends it\n")
            return INTERRUPTED
        write(f"\nending {submission_id}; Ctrl-C once more leaves without waiting for it\n")
        server.stop(submission_id)
        details = follower.until_it_ends()
    return conclude(details, submission_id, follower.end_of_log, write)


def conclude(details: JobDetails, submission_id: str, end_of_log: str, write: Callable[[str], Any]) -> int:
    """Say how a job ended; returns the status to end with."""
    status, code = details.status.value, details.driver_exit_code
    write(f"\n{ending(submission_id, status, code, details.message or '', end_of_log)}\n")
    return exit_status(status, code)


def _wants_to_stop(submission_id: str, on_interrupt: str, write: Callable[[str], Any]) -> bool:
    if on_interrupt != "ask":
        return on_interrupt == "stop"
    write(f"\nCtrl-C again within {ASK_S:.0f} s ends {submission_id} on the cluster; otherwise it is left running\n")
    try:
        time.sleep(ASK_S)
    except KeyboardInterrupt:
        return True
    return False
