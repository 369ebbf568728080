"""Ratios of the torch core in one process: bf16 against fp32, dense propagation against PyG's sparse one.

In processor time: one thread does all.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import replace

import torch
from torch import Tensor
from torch_geometric.nn import GraphConv, SimpleConv
from torch_geometric.utils import dense_to_sparse

from benchmarks.timing import Ratio, figures, in_turn, spend
from gem_ray.config import GemConfig, TrainConfig
from gem_ray.models.gnn import GraphNetwork, normalize_incoming
from gem_ray.train.allocator import keep_freed_memory
from gem_ray.train.step import Inputs, build_parts, step_noise, train_step

CPU = torch.device("cpu")


def precision(repeats: int) -> Iterator[Ratio]:
    """bf16 autocast over fp32 for whole training steps at 64x64, one thread."""
    if not torch.cpu._is_avx512_bf16_supported():
        return
    torch.set_num_threads(1)
    batch, steps = 64, 4
    bf16, fp32 = (step_runner(TrainConfig(precision=name), batch, steps) for name in ("bf16", "fp32"))
    turns = in_turn(bf16, lambda: fp32(0.0), repeats, steps, clock=time.process_time)
    what = "whole step under bf16 over fp32, 64x64, 1 thread"
    yield from figures("bf16_step", what, turns, batch * steps, "images/CPU s", 1.8)


def step_inputs(config: GemConfig, batch: int, latent_dim: int, side: int = 64) -> Inputs:
    """Random images and noise for a step without scores, and a graph without edges."""
    nodes = config.model.num_nodes
    generator = torch.Generator().manual_seed(0)
    layout = torch.channels_last if config.train.channels_last else torch.contiguous_format
    return Inputs(
        images=torch.rand(batch, 3, side, side, generator=generator).to(memory_format=layout),
        noise=step_noise(0, 0, 1, batch, latent_dim),
        prior_noise=None,
        strength=torch.zeros(nodes, nodes),
        confidence=torch.zeros(nodes, nodes),
        scored_images=None,
        targets=None,
        step=0,
    )


def step_runner(train: TrainConfig, batch: int, steps: int) -> Callable[[float], None]:
    """A call that makes some training steps on one batch, and spends some time after each."""
    config = replace(GemConfig(), train=replace(train, num_workers=1))
    parts = build_parts(config, 64, CPU)
    inputs = step_inputs(config, batch, parts.gem.latent_dim)

    def run(pause_s: float) -> None:
        for _ in range(steps):
            train_step(parts, inputs, config.objective)
            spend(pause_s)

    return run


def propagation(repeats: int) -> Iterator[Ratio]:
    """Dense batched propagation over PyG's sparse one: 40 nodes, 240 edges, batch 256, forward and backward."""
    torch.set_num_threads(1)
    keep_freed_memory()  # as every worker does
    torch.manual_seed(0)
    nodes, edges, batch, width, calls, faster = 40, 240, 256, 64, 3, 16
    strength = random_strength(nodes, edges)
    layer = GraphNetwork(width, 1, 1)
    sparse_conv = GraphConv(width, width)
    sparse_conv.load_state_dict(layer.convolutions[0].state_dict(), strict=False)
    edge_index, edge_weight = dense_to_sparse(normalize_incoming(strength))
    offsets = (torch.arange(batch) * nodes).repeat_interleave(edge_index.shape[1])
    index, weight = edge_index.repeat(1, batch) + offsets, edge_weight.repeat(batch)
    z = torch.randn(batch, nodes, width, requires_grad=True)
    gradient = torch.ones_like(z)  # made once: filling it is no part of propagation
    adjacency = normalize_incoming(strength).T
    gather = SimpleConv(aggr="sum")

    def passes(forward: Callable[[], Tensor], calls: int) -> Callable[[float], None]:
        def run(pause_s: float) -> None:
            for _ in range(calls):
                out = forward()
                out.backward(gradient.view_as(out))
                spend(pause_s)

        return run

    def timed(
        name: str, what: str, dense: Callable[[], Tensor], sparse: Callable[[], Tensor], target: float | None
    ) -> Iterator[Ratio]:
        difference = float((dense() - sparse().view_as(z)).detach().abs().max())
        assert difference < 1e-5, f"dense and sparse differ by {difference}"
        many = faster * calls
        turns = in_turn(passes(dense, many), lambda: passes(sparse, calls)(0.0), repeats, many, clock=time.process_time)
        yield from figures(name, what, turns.as_often(faster), calls, "passes/CPU s", target)

    what = f"A @ z over PyG's SimpleConv, n={nodes}, {edges} edges, batch {batch}"
    yield from timed(
        "dense_propagation", what, lambda: adjacency @ z, lambda: gather(z.flatten(0, 1), index, weight), 5.0
    )
    what = "the same with the layer's two linear maps, which both share"
    yield from timed(
        "dense_layer", what, lambda: layer(z, strength), lambda: sparse_conv(z.flatten(0, 1), index, weight), None
    )


def random_strength(nodes: int, edges: int) -> Tensor:
    """Signed strengths with about ``edges`` edges and an empty diagonal."""
    strength = torch.zeros(nodes * nodes)
    strength[torch.randperm(nodes * nodes)[:edges]] = torch.rand(edges) * 2 - 1
    return strength.view(nodes, nodes) * (1 - torch.eye(nodes))
