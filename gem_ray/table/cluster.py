"""Cells as Ray tasks: each waits for one training run, whose workers reserve what they need themselves."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence

import ray
from ray.exceptions import RayTaskError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from gem_ray.config import GemConfig
from gem_ray.errors import ConfigError
from gem_ray.graph.store import StoreClient
from gem_ray.structured_log import say
from gem_ray.table.cell_task import cell_storage, run_cell
from gem_ray.table.cells import Cell

STOP_S = 30.0
# Ray Data reads a cell's images while the cell's own workers hold their CPUs already.
SPARE_CPUS = 1.0
# A worker process that dies (a lost node, no memory) costs a retry; the run goes on from its checkpoint.
RETRIES = 2


class CellTasks:
    """Runs cells in Ray tasks; ``run`` blocks and may be called from many threads, ``stop`` ends all of them."""

    def __init__(self) -> None:
        self._under_way: dict[str, ray.ObjectRef] = {}
        self._stopped = False
        self._task = ray.remote(num_cpus=0, max_retries=RETRIES)(run_cell)

    def run(self, cell: Cell) -> None:
        """Run one cell to its end.

        Raises:
            GemRayError, ray.exceptions.RayError: what ended it
        """
        if self._stopped:
            return
        name = cell.config.run.name
        local = cell_storage(cell).is_local
        # A local folder is only there on this machine.
        placement = (
            NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False) if local else "DEFAULT"
        )
        self._under_way[name] = self._task.options(name=name, scheduling_strategy=placement).remote(cell.config)
        try:
            ray.get(self._under_way[name])
        except RayTaskError as error:  # its own text is a traceback of another process
            raise error.cause from None
        finally:
            del self._under_way[name]

    def stop(self) -> None:
        """Interrupt the cells as Ctrl-C would, so that each ends what it started; after a while end them by force."""
        self._stopped = True
        left = dict(self._under_way)
        for force in (False, True):
            for task in left.values():
                ray.cancel(task, force=force)
            _, not_ended = ray.wait(list(left.values()), num_returns=len(left), timeout=STOP_S) if left else ([], [])
            left = {name: task for name, task in left.items() if task in not_ended}
        for name in left:
            StoreClient(name).stop()  # it outlives the task that started it


def cell_cpus(config: GemConfig, num_workers: int) -> float:
    """CPUs that one cell with so many workers reserves while it trains."""
    scoring = config.scoring.max_replicas * config.scoring.num_cpus if config.scoring.scorer == "vllm" else 0.0
    return num_workers * config.train.cpus_per_worker + scoring


def cell_gpus(config: GemConfig, num_workers: int) -> float:
    """GPUs of one cell with so many workers: one each, and those of the replicas that are there from the start."""
    replicas = max(1, config.scoring.min_replicas) if config.scoring.scorer == "vllm" else 0
    return (num_workers if config.train.use_gpu else 0) + replicas * config.scoring.num_gpus


def fewest_workers(config: GemConfig) -> int:
    """Workers without which a cell does not train."""
    return config.train.min_workers or config.train.num_workers


def parallel_cells(cells: Sequence[Cell], wanted: int, cpus: float, gpus: float, can_grow: bool = False) -> int:
    """How many cells may be under way: as wanted, or as many as have room at once.

    Args:
        wanted: 0 for as many as have room
        cpus, gpus: of the cluster as it is now
        can_grow: a cluster that was there before may add nodes for cells that wait: as many as wanted, with a warning

    Raises:
        ConfigError: not even one cell has room on a Ray that does not grow
    """
    each = max(cell_cpus(cell.config, fewest_workers(cell.config)) for cell in cells)
    gpus_each = max(cell_gpus(cell.config, fewest_workers(cell.config)) for cell in cells)
    room = max(0, math.floor((cpus - SPARE_CPUS) / each))
    if gpus_each:
        room = min(room, math.floor(gpus / gpus_each))
    needs = (
        f"one cell needs {each:g} CPUs and {gpus_each:g} GPUs, and one CPU more to read its data; the cluster has "
        f"{cpus:g} and {gpus:g}"
    )
    remedy = "lower train.num_workers or train.cpus_per_worker, leave table.share_scores=true, or add nodes"
    if not can_grow:
        if room < 1:
            raise ConfigError(f"{needs}: {remedy}")
        return min(len(cells), wanted or room, room)
    parallel = min(len(cells), wanted or max(1, room))
    if parallel > room:
        say(
            f"WARNING: {needs} now, room for {room} of {parallel} at a time: the others wait for nodes to come; "
            "if none will, lower table.parallel" + ("" if room else f", and {remedy}")
        )
    return parallel


def most_cpus(cells: Sequence[Cell]) -> float:
    """CPUs of the cell that needs most, with all its workers."""
    return max(cell_cpus(cell.config, cell.config.train.num_workers) for cell in cells)


def local_parallel(cells: Sequence[Cell], wanted: int) -> int:
    """How many cells a Ray started here shall have under way: by the cores of this machine, at least one."""
    return wanted or max(1, math.floor((os.cpu_count() or 1) / most_cpus(cells)))


def local_cpus(cells: Sequence[Cell], parallel: int) -> int:
    """Logical CPUs of a Ray started here: those of the cells, or of the scorer before them, and some for the data."""
    scorer = max(cell.config.scoring.num_cpus for cell in cells)
    spare = max(math.ceil(SPARE_CPUS), *(cell.config.prepare.concurrency for cell in cells))
    return math.ceil(max(parallel * most_cpus(cells), scorer)) + spare
