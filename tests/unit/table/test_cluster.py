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


def test_a_cell_with_an_mllm_of_its_own_needs_its_cpus_and_gpus_too():
    assert parallel_cells(cells(20, scorer="vllm"), 0, cpus=9, gpus=0) == 4
    one_gpu = TrainConfig(num_workers=1, use_gpu=True)
    for min_replicas, max_replicas, room in ((1, 1, 4), (0, 4, 4), (3, 4, 2)):
        mllm = ScoringConfig(num_gpus=1, min_replicas=min_replicas, max_replicas=max_replicas)
        own = [make_cell("gem", "faces", seed, GemConfig(train=one_gpu, scoring=mllm)) for seed in range(20)]
        assert parallel_cells(own, 0, cpus=64, gpus=8) == room


def test_a_cell_that_starts_with_fewer_workers_needs_room_for_those_only():
    elastic = TrainConfig(num_workers=8, min_workers=1, use_gpu=True, cpus_per_worker=6)
    assert parallel_cells(cells(20, elastic), 0, cpus=13, gpus=2) == 2


def test_a_cluster_that_may_grow_gets_what_is_asked_for_and_a_warning_where_that_has_no_room_yet(capsys):
    elastic = cells(20, TrainConfig(num_workers=8, min_workers=1, use_gpu=True, cpus_per_worker=6))
    assert parallel_cells(elastic, 8, cpus=12, gpus=1, can_grow=True) == 8
    assert "6 CPUs and 1 GPUs" in (warning := capsys.readouterr().out)
    assert "has 12 and 1 now, room for 1 of 8" in warning
    assert parallel_cells(elastic, 1, cpus=12, gpus=1, can_grow=True) == 1
    assert parallel_cells(elastic, 0, cpus=12, gpus=1, can_grow=True) == 1
    assert capsys.readouterr().out == ""


def test_a_cluster_that_may_grow_starts_one_cell_also_where_there_is_no_room_yet(capsys):
    fixed = cells(20, TrainConfig(num_workers=8, use_gpu=True, cpus_per_worker=6))
    assert parallel_cells(fixed, 0, cpus=0, gpus=0, can_grow=True) == 1
    assert "room for 0 of 1" in (warning := capsys.readouterr().out)
    assert "lower train.num_workers" in warning


def test_a_cluster_without_room_for_one_cell_is_refused_with_both_numbers():
    with pytest.raises(ConfigError, match="needs 4 CPUs and 0 GPUs.*has 4 and 0"):
        parallel_cells(cells(1, TrainConfig(num_workers=4)), 0, cpus=4, gpus=0)


def test_a_ray_started_here_has_room_for_its_cells_and_for_preparing_data():
    some = cells(20, TrainConfig(num_workers=1, cpus_per_worker=2.0))
    assert local_parallel(some, 3) == 3
    parallel = local_parallel(some, 0)
    assert parallel >= 1
    assert parallel_cells(some, parallel, local_cpus(some, parallel), 0) == parallel
