"""What every worker is: one of some ranks, whose restart nobody can tell from the parameters."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

NUM_RANKS = 3  # of two, each sum has one order

RANK = """
import sys
import ray.train.torch
import torch
import torch.distributed as dist
sys.path.insert(0, sys.argv[3])
from test_methods import CPU, SIDE, SMALL, build_parts, load_config, make_inputs, state_tensors, stored
from gem_ray.train.step import load_state_tensors, train_step
from gem_ray.train.worker import wrap_for_world
rank, world = int(sys.argv[1]), int(sys.argv[4])
torch.set_num_threads(1)
dist.init_process_group("gloo", init_method=f"file://{sys.argv[2]}", rank=rank, world_size=world)


def prepare_model(module, move_to_device):
    return torch.nn.parallel.DistributedDataParallel(module)


ray.train.torch.prepare_model = prepare_model  # which asks Ray Train for the number of workers


def run(config, parts, steps):
    wrap_for_world(parts)
    for step in steps:
        inputs = make_inputs(config, step)
        inputs = inputs._replace(images=(inputs.images + 0.1 * rank).clamp(0, 1), noise=inputs.noise + rank)
        train_step(parts, inputs, config.objective)


for method in ("gem", "gem_adversarial", "factor_vae"):
    config = load_config([f"method={method}", *SMALL])
    undisturbed, ended, resumed = (build_parts(config, SIDE, CPU) for _ in range(3))
    run(config, undisturbed, range(6))
    run(config, ended, range(3))
    load_state_tensors(resumed, *stored(ended))
    run(config, resumed, range(3, 6))
    for tensors, others in zip(state_tensors(undisturbed), state_tensors(resumed), strict=True):
        differing = [name for name in tensors if not torch.equal(tensors[name], others[name])]
        assert tensors.keys() == others.keys() and differing == [], (method, differing)
    print(method)
dist.destroy_process_group()
"""


@pytest.mark.slow
def test_a_resumed_run_of_three_ranks_is_an_undisturbed_one_to_the_last_bit(tmp_path):
    arguments = [str(tmp_path / "rendezvous"), str(Path(__file__).parent), str(NUM_RANKS)]
    ranks = [
        subprocess.Popen(
            [sys.executable, "-c", RANK, str(rank), *arguments],
            cwd=Path(__file__).parents[3],
            env=os.environ | {"OMP_NUM_THREADS": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        for rank in range(NUM_RANKS)
    ]
    said = [process.communicate(timeout=240) for process in ranks]
    assert [process.returncode for process in ranks] == [0] * NUM_RANKS, said[0][1].decode()[-2000:]
    assert said[0][0].split() == [b"gem", b"gem_adversarial", b"factor_vae"]
