"""``jobs.prepare``: images of any source to Parquet shards and a manifest, by Ray Data, one task a shard.

Stopped and run again it goes on where it was: a finished shard leaves a small JSON file under ``progress/``, and the
plan there makes sure that both runs mean the same data. The manifest comes last: unfinished data are never trained on.
"""

from __future__ import annotations

import json
import math
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import ray
import ray.data
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from gem_ray import telemetry
from gem_ray.config import GemConfig, PrepareConfig
from gem_ray.data.factors import with_named_factors
from gem_ray.data.images import ImageShape
from gem_ray.data.listings import Listing
from gem_ray.data.manifest import Manifest, has_manifest, read_manifest, write_manifest
from gem_ray.data.ray_manners import quiet_ray_data, raising_own_errors, well_behaved
from gem_ray.data.rounds import Shard, parts_of, rounds
from gem_ray.data.selection import NO_SPLIT, Selection, select
from gem_ray.data.shard_task import PROGRESS, ShardDone, ShardWork, attribute_names, make_shard, progress_name
from gem_ray.data.skipped import SKIPPED, check_bad_share, count_causes, write_skipped
from gem_ray.data.sources import list_source
from gem_ray.errors import DataError
from gem_ray.placement import label_selector
from gem_ray.storage import Storage
from gem_ray.structured_log import is_json
from gem_ray.typed_json import parse_json, typed

PLAN = f"{PROGRESS}/plan.json"
# Small data are cut finer than shard_mb asks, so that tasks run side by side and the bar moves.
FEWEST_SHARDS = 8


@dataclass(frozen=True)
class PrepareReport:
    """The outcome for the person who asked.

    Args:
        num_kept: images of this count were there from an earlier run
        causes: how many images were skipped, by cause
        seconds: of this run
    """

    manifest: Manifest
    num_kept: int
    causes: dict[str, int]
    seconds: float

    def __str__(self) -> str:
        count, size = self.manifest.count, self.manifest.shape[0]
        what = f"{count:,} images of {size} x {size} in {len(self.manifest.shards)} shards from {self.manifest.source}"
        if self.manifest.splits is not None:
            what += f" ({', '.join(f'{number:,} {name}' for name, number in self.manifest.splits.items())})"
        skipped = ", ".join(f"{number} {cause}" for cause, number in self.causes.items())
        skipped = f"; skipped {skipped} (see {SKIPPED})" if skipped else ""
        if self.num_kept >= count:
            return f"already complete: {what}{skipped}"
        rate = (count - self.num_kept) / max(self.seconds, 1e-9)
        kept = f", {self.num_kept:,} of them from an earlier run" if self.num_kept else ""
        return f"{what}{kept}, in {self.seconds:.1f} s ({rate:,.0f} images/s){skipped}"


def prepare(config: GemConfig) -> PrepareReport:
    """Shard ``prepare.source`` into ``data.uri``, go on with it, or find it complete. Ray must be running.

    Raises:
        DataError: nothing usable in the source, too many bad images, or other data under the same URI
        StorageError: source or target cannot be reached; this is never counted as a bad image
    """
    started, wanted, target = time.monotonic(), config.prepare, Storage(config.data.uri, config.storage)
    settings = settings_of(wanted)
    if has_manifest(target):
        manifest = read_manifest(target)
        check_same(target, manifest.settings, settings)
        return PrepareReport(manifest, manifest.count, {}, time.monotonic() - started)
    listing = list_source(wanted.source, wanted.num_images, config.storage, wanted.max_pixels)
    listing = with_named_factors(listing, wanted.factor_names, wanted.factor_sizes)
    selection = select(listing, wanted, config.data.holdout)
    per_shard = records_per_shard(len(selection), wanted)
    shards = selection.shards(per_shard)
    plan = {"images": len(listing), "listing": listing.digest(), "per_shard": per_shard}
    if wanted.correlate:
        plan["holdout"] = config.data.holdout
    claim(target, settings | plan)

    done = read_progress(target, len(shards))
    num_kept = sum(shard.entry.count for shard in done.values() if shard.entry)
    missing = [(number, positions) for number, (_, positions) in enumerate(shards) if number not in done]
    for shard in run_tasks(target, listing, missing, wanted, config.placement.ingest):
        done[shard.number] = shard
        record_shard(shard)
        check_bad_share(target, done, len(selection), wanted.max_bad_share)
    # Once more for data that were all there already, under a limit that may have changed.
    check_bad_share(target, done, len(selection), wanted.max_bad_share)
    splits = [split for split, _ in shards]
    manifest = finish(target, done, wanted, settings, splits, attribute_names(listing), selection)
    causes = count_causes(done)
    return PrepareReport(manifest, num_kept, causes, time.monotonic() - started)


def settings_of(wanted: PrepareConfig) -> dict[str, Any]:
    """The options that the shards depend on."""
    names = ("source", "image_size", "crop", "num_images", "seed", "shard_mb", "max_pixels")
    later = ("split", "factor_names", "factor_sizes", "correlate", "correlation_slope", "correlation_width")
    # What was not asked for is not noted, so that data from before an option existed are the same data.
    default = PrepareConfig()
    asked = [name for name in later if getattr(wanted, name) != getattr(default, name)]
    return {name: getattr(wanted, name) for name in (*names, *asked)}


