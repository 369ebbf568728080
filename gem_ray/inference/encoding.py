"""The work of ``jobs.encode``: the codes of a whole data set, by Ray Data, part by part.

    prepared shards, or image files -> blocks of pixels -> actors that encode -> part_START_STOP.parquet

A part is written when all its images are encoded, so what was killed goes on after its last parts. Parts of one model
and one source lie in a folder of their own, named by a hash of both. One row is one image: ``index``, ``mu`` and
``z_rel`` (lists of L float32), ``node:NAME`` and ``node_rel:NAME`` (each attribute's own entry of the two), and of
image files ``file`` and ``skipped`` (why there are no codes; null where there are).
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import ray
import ray.data
import torch
from torch import Tensor

from gem_ray.absolute_paths import absolute
from gem_ray.config import EncodeConfig, GemConfig
from gem_ray.data.order import missing_pieces
from gem_ray.data.prepare import progress_bar
from gem_ray.data.ray_manners import quiet_ray_data, raising_own_errors, well_behaved
from gem_ray.data.shards import pixels_of
from gem_ray.errors import ConfigError, DataError
from gem_ray.inference.encode_sources import ImageFiles, Prepared, find_source
from gem_ray.inference.loading import load
from gem_ray.inference.trained import TrainedModel
from gem_ray.storage import Storage
from gem_ray.structured_log import say

FOLDER = "codes"
ABOUT = "_about.json"  # readers of a folder of Parquet pass over names that begin so
PART = re.compile(r"part_(\d+)_(\d+)\.parquet")


@dataclass(frozen=True)
class Encoded:
    """What is there at the end: where, how many images, how many of them in this sitting, and skipped ones by cause."""

    folder: str
    images: int
    fresh: int
    skipped: dict[str, int]
    seconds: float

    def __str__(self) -> str:
        rate = f" ({self.fresh / self.seconds:,.0f} images/s)" if self.fresh else ", all of them before"
        causes = ", ".join(f"{count:,} {cause}" for cause, count in self.skipped.items())
        return f"{self.folder}: codes of {self.images:,} images{rate}" + (f"; skipped now: {causes}" if causes else "")


def encode_data(config: GemConfig, can_grow: bool = False) -> Encoded:
    """Encode ``encode.source`` with the newest model of the run; needs a running Ray.

    Args:
        can_grow: as in ``check_room``

    Raises:
        ConfigError: more workers than there are CPUs or GPUs, nor will be; a source that is neither files nor prepared
        DataError: no model, no images, or not one that can be used
        StorageError: a place that cannot be reached
    """
    started = time.monotonic()
    # As every process sees them: a Ray worker may run in another working directory.
    wanted = replace(config.encode, source=absolute(config.encode.source), output=absolute(config.encode.output))
    run = Storage(f"{config.run.uri}/{config.run.name}", config.storage)
    model = load(run)
    check_room(wanted, ray.cluster_resources(), can_grow)
    source = find_source(wanted, model, config)
    folder = claim_folder(wanted, run, model, source)
    stop = source.starts[-1] if not wanted.images else min(wanted.images, source.starts[-1])
    missing = missing_pieces(source.starts, parts_done(folder), stop, wanted.part_images)
    fresh, skipped = 0, dict[str, int]()
    if missing:
        outcomes = well_behaved(
            source.blocks(missing).map_batches(
                EncodeWorker,
                fn_constructor_kwargs={"run": run, "step": model.step, "folder": folder, "use_gpu": wanted.use_gpu},
                batch_size=None,
                batch_format="pyarrow",
                compute=ray.data.ActorPoolStrategy(size=wanted.workers),
                num_cpus=1,
                num_gpus=1 if wanted.use_gpu else 0,
            )
        )
        with quiet_ray_data(), raising_own_errors(), progress_bar() as bar:
            task = bar.add_task("encoding", total=sum(len(piece) for piece in missing), rate="")
            for row in outcomes.iter_rows():
                fresh += row["images"]
                for cause, count in json.loads(row["skipped"]).items():
                    skipped[cause] = skipped.get(cause, 0) + count
                rate = fresh / (time.monotonic() - started)
                bar.update(task, completed=fresh, rate=f"{rate:,.0f} images/s")
    if missing and sum(skipped.values()) == stop:
        raise DataError(
            f"not one of the {stop:,} images of {wanted.source} can be used: {skipped}; check encode.source"
        )
    return Encoded(folder.uri, stop, fresh, skipped, time.monotonic() - started)


def check_room(wanted: EncodeConfig, there: Mapping[str, float], can_grow: bool) -> None:
    """Refuse what Ray would wait for without an end.

    Args:
        there: resources of the cluster as it is now, by name
        can_grow: a cluster that was there before may add nodes for workers that wait: a warning is enough

    Raises:
        ConfigError: more workers than the resources allow, of a Ray that does not grow
    """
    for name in ("CPU", "GPU") if wanted.use_gpu else ("CPU",):
        if there.get(name, 0) < wanted.workers:
            needs = f"encode.workers={wanted.workers} need a {name} each, and this Ray has {there.get(name, 0):g}"
            remedy = "lower encode.workers" + (", or set encode.use_gpu=false" if name == "GPU" else "")
            if not can_grow:
                raise ConfigError(f"{needs}; {remedy}")
            say(f"WARNING: {needs} now: the others wait for nodes to come; if none will, {remedy}")


def claim_folder(wanted: EncodeConfig, run: Storage, model: TrainedModel, source: Prepared | ImageFiles) -> Storage:
    """The folder of this model's codes of this source, with a note of what they are."""
    parent = Storage(wanted.output or f"{run.uri}/{FOLDER}", run.config)
    folder = parent.child(hashlib.sha256((model.fingerprint + source.digest()).encode()).hexdigest()[:12])
    about = {
        "run": run.uri,
        "step": model.step,
        "fingerprint": model.fingerprint,
        "source": source.storage.uri if isinstance(source, Prepared) else wanted.source,
        "attributes": model.attributes,
        "latent_dim": model.latent_dim,
        "node_dim": model.gem.config.node_dim,
    }
    folder.create_bytes(ABOUT, json.dumps(about, indent=2).encode())
    return folder


