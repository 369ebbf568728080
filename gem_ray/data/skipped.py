"""The images of a source that cannot be used: counted by cause, listed beside the data, and too many are an error."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict

from gem_ray.data.shard_task import ShardDone
from gem_ray.errors import DataError
from gem_ray.storage import Storage

SKIPPED = "skipped.json"


def check_bad_share(target: Storage, done: dict[int, ShardDone], total: int, limit: float) -> None:
    """Stop as soon as more images are bad than may be.

    Raises:
        DataError: with the share, the causes and some names; the whole list is written first
    """
    skipped = [record for shard in done.values() for record in shard.skipped]
    if len(skipped) <= limit * total:
        return
    write_skipped(target, done)
    causes = ", ".join(f"{number} {cause}" for cause, number in count_causes(done).items())
    examples = "; ".join(f"{record.name}: {record.detail}" for record in skipped[:3])
    raise DataError(
        f"{len(skipped):,} of {total:,} images ({len(skipped) / total:.1%}) cannot be used, over the limit "
        f"prepare.max_bad_share={limit}: {causes}. For example {examples}. All are listed in {target.uri}/{SKIPPED}; "
        "mend or remove them, or raise the limit; finished shards are kept"
    )


def count_causes(done: dict[int, ShardDone]) -> dict[str, int]:
    """How many images were skipped, by cause, the most frequent first."""
    return dict(Counter(record.cause for shard in done.values() for record in shard.skipped).most_common())


def write_skipped(target: Storage, done: dict[int, ShardDone]) -> None:
    """List every skipped image next to the manifest."""
    records = [asdict(record) for number in sorted(done) for record in done[number].skipped]
    content = {"counts": count_causes(done), "records": records}
    target.write_bytes(SKIPPED, json.dumps(content, indent=1).encode())
