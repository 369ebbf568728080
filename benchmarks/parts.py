"""``python -m benchmarks.parts``: where the time of a training step goes, in processor time of one thread.

Parts are timed by themselves and the sum is compared with whole steps, so that what is not named shows too. A decoded
image, a checkpoint and a metrics line are no part of every step; they are spread over the steps between two of them.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch

from benchmarks.core import CPU, random_strength, step_inputs
from benchmarks.decoding import jpegs
from benchmarks.timing import seconds
from gem_ray.checkpoint import Checkpoint, save_checkpoint
from gem_ray.config import GemConfig, ObjectiveConfig, StorageConfig, TrainConfig
from gem_ray.data.batch import to_float
from gem_ray.data.images import ImageShape, decode_image
from gem_ray.losses.gem import gem_loss
from gem_ray.models.gem import GemOutputs
from gem_ray.storage import Storage
from gem_ray.train.allocator import keep_freed_memory
from gem_ray.train.step import Inputs, Parts, build_parts, state_tensors, step_noise, train_step

BATCH, SCORED, SIDE = 64, 32, 64  # of one of two workers, as the defaults have it


@dataclass(frozen=True)
class Part:
    """One row: what is done, how often in a step, and its seconds."""

    name: str
    action: Callable[[], object]
    per_step: float = 1.0


def main(arguments: Sequence[str] | None = None) -> None:
    """Time every part in turn and print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.parts", description="Where a step's time goes.")
    parser.add_argument("--repeats", type=int, default=7, help="timings of each part, of which the median is shown")
    parser.add_argument("--precision", choices=("bf16", "fp32"), default="bf16")
    chosen = parser.parse_args(arguments)
    torch.set_num_threads(1)
    keep_freed_memory()
    config = GemConfig(train=TrainConfig(num_workers=1, precision=chosen.precision))
    with tempfile.TemporaryDirectory(prefix="gem_ray-bench-") as folder:
        parts = [*of_input(config), *of_step(config), *of_rest(config, Storage(folder, StorageConfig()))]
        whole = Part("whole step", stepping(config))
        adversarial = replace(config, objective=replace(config.objective, adversarial_weight=1.0))
        critic = Part("whole step with the discriminator", stepping(adversarial))
        times = in_turn([*parts, whole, critic], chosen.repeats)
    step_s = times[whole.name]
    print("| part | ms of a step | share of a step |\n| --- | --- | --- |")
    for part in [*parts, whole, critic]:
        taken = times[part.name] * part.per_step
        print(f"| {part.name} | {1000 * taken:.3f} | {taken / step_s:.1%} |")


def in_turn(parts: Sequence[Part], repeats: int) -> dict[str, float]:
    """Median processor seconds of each part, all parts in every round."""
    found: dict[str, list[float]] = {part.name: [] for part in parts}
    for number in range(repeats + 1):
        for part in parts:
            taken = seconds(part.action, time.process_time)
            found[part.name] += [taken] if number else []
    return {name: statistics.median(times) for name, times in found.items()}


def of_input(config: GemConfig) -> list[Part]:
    """What happens before a step; images are decoded once, when the data are prepared."""
    rows = torch.randint(0, 256, (4096, SIDE * SIDE * 3), dtype=torch.uint8)
    index = torch.randint(0, len(rows), (BATCH,))
    images = rows[index].view(-1, SIDE, SIDE, 3).permute(0, 3, 1, 2)
    files, shape = jpegs(178, 218, BATCH), ImageShape(size=SIDE, crop=0, max_pixels=10**7)
    epochs = 22  # of the default run: 3,500 steps of 128 on 20,000 images
    return [
        Part("decoding, spread over the run", lambda: [decode_image(data, shape) for data in files], 1 / epochs),
        Part("gathering bytes", lambda: rows.index_select(0, index)),
        Part("cast and normalise", lambda: to_float(images, CPU, True)),
        Part("noise", lambda: step_noise(0, 0, 1, 2 * BATCH, 32)),
    ]


