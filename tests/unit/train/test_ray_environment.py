"""Ray Serve reads its environment as it is imported: ours is set before that, in jobs and in a library's use."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]
PROBE = (
    "from ray.serve._private.request_router.request_router import RequestRouter; "
    "print(RequestRouter.queue_len_response_deadline_s)"
)


def run(code: str, **environment: str) -> str:
    """What a new process prints; without what this one has set."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("RAY_SERVE_")}
    return subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=inherited | environment, check=True, capture_output=True, text=True
    ).stdout.strip()


def test_a_job_has_the_environment_before_it_imports_serve():
    assert run(f"from jobs.compose import run_job\ndef main(config):\n    {PROBE}\nrun_job('a', 'b', main)") == "2.0"
    assert run(PROBE) == "0.1"  # the control: Serve's own


def test_what_the_user_has_set_stands():
    set_first = f"from gem_ray.train.ray_environment import set_ray_environment; set_ray_environment(); {PROBE}"
    assert run(set_first, RAY_SERVE_QUEUE_LENGTH_RESPONSE_DEADLINE_S="7") == "7.0"


def test_the_trainer_imports_neither_serve_nor_torch_geometric():
    heavy = run(
        "import sys, gem_ray.train.trainer; "
        "print([name for name in ('ray.serve', 'torch_geometric', 'sklearn', 'matplotlib') if name in sys.modules])"
    )
    assert heavy == "[]"