def check_same(target: Storage, before: dict[str, Any], now: dict[str, Any]) -> None:
    """Refuse to mix two data sets in one folder.

    Raises:
        DataError: naming every option that differs, with both values
    """
    names = [name for name in sorted(before.keys() | now.keys()) if before.get(name) != now.get(name)]
    changed = ", ".join(f"{name}={before.get(name)!r} then, {now.get(name)!r} now" for name in names)
    if changed:
        raise DataError(
            f"{target.uri} holds data that were prepared otherwise ({changed}); set the options back, choose another "
            "data.uri, or delete that folder"
        )


def records_per_shard(count: int, wanted: PrepareConfig) -> int:
    """Records of a full shard."""
    by_size = wanted.shard_mb * 10**6 // (3 * wanted.image_size**2)
    return max(1, min(by_size, math.ceil(count / FEWEST_SHARDS)))


def claim(target: Storage, plan: dict[str, Any]) -> None:
    """Write the plan of a new preparation, or check that the one under way is the same."""
    if target.create_bytes(PLAN, json.dumps(plan, indent=1).encode()):
        return
    try:
        before = typed(dict[str, Any], parse_json(target.read_bytes(PLAN)), PLAN)
    except ValueError as error:
        raise DataError(f"{target.uri}/{PLAN} is damaged ({error}); delete it to begin anew") from error
    check_same(target, before, plan)


def read_progress(target: Storage, num_shards: int) -> dict[int, ShardDone]:
    """The shards that an earlier run finished."""
    present = set(target.list(PROGRESS))
    done = {}
    for number in range(num_shards):
        if progress_name(number) in present:
            done[number] = ShardDone.from_json(target.read_bytes(progress_name(number)))
    return done


def run_tasks(
    target: Storage, listing: Listing, shards: list[Shard], wanted: PrepareConfig, role: str
) -> Iterator[ShardDone]:
    """Make the shards that are missing, by Ray Data on nodes of a role; yields them as they come, beside a bar."""
    if not shards:
        return
    shape = ImageShape(size=wanted.image_size, crop=wanted.crop, max_pixels=wanted.max_pixels)
    size = ray.data.TaskPoolStrategy(size=wanted.concurrency)
    with quiet_ray_data(), raising_own_errors(), progress_bar() as bar:
        started = time.monotonic()
        name = wanted.source.rstrip("/").rsplit("/", 1)[-1]
        total = sum(len(positions) for _, positions in shards)
        task = bar.add_task(f"preparing {name}", total=total, rate="")
        for few in rounds(listing, shards):
            parts = [
                ray.put(ShardWork(number, positions, part, shape, wanted.seed, target))
                for (number, positions), part in zip(few, parts_of(listing, few), strict=True)
            ]
            numbers = ray.data.from_items([{"id": n} for n in range(len(parts))], override_num_blocks=len(parts))
            work = partial(make_shard, parts=parts)
            outcomes = well_behaved(numbers.map(work, compute=size, label_selector=label_selector(role)))
            for row in outcomes.iter_rows():
                shard = ShardDone.from_json(row["done"])
                bar.advance(task, shard.num_images)
                rate = bar.tasks[0].completed / (time.monotonic() - started)
                bar.update(task, rate=f"{rate:,.0f} images/s")
                yield shard


def record_shard(shard: ShardDone) -> None:
    """Count what came of a shard."""
    if shard.entry:
        telemetry.add_count("gem_data_images_prepared", shard.entry.count)
        telemetry.add_count("gem_data_bytes_written", shard.entry.num_bytes)
    for cause, number in count_causes({shard.number: shard}).items():
        telemetry.add_count("gem_data_images_skipped", number, cause=cause)


def progress_bar() -> Progress:
    """A bar with count, rate and remaining time."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
        console=Console(stderr=is_json()),  # where lines are for a program a bar is none of them
    )


def finish(
    target: Storage,
    done: dict[int, ShardDone],
    wanted: PrepareConfig,
    settings: dict[str, Any],
    splits: list[str],
    attributes: tuple[str, ...],
    selection: Selection,
) -> Manifest:
    """Write the list of skipped images, then the manifest, then forget the progress.

    Args:
        splits: of each shard
    """
    write_skipped(target, done)
    entries = tuple(shard.entry for _, shard in sorted(done.items()) if shard.entry)
    if not entries:
        raise DataError(f"not one image of {wanted.source} can be used; {target.uri}/{SKIPPED} lists them")
    kept: Counter[str] = Counter()
    for number, shard in sorted(done.items()):
        if shard.entry:
            kept[splits[number]] += shard.entry.count
    relations = selection.relations
    manifest = Manifest(
        shape=(wanted.image_size, wanted.image_size, 3),
        shards=entries,
        source=wanted.source,
        attributes=attributes or None,
        seed=wanted.seed,
        num_skipped=sum(len(shard.skipped) for shard in done.values()),
        settings=settings,
        splits=None if NO_SPLIT in kept else dict(kept),
        relations=None if relations is None else tuple(tuple(row) for row in relations.tolist()),
    )
    write_manifest(target, manifest)
    target.delete(PROGRESS)
    return manifest
