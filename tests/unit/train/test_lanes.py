"""Three lanes on three ranks, on two (one has two lanes) and on one: the same parameters up to the order of sums."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

RANK = """
import json
import sys
import torch
import torch.distributed as dist
sys.path.insert(0, sys.argv[4])
from test_methods import CPU, SIDE, SMALL, build_parts, load_config, make_inputs, state_tensors
from gem_ray.data.order import rank_lanes
from gem_ray.train.step import step_on_lanes
rank, world = int(sys.argv[1]), int(sys.argv[2])
torch.set_num_threads(1)
dist.init_process_group("gloo", init_method=f"file://{sys.argv[3]}", rank=rank, world_size=world)
wrap = torch.nn.parallel.DistributedDataParallel if world > 1 else lambda module: module
found = {}
for method in ("gem", "gem_adversarial", "factor_vae"):
    config = load_config([f"method={method}", "train.precision=fp32", *SMALL])
    parts = build_parts(config, SIDE, CPU)
    parts.model = wrap(parts.gem)
    for critic in parts.critics.values():
        critic.called = wrap(critic.module)
    for step in range(4):
        whole = make_inputs(config, step)
        lanes = [
            whole._replace(images=(whole.images + 0.1 * lane).clamp(0, 1), noise=whole.noise + lane)
            for lane in rank_lanes(rank, world, 3)
        ]
        terms, critic_losses, _ = step_on_lanes(parts, lanes, world / 3, config.objective)
    total = torch.stack([terms.total.double(), *(loss.double() for loss in critic_losses.values())])
    dist.all_reduce(total)
    model = state_tensors(parts)[0]
    found[method] = (total / world).tolist() + [float(tensor.double().norm()) for tensor in model.values()]
if rank == 0:
    print(json.dumps(found))
dist.destroy_process_group()
"""


def train(folder: Path, world: int) -> dict[str, list[float]]:
    """Losses of the last of some steps, and the norm of every tensor of the model, by method."""
    arguments = [str(world), str(folder / f"rendezvous-{world}"), str(Path(__file__).parent)]
    root = Path(__file__).parents[3]
    ranks = [
        subprocess.Popen(
            [sys.executable, "-c", RANK, str(rank), *arguments],
            cwd=root,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
            stdout=subprocess.PIPE,
        )
        for rank in range(world)
    ]
    said = [process.communicate(timeout=240)[0].decode() for process in ranks]
    assert [process.returncode for process in ranks] == [0] * world
    found: dict[str, list[float]] = json.loads(said[0])
    return found


@pytest.mark.slow
def test_the_number_of_ranks_does_not_change_what_is_learned(tmp_path):
    alone, two, three = (train(tmp_path, world) for world in (1, 2, 3))
    for method, numbers in three.items():
        assert two[method] == pytest.approx(numbers, rel=1e-5, abs=1e-7), method
        assert alone[method] == pytest.approx(numbers, rel=1e-5, abs=1e-7), method
    assert three["gem"] != pytest.approx(three["gem_adversarial"], rel=1e-5)
