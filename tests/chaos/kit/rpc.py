"""Ray's own switch for lost calls between its processes (2.60: JSON by the name of the method)."""

from __future__ import annotations

import json

VARIABLE = "RAY_testing_rpc_failure"
KINDS = {
    "request": "req_failure_prob",  # the call never arrives
    "answer": "resp_failure_prob",  # it is carried out, and its answer is lost
    "in_flight": "in_flight_failure_prob",  # it is carried out while the caller is told that it failed
}


def lost_calls(method: str, kind: str, count: int, percent: int = 100) -> dict[str, str]:
    """Environment in which a process loses calls of a method, as in ``KINDS``: so many of a hundred, ``count`` in all.

    An ordered queue of an actor waits 30 s for a call that was lost, unless told not to, as Ray's own tests do.
    """
    failures = {"num_failures": count, **dict.fromkeys(KINDS.values(), 0), KINDS[kind]: percent}
    return {
        VARIABLE: json.dumps({method: failures}),
        "RAY_actor_scheduling_queue_max_reorder_wait_seconds": "0",
    }
