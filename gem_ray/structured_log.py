"""What a run says: lines for a person, or with ``run.log_format=json`` an object on each line for a program.

Every process of a run configures itself. In JSON all records of our loggers go to standard output, where Ray collects
them; a driver takes off the prefix that Ray puts before the lines of workers.
"""

from __future__ import annotations

import io
import json
import logging
import re
import sys
from datetime import UTC, datetime
from typing import Any, TextIO

TEXT, JSON = "text", "json"
RAYS_PREFIX = re.compile(r"^(?:\x1b\[\d+m)?\([^)]*\bpid=\d+[^)]*\)(?:\x1b\[0m)? (?=\{)", re.MULTILINE)
log = logging.getLogger("gem_ray")
_facts: dict[str, Any] = {}


def configure(log_format: str, **facts: Any) -> None:
    """Set how this process writes.

    Args:
        log_format: ``text`` or ``json``
        facts: what every JSON line of this process says, as ``run`` and ``rank``
    """
    _facts.clear()
    _facts.update(facts)
    log.handlers = [handler for handler in log.handlers if not isinstance(handler.formatter, JsonLines)]
    log.propagate = log_format == TEXT
    if log_format == JSON:
        handler = logging.StreamHandler(sys.stdout)
        handler.setFormatter(JsonLines())
        log.addHandler(handler)
        log.setLevel(logging.INFO)


def is_json() -> bool:
    """Whether this process writes JSON."""
    return any(isinstance(handler.formatter, JsonLines) for handler in log.handlers)


def note(**facts: Any) -> None:
    """Change what every JSON line of this process says, as ``step`` and ``graph_version``."""
    _facts.update(facts)


def say(text: str, **facts: Any) -> None:
    """One line for the person at the terminal, with numbers for a program."""
    if is_json():
        log.info(text.strip(), extra={"facts": facts})
    else:
        print(text, flush=True)


def say_error(error: Exception) -> None:
    """The error that a job ends with: its kind and message."""
    if is_json():
        log.error(str(error), extra={"facts": {"error": type(error).__name__}})
    else:
        print(f"\n{type(error).__name__}: {error}", file=sys.stderr)


class JsonLines(logging.Formatter):
    """A record as one JSON object; what it says itself goes before what the process says."""

    def format(self, record: logging.LogRecord) -> str:
        """See ``logging.Formatter``."""
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "message": record.getMessage(),
            "logger": record.name,
            "pid": record.process,
            **_facts,
            **getattr(record, "facts", {}),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


class WithoutPrefix(io.TextIOBase):
    """A stream that takes Ray's "(RayTrainWorker pid=7) " off the JSON lines that pass through it."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write the text without prefixes; says that all of it was written."""
        self._stream.write(RAYS_PREFIX.sub("", text))
        return len(text)

    def flush(self) -> None:
        """Flush the stream below."""
        self._stream.flush()

    def isatty(self) -> bool:
        """Whether the stream below is a terminal."""
        return self._stream.isatty()


def configure_driver(log_format: str, run: str) -> None:
    """``configure`` for the process that a person has started."""
    configure(log_format, run=run)
    if log_format == JSON and not isinstance(sys.stdout, WithoutPrefix):
        sys.stdout = WithoutPrefix(sys.stdout)