def scored_inputs(config: GemConfig, latent_dim: int) -> Inputs:
    """Inputs with a graph and scored images."""
    nodes = config.model.num_nodes
    return step_inputs(config, BATCH, latent_dim, SIDE)._replace(
        strength=random_strength(nodes, 12),
        confidence=torch.ones(nodes, nodes),
        scored_images=torch.rand(SCORED, 3, SIDE, SIDE).to(memory_format=torch.channels_last),
        targets=torch.randn(SCORED, nodes),
    )


def stepping(config: GemConfig) -> Callable[[], object]:
    """A whole step."""
    parts = build_parts(config, SIDE, CPU)
    inputs = scored_inputs(config, parts.gem.latent_dim)
    if config.objective.adversarial_weight:
        inputs = inputs._replace(prior_noise=torch.randn(BATCH, parts.gem.latent_dim))
    return lambda: train_step(parts, inputs, config.objective)


def of_step(config: GemConfig) -> list[Part]:
    """The step's own parts, each forward and backward where it has both."""
    parts = build_parts(config, SIDE, CPU)
    inputs, gem = scored_inputs(config, parts.gem.latent_dim), parts.gem
    images = torch.cat([inputs.images, inputs.scored_images])  # type: ignore[list-item]
    codes = torch.randn(BATCH, gem.latent_dim, requires_grad=True)
    outputs = forward(parts, inputs)
    leaves = GemOutputs._make(x.detach().requires_grad_() if isinstance(x, torch.Tensor) else x for x in outputs)
    train_step(parts, inputs, config.objective)  # there are gradients and moments from here on

    def network(call: Callable[[], object]) -> Callable[[], None]:
        def run() -> None:
            with torch.autocast("cpu", torch.bfloat16, enabled=parts.autocast):
                out = call()
            tensors = out if isinstance(out, tuple) else (out,)
            torch.autograd.backward(tensors, [torch.ones_like(t) for t in tensors])

        return run

    def loss(objective: ObjectiveConfig = config.objective) -> None:
        gem_loss(
            leaves, inputs.images, inputs.strength, inputs.confidence, inputs.targets, None, objective, 0
        ).total.backward()

    return [
        Part(f"encoder, {BATCH} images and {SCORED} scored", network(lambda: gem.encode(images))),
        Part("decoder", network(lambda: gem.decode(codes))),
        Part("message passing", network(lambda: gem.relate(codes, inputs.strength))),
        Part("terms of the loss", loss),
        Part("optimizer", parts.optimizer.step),
    ]


def forward(parts: Parts, inputs: Inputs) -> GemOutputs:
    """One pass."""
    with torch.autocast("cpu", torch.bfloat16, enabled=parts.autocast):
        outputs: GemOutputs = parts.model(inputs.images, inputs.noise, inputs.strength, inputs.scored_images)
    return outputs


def of_rest(config: GemConfig, run: Storage) -> list[Part]:
    """What is copied between two workers in every step, and what is done only now and then."""
    parts = build_parts(config, SIDE, CPU)
    train_step(parts, scored_inputs(config, parts.gem.latent_dim), config.objective)
    gradients = torch.cat([p.grad.reshape(-1) for p in parts.gem.parameters() if p.grad is not None])
    mine = torch.empty_like(gradients)

    def save() -> None:
        model, optimizer = state_tensors(parts)
        save_checkpoint(run, Checkpoint(step=1, model=model, optimizer=optimizer, graph_json="{}", state={}), 1)

    def report() -> None:
        torch.nn.utils.get_total_norm([p.grad for p in parts.gem.parameters() if p.grad is not None])

    return [
        Part("all-reduce: adding another worker's gradients", lambda: mine.copy_(gradients).add_(gradients)),
        Part("reporting: the gradient's norm, every 20 steps", report, 1 / config.train.log_every_steps),
        Part("checkpoint, every 500 steps", save, 1 / config.train.checkpoint_every_steps),
    ]


if __name__ == "__main__":
    main()
