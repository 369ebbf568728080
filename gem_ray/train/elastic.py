"""How many workers a run has at a time: as many as there is room for, between ``train.min_workers`` and num_workers.

Ray Train's own policy reserves by a view of the cluster that is up to 20 s old and shows a dead node for as long again,
so that a restart waits for a worker that cannot come; and it ends a group between two checkpoints to let it grow.
Runs in Ray Train's controller process, so nothing heavy belongs here.
"""

from __future__ import annotations

import logging
import socket
from collections.abc import Callable, Mapping
from typing import Any

import ray
from ray.exceptions import GetTimeoutError, RayError
from ray.train.torch import TorchTrainer
from ray.train.v2._internal.execution.scaling_policy import (
    ElasticScalingPolicy,
    NoopDecision,
    ResizeDecision,
    ScalingDecision,
)
from ray.train.v2._internal.execution.worker_group import WorkerGroupPollStatus, WorkerGroupState

logger = logging.getLogger(__name__)
ANSWER_S = 1.0
RESERVED_S = 5.0
Resources = dict[str, dict[str, float]]


class RoomScalingPolicy(ElasticScalingPolicy):
    """Starts with what fits on nodes that answer, and lets a group grow right behind a checkpoint only."""

    def make_decision_for_running_worker_group(
        self, worker_group_state: WorkerGroupState, worker_group_status: WorkerGroupPollStatus
    ) -> ScalingDecision:
        """Grow, or leave it; a group shrinks by failing, or behind a notice."""
        if not has_reported(worker_group_status):
            self._maybe_send_resource_request()
            return NoopDecision()
        decision = super().make_decision_for_running_worker_group(worker_group_state, worker_group_status)
        grows = isinstance(decision, ResizeDecision) and decision.num_workers > worker_group_state.num_workers
        return decision if grows else NoopDecision()

    def _count_possible_workers(self, reserved_resources: Resources) -> int:
        role: Any = self.scaling_config.label_selector or {}  # one for all workers, see ``trainer.scaling``
        addresses = {
            node["NodeID"]: (str(node["NodeManagerAddress"]), int(node["NodeManagerPort"]))
            for node in ray.nodes()
            if node["Alive"] and role.items() <= node["Labels"].items()
        }
        draining = ray._private.state.state.get_draining_nodes()
        count: int = super()._count_possible_workers(with_room(reserved_resources, addresses, draining, answers))
        return count

    def _get_reserved_resources(self) -> Resources | None:
        """By a fresh view of the cluster; None where the coordinator does not answer, and then nothing is decided."""
        try:
            fresh = self._autoscaling_coordinator.get_reserved_resources.remote(self._requester_id, recompute=True)
            reserved: Resources = ray.get(fresh, timeout=RESERVED_S)
        except (GetTimeoutError, RayError) as error:
            logger.warning("the number of workers stays: Ray's autoscaling coordinator does not answer (%s)", error)
            return None
        return reserved


def has_reported(status: WorkerGroupPollStatus) -> bool:
    """Whether this look found a report, which the workers make behind each checkpoint."""
    return any(worker.training_report is not None for worker in status.worker_statuses.values())


def with_room(
    reserved: Resources,
    addresses: Mapping[str, tuple[str, int]],
    draining: Mapping[str, int],
    answers: Callable[[str, int], bool],
) -> Resources:
    """The nodes of a reservation on which a worker can start now.

    Args:
        reserved: resources by node
        addresses: host and port of the own processes of live nodes that workers may run on
        draining: nodes that are about to be taken away
        answers: whether something listens there
    """
    return {
        node: resources
        for node, resources in reserved.items()
        if node in addresses and node not in draining and answers(*addresses[node])
    }


def answers(host: str, port: int) -> bool:
    """Whether a connection opens within a second; Ray itself takes a node that is gone for alive for 17 s."""
    try:
        socket.create_connection((host, port), timeout=ANSWER_S).close()
    except OSError:
        return False
    return True


class ElasticTrainer(TorchTrainer):
    """A TorchTrainer that scales by ``RoomScalingPolicy`` where its ScalingConfig has a range."""

    def _initialize_and_run_controller(self, **arguments: Any) -> Any:
        scaling: Any = self.scaling_config  # the stubs know Ray Train's first version only
        if scaling.elasticity_enabled:
            arguments["scaling_policy"] = RoomScalingPolicy(scaling)
        return super()._initialize_and_run_controller(**arguments)  # type: ignore[misc]
