"""Ratios of the torch core in one process: bf16 against fp32, dense propagation against PyG's sparse one."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import torch
from torch import Tensor
from torch_geometric.nn import GraphConv, SimpleConv
from torch_geometric.utils import dense_to_sparse

from benchmarks.timing import Ratio, pair, ratio
from gem_ray.config import GemConfig, TrainConfig
from gem_ray.models.gnn import GraphNetwork, normalize_incoming
from gem_ray.train.step import Inputs, build_parts, step_noise, train_step

CPU = torch.device("cpu")
PAUSE_S = 0.01


def precision(repeats: int) -> Iterator[Ratio]:
    """bf16 autocast over fp32 for whole training steps at 64x64, one thread."""
    if not torch.cpu._is_avx512_bf16_supported():
        return
    torch.set_num_threads(1)
    batch, steps = 64, 4
    bf16, fp32 = (step_runner(name, batch, steps) for name in ("bf16", "fp32"))
    yield ratio("bf16_step", "bf16 over fp32 step, 64x64, 1 thread", pair(bf16, fp32, repeats), batch * steps,
                "images/s", target=1.8)  # fmt: skip
    yield ratio("bf16_step_control", "fp32 over fp32: nothing to gain", pair(fp32, fp32, repeats), batch * steps,
                "images/s", expect=1.3)  # fmt: skip


def step_runner(precision_name: str, batch: int, steps: int) -> Callable[[], None]:
    """A call that makes some training steps on one batch."""
    config = GemConfig(train=TrainConfig(precision=precision_name))
    parts = build_parts(config, 64, CPU)
    nodes = config.model.num_nodes
    inputs = Inputs(
        images=torch.rand(batch, 3, 64, 64).to(memory_format=torch.channels_last),
        noise=step_noise(0, 0, 1, batch, parts.gem.latent_dim),
        prior_noise=None,
        strength=torch.zeros(nodes, nodes),
        confidence=torch.zeros(nodes, nodes),
        scored_images=None,
        targets=None,
        step=0,
    )

    def run() -> None:
        for _ in range(steps):
            train_step(parts, inputs, config.objective)

    return run


def propagation(repeats: int) -> Iterator[Ratio]:
    """Dense batched propagation over PyG's sparse one: 40 nodes, 240 edges, batch 256, forward and backward."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    nodes, edges, batch, width, calls = 40, 240, 256, 64, 3
    strength = random_strength(nodes, edges)
    layer = GraphNetwork(width, 1, 1)
    dense_conv = layer.convolutions[0]
    sparse_conv = GraphConv(width, width)
    sparse_conv.load_state_dict(dense_conv.state_dict(), strict=False)
    edge_index, edge_weight = dense_to_sparse(normalize_incoming(strength))
    offsets = (torch.arange(batch) * nodes).repeat_interleave(edge_index.shape[1])
    index, weight = edge_index.repeat(1, batch) + offsets, edge_weight.repeat(batch)
    z = torch.randn(batch, nodes, width, requires_grad=True)
    gradient = torch.ones_like(z)  # made once: filling it is no part of propagation
    adjacency = normalize_incoming(strength).T
    gather = SimpleConv(aggr="sum")

    def timed(forward: Callable[[], Tensor], pause_s: float = 0.0) -> Callable[[], None]:
        def run() -> None:
            for _ in range(calls):
                out = forward()
                out.backward(gradient.view_as(out))
                time.sleep(pause_s)

        return run

    dense, sparse = timed(lambda: adjacency @ z), timed(lambda: gather(z.flatten(0, 1), index, weight))
    yield ratio("dense_propagation", f"A @ z over PyG's SimpleConv, n={nodes}, {edges} edges, batch {batch}",
                pair(dense, sparse, repeats), calls, "passes/s", target=5.0)  # fmt: skip
    whole = lambda: layer(z, strength)  # noqa: E731
    whole_sparse = lambda: sparse_conv(z.flatten(0, 1), index, weight)  # noqa: E731
    difference = float((whole() - whole_sparse().view_as(z)).detach().abs().max())
    assert difference < 1e-5, f"dense and sparse layers differ by {difference}"
    yield ratio("dense_layer", "the same with the layer's two linear maps, which both share",
                pair(timed(whole), timed(whole_sparse), repeats), calls, "passes/s")  # fmt: skip
    yield ratio("dense_propagation_control", "dense with 10 ms planted over dense",
                pair(timed(lambda: adjacency @ z, PAUSE_S), dense, repeats), calls, "passes/s", expect=0.8)  # fmt: skip


def random_strength(nodes: int, edges: int) -> Tensor:
    """Signed strengths with about ``edges`` edges and an empty diagonal."""
    strength = torch.zeros(nodes * nodes)
    strength[torch.randperm(nodes * nodes)[:edges]] = torch.rand(edges) * 2 - 1
    return strength.view(nodes, nodes) * (1 - torch.eye(nodes))
