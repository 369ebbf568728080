"""A run of a few real steps on drawn faces, whose graph lies near the truth, and its data."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path

import numpy as np
import torch

from gem_ray.checkpoint import Checkpoint, save_checkpoint
from gem_ray.config import DataConfig, GemConfig, RunConfig, TrainConfig
from gem_ray.config_json import config_to_json
from gem_ray.data.faces import ATTRIBUTES, face, true_strength
from gem_ray.data.manifest import Manifest, ShardEntry, write_manifest
from gem_ray.data.shards import encode_shard
from gem_ray.graph.disgraph import DisGraph
from gem_ray.graph.layers import Layer
from gem_ray.messages.graph import EvidenceKind
from gem_ray.messages.questions import ScoreAnswer
from gem_ray.scoring.rescoring.scores import ScoreTable, write_scores
from gem_ray.storage import Storage
from gem_ray.train.step import Inputs, build_parts, state_tensors, train_step

NUM_IMAGES, HOLDOUT, SIDE, STEPS, SCORED = 240, 80, 32, 40, 64


def make_config(folder: Path, **options: object) -> GemConfig:
    return GemConfig(
        run=RunConfig(name="small", uri=str(folder)),
        data=DataConfig(uri=str(folder / "data"), batch_size=32, holdout=HOLDOUT),
        train=TrainConfig(steps=STEPS),
        **options,  # type: ignore[arg-type]
    )


def write_data(folder: Path, attributes: tuple[str, ...] | None = ATTRIBUTES, source: str = "faces") -> np.ndarray:
    """Three shards of drawn faces; their attributes float64 [N, 6]."""
    faces = [face(0, index, SIDE) for index in range(NUM_IMAGES)]
    images, values = np.stack([image for image, _ in faces]), np.stack([value for _, value in faces])
    data, entries = Storage(str(folder / "data"), GemConfig().storage), []
    for number, part in enumerate(np.array_split(np.arange(NUM_IMAGES), [100, 170])):
        content = encode_shard(images[part], part, values[part] if attributes else None, attributes or ())
        name, digest = f"shard_{number}.parquet", hashlib.sha256(content).hexdigest()
        data.write_bytes(name, content)
        entries.append(ShardEntry(name=name, count=len(part), num_bytes=len(content), sha256=digest))
    write_manifest(
        data,
        Manifest(
            shape=(SIDE, SIDE, 3), shards=tuple(entries), source=source, attributes=attributes, seed=0, num_skipped=0,
            settings={},
        ),
    )  # fmt: skip
    return values


def write_run(folder: Path, config: GemConfig, values: np.ndarray) -> Storage:
    """A run of a few real steps, with a score table, a graph near the truth, and a history."""
    run = Storage(str(folder / "small"), config.storage)
    digits = np.round(values[:SCORED] * 5).astype(int)
    answers = [
        ScoreAnswer(probabilities=None if (i, j) == (3, 2) else tuple(np.eye(6)[digits[i, j]]), digit_mass=0.9)
        for i in range(SCORED)
        for j in range(6)
    ]
    order = np.random.default_rng(0).permutation(SCORED)
    table = ScoreTable.empty(ATTRIBUTES).extended(order, [answers[6 * i + j] for i in order for j in range(6)])
    error = np.full((6, 6), 0.05)
    error[0, 1] = np.inf
    shown = 0.5 * true_strength()
    np.fill_diagonal(shown, np.nan)
    graph = DisGraph.from_strength(ATTRIBUTES, true_strength() + 0.01 * (1 - np.eye(6)), error)
    n = len(ATTRIBUTES)
    scored = dataclasses.replace(
        graph.layers[EvidenceKind.SCORES],
        evidence=tuple(tuple("scan-1.json" if i != j else "" for j in range(n)) for i in range(n)),
    )
    traversed = dataclasses.replace(Layer.unknown(n), value=shown, standard_error=np.where(np.eye(n), np.inf, 0.1))
    of_model = dict.fromkeys((EvidenceKind.TRAVERSALS, EvidenceKind.SAMPLES), traversed)
    layers = {**graph.layers, EvidenceKind.SCORES: scored, **of_model}
    graph = dataclasses.replace(graph, version=4, layers=layers, scores=write_scores(run, table, "nano"))
    parts = build_parts(config, SIDE, torch.device("cpu"))
    strength, confidence = (torch.tensor(m, dtype=torch.float32) for m in (graph.strength, graph.confidence))
    lines: list[dict[str, object]] = [{"event": "graph", "step": 10, "version": 4}]
    images = (
        torch.from_numpy(np.stack([face(0, index, SIDE)[0] for index in range(32)])).permute(0, 3, 1, 2).float() / 255
    )
    for step in range(STEPS):
        noise = torch.randn(32, 32, generator=torch.Generator().manual_seed(step))
        terms, _, _ = train_step(
            parts, Inputs(images, noise, None, strength, confidence, None, None, step), config.objective
        )
        lines.append(
            {
                "step": step, **{name: float(value) for name, value in terms._asdict().items()}, "discriminator": None,
                "time": float(step), "epoch": step / 5, "kl_nodes": [0.1] * 6, "kl_residual": 1, "images_per_s": 320,
                "graph_version": 4, "graph_age_s": 1.0, "questions_asked": 384, "questions_missing": 1, "beta": 1.0,
            }
        )  # fmt: skip
    model, optimizer = state_tensors(parts)
    state = {"config": config_to_json(config), "image_size": SIDE}
    checkpoint = Checkpoint(step=STEPS, model=model, optimizer=optimizer, graph_json=graph.to_json(), state=state)
    save_checkpoint(run, checkpoint, keep=3)
    run.write_bytes("metrics.jsonl", "".join(json.dumps(line) + "\n" for line in lines).encode())
    run.write_bytes("config.json", config_to_json(config).encode())
    return run


def copied(run: Storage, folder: Path, config: GemConfig) -> Storage:
    """Another run with the same files."""
    copy = Storage(str(folder / "small"), config.storage)
    for name in run.list():
        copy.write_bytes(name, run.read_bytes(name))
    return copy
