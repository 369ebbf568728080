"""How many cells run at the same time."""

from __future__ import annotations

import pytest

from gem_ray.config import GemConfig, ScoringConfig, TrainConfig
from gem_ray.errors import ConfigError
from gem_ray.table.cells import Cell, make_cell
from gem_ray.table.cluster import local_cpus, local_parallel, parallel_cells


def cells(number: int, train: TrainConfig | None = None, scorer: str = "none") -> list[Cell]:
    config = GemConfig(train=train or TrainConfig(num_workers=1), scoring=ScoringConfig(scorer=scorer))
    return [make_cell("vae", "faces", seed, config) for seed in range(number)]


def test_as_many_cells_run_as_have_cpus_beside_one_that_reads_data():
    assert parallel_cells(cells(20), 0, cpus=9, gpus=0) == 8
    assert parallel_cells(cells(20, TrainConfig(num_workers=2)), 0, cpus=9, gpus=0) == 4
    assert parallel_cells(cells(3), 0, cpus=9, gpus=0) == 3
    assert parallel_cells(cells(20), 2, cpus=9, gpus=0) == 2
    assert parallel_cells(cells(20), 50, cpus=9, gpus=0) == 8


def test_cells_with_a_gpu_are_bounded_by_the_gpus():
    assert parallel_cells(cells(20, TrainConfig(num_workers=1, use_gpu=True)), 0, cpus=64, gpus=4) == 4


def test_a_cell_with_an_mllm_of_its_own_needs_its_cpus_too():
    assert parallel_cells(cells(20, scorer="vllm"), 0, cpus=9, gpus=0) == 4


def test_a_cluster_without_room_for_one_cell_is_refused_with_both_numbers():
    with pytest.raises(ConfigError, match="needs 4 CPUs and 0 GPUs.*has 4 and 0"):
        parallel_cells(cells(1, TrainConfig(num_workers=4)), 0, cpus=4, gpus=0)


def test_a_ray_started_here_has_room_for_its_cells_and_for_preparing_data():
    some = cells(20, TrainConfig(num_workers=1, cpus_per_worker=2.0))
    assert local_parallel(some, 3) == 3
    parallel = local_parallel(some, 0)
    assert parallel >= 1
    assert parallel_cells(some, parallel, local_cpus(some, parallel), 0) == parallel
