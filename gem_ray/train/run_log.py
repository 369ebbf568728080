"""What a run writes down as it goes: ``metrics.jsonl`` and TensorBoard events, kept in step with the checkpoints.

On a local folder lines are appended where they belong. Remote storage has no append: there the files grow in a
temporary folder and are uploaded with every checkpoint.
"""

from __future__ import annotations

import json
import tempfile
from typing import Any

from torch.utils.tensorboard import SummaryWriter

from gem_ray.evaluation.history import METRICS, read_metrics
from gem_ray.storage import Storage

TENSORBOARD = "tensorboard"


class RunLog:
    """Rank 0's log. ``start_step`` cuts off lines of steps that a resumed run will do again.

    Lines are JSON objects: measurements hold "step" and no "event"; events hold "event" and "step".
    """

    def __init__(self, run: Storage, start_step: int) -> None:
        self._run = run
        self._temporary = None if run.is_local else tempfile.TemporaryDirectory(prefix="gem_ray-log-")
        here = Storage(self._temporary.name, run.config) if self._temporary else run
        self._folder = here.local_path
        self._path = self._folder / METRICS
        kept = [line for line in read_metrics(run) if line["step"] < start_step]
        # Whole or not at all: a kill in between must not cost the run its history.
        here.write_bytes(METRICS, "".join(json.dumps(line) + "\n" for line in kept).encode())
        self._file = self._path.open("a")
        self._tensorboard = SummaryWriter(str(self._folder / TENSORBOARD), purge_step=start_step)

    def measure(self, step: int, values: dict[str, Any]) -> None:
        """Write one line, and every plain number of it to TensorBoard."""
        self._write({"step": step, **values})
        for name, value in values.items():
            if isinstance(value, int | float) and not isinstance(value, bool) and name != "time":
                self._tensorboard.add_scalar(name, value, step)

    def event(self, line: str) -> None:
        """Write an event given as JSON with "event" and "step"."""
        self._write(json.loads(line))

    def _write(self, line: dict[str, Any]) -> None:
        self._file.write(json.dumps(line) + "\n")
        self._file.flush()

    def remote_files(self) -> dict[str, bytes]:
        """What remote storage is to hold, by name, as of now; nothing where the run lies on a local folder."""
        self._tensorboard.flush()
        if self._run.is_local:
            return {}
        paths = [self._path, *sorted((self._folder / TENSORBOARD).rglob("*"))]
        return {path.relative_to(self._folder).as_posix(): path.read_bytes() for path in paths if path.is_file()}

    def close(self) -> None:
        """Bring everything to storage and close, and remove what lies here alone."""
        try:
            for name, data in self.remote_files().items():
                self._run.write_bytes(name, data)
        finally:
            self._file.close()
            self._tensorboard.close()
            if self._temporary:
                self._temporary.cleanup()
