"""What Ray reads from the environment in place of its defaults; cluster/runtime_env.yaml says the same to a cluster."""

from __future__ import annotations

import os

# Ray's own defaults leave a hung worker unnoticed for ten minutes; a step here takes well under a second. A group for
# which there turns out to be no room is given up after the third, and another size is tried.
TRAIN_ENVIRONMENT = {
    "RAY_TRAIN_WORKER_HEALTH_CHECK_TIMEOUT_S": "20",
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.5",
    "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": "30",
    "RAY_TRAIN_PREEMPTION_POLL_INTERVAL_S": "1",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "RAY_TRAIN_ENABLE_PRINT_PATCH": "0",  # shows every printed line twice
}
# The dashboard's page of training runs costs an actor of 400 MB, and a laptop has no spot instances to watch.
CLUSTER_ENVIRONMENT = {"RAY_TRAIN_ENABLE_STATE_TRACKING": "1"}
# Of the actors of a run most need no CPU of their own; Ray warns of four times as many processes as it starts at once.
LOCAL_ENVIRONMENT = {"RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0", "RAY_worker_maximum_startup_concurrency": "8"}
# What a person at the terminal need not read: progress bars of Ray's own, and warnings of libraries about libraries.
QUIET_ENVIRONMENT = {
    "RAY_DATA_DISABLE_PROGRESS_BARS": "1",
    "RAY_COLOR_PREFIX": "0",
    "PYTHONWARNINGS": "ignore::FutureWarning,ignore::DeprecationWarning,ignore::ResourceWarning",
    # Two busy cores do not answer Serve's probe within its default of 0.1 s; it then warns and tries again. The
    # first is cut to the second, which is 1 s by default.
    "RAY_SERVE_QUEUE_LENGTH_RESPONSE_DEADLINE_S": "2",
    "RAY_SERVE_MAX_QUEUE_LENGTH_RESPONSE_DEADLINE_S": "2",
    "RAY_SERVE_SLOW_STARTUP_WARNING_S": "3600",  # models take minutes; how long is said anyway
}
# How often callers and replicas report their load to the autoscaler; 10 s by default, as long as the delay itself.
AUTOSCALING_ENVIRONMENT = {
    "RAY_SERVE_HANDLE_AUTOSCALING_METRIC_PUSH_INTERVAL_S": "2",
    "RAY_SERVE_REPLICA_AUTOSCALING_METRIC_PUSH_INTERVAL_S": "2",
}


def set_ray_environment() -> None:
    """Set all that does not hang on where Ray runs; what the user has set stands.

    Call it before anything imports ``ray.serve``, which reads some of it at that moment and sends it to the cluster.
    """
    for name, value in {**TRAIN_ENVIRONMENT, **QUIET_ENVIRONMENT, **AUTOSCALING_ENVIRONMENT}.items():
        os.environ.setdefault(name, value)
