"""What a journal of a DisGraph holds: one accepted change a record, in a frame that tells damage from a torn write.

Text all through, so that a journal can be read with ``less``. Nothing here touches storage.
"""

from __future__ import annotations

import json
import zlib
from dataclasses import asdict, dataclass
from typing import Any

from gem_ray.errors import GraphError
from gem_ray.graph.disgraph import DisGraph
from gem_ray.graph.encoding import decode_float, encode_float
from gem_ray.graph.staleness import Staleness
from gem_ray.messages.graph import Push
from gem_ray.typed_json import parse_json, typed

MOST_VERSIONS = 2**62  # any base version was once acceptable
HEADER_BYTES = 27  # three hexadecimal words: length, crc of the payload, crc of the two words before
SECTOR_BYTES = 512  # what a disk writes whole or not at all


@dataclass(frozen=True, kw_only=True)
class Record:
    """One accepted change: a push, or a rollback (``push`` is None and ``restored`` holds the whole graph).

    Args:
        version: of the graph that the change leads to
        operation_id: push id, or the id of the rollback; applied at most once
        time_s: when it was accepted, seconds since 1970
        max_change: the clamp in force at that time, so that a replay gives the same bits under another setting
        restored: JSON of the graph after a rollback, None for a push
    """

    version: int
    operation_id: str
    time_s: float
    max_change: float
    push: Push | None = None
    restored: str | None = None

    def apply_to(self, graph: DisGraph) -> DisGraph:
        """The graph after this change.

        Raises:
            GraphError: the record does not follow on this version
        """
        if self.version != graph.version + 1:
            raise GraphError(f"the journal goes from version {graph.version} to {self.version}: records are missing")
        if self.push is not None:
            refusal = graph.check(self.push, Staleness(MOST_VERSIONS))
            if refusal:
                raise GraphError(f"version {self.version} in the journal is no change of this graph: {refusal[1]}")
            return graph.apply(self.push, self.max_change)
        return DisGraph.from_json(self.restored or "")

    def to_bytes(self) -> bytes:
        """The checksummed frame."""
        content = vars(self) | {"push": None if self.push is None else push_content(self.push)}
        payload = json.dumps(content, allow_nan=False, separators=(",", ":")).encode()
        words = b"%08x %08x " % (len(payload), zlib.crc32(payload))
        return words + b"%08x " % zlib.crc32(words) + payload + b"\n"

    @classmethod
    def from_payload(cls, payload: bytes) -> Record:
        """Read the JSON inside a frame whose checksums hold.

        Raises:
            GraphError: it is of another version of this program
        """
        try:
            content = parse_json(payload)
            if content["push"] is not None:
                content["push"]["edges"] = [_edge_content(*edge) for edge in content["push"]["edges"]]
            return typed(cls, content)
        except (ValueError, TypeError, KeyError) as error:
            raise GraphError(f"a journal record of another schema: {type(error).__name__}: {error}") from error


def parse(data: bytes, where: str) -> tuple[list[Record], int]:
    """Records of consecutive frames, and the length of the part that is whole; what follows it is a torn frame.

    Raises:
        GraphError: a frame that is complete but damaged; it may have been acknowledged, so it is never passed over
    """
    records: list[Record] = []
    start = 0
    while len(data) - start >= HEADER_BYTES:
        header = data[start : start + HEADER_BYTES]
        payload_start = start + HEADER_BYTES
        if header[18:] != b"%08x " % zlib.crc32(header[:18]):
            if not data[start:].strip(b"\0"):
                break  # a power cut can leave a file longer than what was written
            raise damaged(where, start)
        end = payload_start + int(header[:8], 16)
        if end >= len(data):
            break
        payload = data[payload_start:end]
        if end + 1 == len(data) and _is_unwritten_from_a_sector_on(data, payload_start):
            break
        if zlib.crc32(payload) != int(header[9:17], 16) or data[end : end + 1] != b"\n":
            raise damaged(where, start)
        records.append(Record.from_payload(payload))
        start = end + 1
    return records, start


def _is_unwritten_from_a_sector_on(data: bytes, payload_start: int) -> bool:
    """Whether the last frame was cut short by a power cut after its length had reached the disk, and not all of it.

    A frame holds no zero byte, so what was written ends where the zeros begin, between two sectors. One zero byte alone
    may be damage to a change that was acknowledged, so it is none of this.
    """
    written = len(data.rstrip(b"\0"))
    return written >= payload_start and written % SECTOR_BYTES == 0 and len(data) - written > 1


def damaged(where: str, offset: int) -> GraphError:
    """The error for bytes that were once acknowledged and cannot be read any more."""
    return GraphError(
        f"{where} is damaged at byte {offset}: an acknowledged change cannot be read; restore the file from a copy, "
        "or cut it there to go back to the version before"
    )


def push_content(push: Push) -> dict[str, Any]:
    """A push as plain JSON values, which are the same after it was pickled and read again."""
    # Scores computed with numpy arrive as numpy's scalars, which JSON does not know.
    edges = [
        [e.source, e.target, float(e.strength), encode_float(float(e.standard_error)), int(e.num_observations)]
        for e in push.edges
    ]
    return vars(push) | {
        "base_version": int(push.base_version),
        "step": None if push.step is None else int(push.step),
        "scores": None if push.scores is None else asdict(push.scores),
        "edges": edges,
    }


def _edge_content(source: Any, target: Any, strength: Any, error: Any, num_observations: Any) -> dict[str, Any]:
    return {
        "source": source,
        "target": target,
        "strength": strength,
        "standard_error": decode_float(error),
        "num_observations": num_observations,
    }