def parts_done(folder: Storage) -> list[tuple[int, int]]:
    """[start, stop) of the parts that are there."""
    found = (PART.fullmatch(name) for name in folder.list())
    return [(int(match[1]), int(match[2])) for match in found if match]


class EncodeWorker:
    """The actor that encodes: blocks of images in, parts in storage and a row about each out."""

    def __init__(self, run: Storage, step: int, folder: Storage, use_gpu: bool) -> None:
        model = load(run)
        if model.step != step:
            model = load(run, step=step)  # training has gone on meanwhile
        self._model, self._folder = model.to("cuda" if use_gpu else "cpu"), folder

    def __call__(self, block: pa.Table) -> pa.Table:
        """Encode a block of neighbouring images and write its part."""
        if block.num_rows == 0:
            return pa.Table.from_pylist([])
        index = block["index"].to_numpy()
        part = encoded_part(self._model, block)
        name = f"part_{int(index[0]):09d}_{int(index[-1]) + 1:09d}.parquet"
        buffer = io.BytesIO()
        pq.write_table(part, buffer, compression="zstd")
        self._folder.write_bytes(name, buffer.getvalue())
        counts = pc.value_counts(block["skipped"].drop_null()).to_pylist() if "skipped" in block.column_names else []
        causes = {entry["values"]: entry["counts"] for entry in counts}
        return pa.Table.from_pylist([{"images": block.num_rows, "skipped": json.dumps(causes)}])


def encoded_part(model: TrainedModel, block: pa.Table) -> pa.Table:
    """A block's rows with codes in place of pixels; those without pixels get nulls."""
    usable = block.filter(pc.is_valid(block["pixels"]))
    side, count = model.image_size, usable.num_rows
    images = torch.from_numpy(pixels_of(usable, (side, side, 3)).copy()).permute(0, 3, 1, 2) if count else None
    codes = None if images is None else model.encode(images)
    where = np.flatnonzero(pc.is_valid(block["pixels"]).to_numpy())
    columns = {name: block[name] for name in block.column_names if name != "pixels"}
    empty = torch.zeros(0, model.latent_dim)
    for name, values in (("mu", codes.mu if codes else empty), ("z_rel", codes.z_rel if codes else empty)):
        columns[name] = code_column(values, where, block.num_rows)
        node = {"mu": "node", "z_rel": "node_rel"}[name]
        for number, attribute in enumerate(model.attributes):
            entry = np.full(block.num_rows, np.nan, np.float32)
            entry[where] = values[:, number * model.gem.config.node_dim].cpu().numpy()
            columns[f"{node}:{attribute}"] = pa.array(entry, pa.float32(), from_pandas=True)  # NaN becomes null
    return pa.table(columns)


def code_column(values: Tensor, where: np.ndarray, num_rows: int) -> pa.Array:
    """Fixed-size lists [num_rows] of float32; null where there is no code."""
    width = values.shape[1]
    whole = np.zeros((num_rows, width), np.float32)
    whole[where] = values.cpu().numpy()
    missing = np.ones(num_rows, dtype=bool)
    missing[where] = False
    return pa.FixedSizeListArray.from_arrays(
        pa.array(whole.reshape(-1)), width, mask=pa.array(missing) if missing.any() else None
    )
