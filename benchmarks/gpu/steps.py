"""The project's training step in the forms that are compared: eager, compiled, and captured in a CUDA graph."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch

from gem_ray.config import GemConfig, ModelConfig, TrainConfig
from gem_ray.models.gem import GemOutputs
from gem_ray.train.step import Inputs, Parts, build_parts, train_step

PLAIN = TrainConfig(precision="fp32", channels_last=False, fused_adam=False, num_workers=1)
FAST = TrainConfig(precision="bf16", channels_last=True, fused_adam=True, compile=True, num_workers=1)
EAGER = replace(FAST, compile=False)
CAPTURE_AFTER = 4  # steps: Adam's state and the compiled code are made in them


@dataclass
class Stepper:
    """A step on one resident batch.

    Args:
        run: makes a step on ``inputs``, whose tensors may be overwritten in place between steps, and without a CUDA
            graph may be others
        losses: the total of each step; the last one of a CUDA graph is overwritten by each further step
    """

    parts: Parts
    inputs: Inputs
    run: Callable[[], object]
    losses: list[torch.Tensor]


def config_of(train: TrainConfig, num_nodes: int = 6, seed: int = 0) -> GemConfig:
    """The default objective without scores; more nodes than six get names of their own."""
    names = [f"attribute {number}" for number in range(num_nodes)]
    return GemConfig(model=ModelConfig(attributes=names, residual_dim=26), train=replace(train, seed=seed))


def inputs_of(config: GemConfig, parts: Parts, batch: int, side: int) -> Inputs:
    """Random images, noise and a graph on the device."""
    device, nodes = parts.device, config.model.num_nodes
    layout = torch.channels_last if config.train.channels_last else torch.contiguous_format
    generator = torch.Generator(device).manual_seed(0)
    strength = 0.3 * (2 * torch.rand(nodes, nodes, generator=generator, device=device) - 1)
    return Inputs(
        images=torch.rand(batch, 3, side, side, generator=generator, device=device).to(memory_format=layout),
        noise=torch.randn(batch, parts.gem.latent_dim, generator=generator, device=device),
        prior_noise=None,
        strength=strength * (1 - torch.eye(nodes, device=device)),
        confidence=torch.ones(nodes, nodes, device=device),
        scored_images=None,
        targets=None,
        step=10_000,  # past the warm-up of the KL term: a CUDA graph holds its weight as it is
    )


def stepper(
    train: TrainConfig,
    device: torch.device,
    batch: int,
    side: int,
    graphed: bool = False,
    num_nodes: int = 6,
    seed: int = 0,
) -> Stepper:
    """A step in one of the forms; ``graphed`` replays it as a CUDA graph and is refused elsewhere."""
    if train.compile:
        torch.compiler.reset()  # else a second batch size makes sizes symbolic, and training has one
    config = config_of(train, num_nodes, seed)
    parts = build_parts(config, side, device)
    made = Stepper(parts, inputs_of(config, parts, batch, side), lambda: None, [])

    def run() -> GemOutputs:
        terms, _, outputs = train_step(parts, made.inputs, config.objective)
        made.losses.append(terms.total.detach())
        return outputs

    made.run = run
    if not graphed:
        return made
    assert device.type == "cuda", "only CUDA has CUDA graphs"
    # The step count must live on the device, where a replay can raise it.
    parts.optimizer = torch.optim.Adam(
        parts.gem.trained_parameters(), lr=train.learning_rate, fused=train.fused_adam, capturable=True
    )
    made.run = captured(run)
    return made


def captured(run: Callable[[], object]) -> Callable[[], None]:
    """The same work as a CUDA graph, after a few steps beside it."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(CAPTURE_AFTER):
            run()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        run()
    return graph.replay
