"""Records: the same bits after a round trip, and damage told from a torn write at every byte."""

from __future__ import annotations

import math

import numpy as np
import pytest

from gem_ray.errors import GraphError
from gem_ray.graph.disgraph import DisGraph
from gem_ray.graph.record import HEADER_BYTES, SECTOR_BYTES, Record, parse
from gem_ray.messages.graph import EdgeUpdate, EvidenceKind, Push, ScoresRef

ATTRIBUTES = ("male", "beard")


def make_record(version: int = 1, **changes) -> Record:
    edge = EdgeUpdate(
        source="male", target="beard", strength=0.1 + 0.2 * version, standard_error=math.inf, num_observations=3
    )
    push = Push(
        push_id=f"p{version}",
        base_version=0,
        kind=EvidenceKind.SCORES,
        edges=(edge,),
        evidence_id="é.json",
        step=7,
        scores=ScoresRef(uri="s3://b/scores", sha256="0" * 64, num_images=3),
    )
    values = {"version": version, "operation_id": push.push_id, "time_s": 1.5, "max_change": 0.25, "push": push}
    return Record(**(values | changes))


def make_rollback(version: int) -> Record:
    graph = DisGraph.empty(ATTRIBUTES)
    for before in range(version):
        graph = graph.restore(graph)
        assert graph.version == before + 1
    return make_record(version, push=None, restored=graph.to_json())


def test_records_survive_their_frame():
    records = [make_record(1), make_record(2), make_rollback(3)]
    data = b"".join(record.to_bytes() for record in records)
    assert parse(data, "here") == (records, len(data))


def test_scores_of_numpy_survive_their_frame():
    edge = EdgeUpdate(
        source="male",
        target="beard",
        strength=np.float32(0.3),
        standard_error=np.float64(0.1),
        num_observations=np.int64(5),
    )
    push = Push(
        push_id="p",
        base_version=np.int64(0),
        kind=EvidenceKind.SCORES,
        edges=(edge,),
        evidence_id="e",
        step=np.int64(4),
    )
    record = make_record(push=push)
    ((again,), _) = parse(record.to_bytes(), "here")
    empty = DisGraph.empty(ATTRIBUTES)
    assert again.apply_to(empty).digest() == record.apply_to(empty).digest()


def test_replay_uses_the_clamp_of_its_time():
    assert make_record(max_change=0.25).apply_to(DisGraph.empty(ATTRIBUTES)).strength[0, 1] == 0.25
    assert make_record(max_change=0.5).apply_to(DisGraph.empty(ATTRIBUTES)).strength[0, 1] == pytest.approx(0.3)


def test_record_of_a_later_version_does_not_apply():
    with pytest.raises(GraphError, match="from version 0 to 2"):
        make_record(2).apply_to(DisGraph.empty(ATTRIBUTES))


def test_every_prefix_gives_a_prefix_of_the_records():
    records = [make_record(version) for version in range(1, 6)]
    frames = [record.to_bytes() for record in records]
    data = b"".join(frames)
    ends = np.cumsum([0] + [len(frame) for frame in frames])
    for cut in range(ends[2], len(data) + 1):
        whole = int(np.searchsorted(ends, cut, side="right")) - 1
        assert parse(data[:cut], "here") == (records[:whole], ends[whole])


def test_every_flipped_byte_of_a_whole_frame_is_noticed():
    data = b"".join(make_record(version).to_bytes() for version in (1, 2, 3))
    for position in range(len(data)):
        for mask in (0x01, 0x80):
            flipped = data[:position] + bytes([data[position] ^ mask]) + data[position + 1 :]
            with pytest.raises(GraphError, match="here is damaged at byte"):
                parse(flipped, "here")


def test_zeros_after_the_last_frame_are_a_torn_write():
    frame = make_record().to_bytes()
    assert parse(frame + bytes(100), "here") == ([make_record()], len(frame))
    with pytest.raises(GraphError, match="damaged"):
        parse(frame + bytes(HEADER_BYTES) + frame, "here")


def long_record(version: int, length: int) -> Record:
    """A record whose frame has ``length`` bytes."""
    record = make_record(version, operation_id="")
    return make_record(version, operation_id="x" * (length - len(record.to_bytes())))


def test_a_last_frame_whose_later_sectors_were_never_written_is_torn():
    first, last = long_record(1, 700), long_record(2, 2000)
    data = first.to_bytes() + last.to_bytes()
    for written in range(2 * SECTOR_BYTES, len(data), SECTOR_BYTES):
        assert parse(data[:written] + bytes(len(data) - written), "here") == ([first], 700)


@pytest.mark.parametrize("written", [2 * SECTOR_BYTES - 1, 2 * SECTOR_BYTES + 1, 2690, 2699])
def test_zeros_from_within_a_sector_on_are_damage(written):
    data = long_record(1, 700).to_bytes() + long_record(2, 2000).to_bytes()
    with pytest.raises(GraphError, match="here is damaged at byte 700"):
        parse(data[:written] + bytes(len(data) - written), "here")


def test_zeros_that_reach_back_into_an_earlier_frame_are_damage():
    data = long_record(1, 1400).to_bytes() + long_record(2, 1000).to_bytes()
    with pytest.raises(GraphError, match="here is damaged at byte 0"):
        parse(data[: 2 * SECTOR_BYTES] + bytes(len(data) - 2 * SECTOR_BYTES), "here")


def test_one_zero_at_the_end_is_damage_also_where_a_sector_begins_with_it():
    frame = long_record(1, 2 * SECTOR_BYTES + 1).to_bytes()
    with pytest.raises(GraphError, match="here is damaged at byte 0"):
        parse(frame[:-1] + bytes(1), "here")


def test_record_of_another_schema_is_refused():
    with pytest.raises(GraphError, match="another schema"):
        Record.from_payload(b'{"version": 1, "push": null, "surprise": 2}')
