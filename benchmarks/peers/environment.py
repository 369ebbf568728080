"""An environment of its own for the peers, beside the project's: their needs are not ours, and neither are ours theirs.

torch is held at the project's version, so that trainers are compared and not releases of torch.
"""

from __future__ import annotations

import json
import subprocess
import sys
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PLACE = ROOT / ".venv-peers"
PYTHON = PLACE / "bin" / "python"
ABSENT = PLACE / "absent.json"
PINS = ("torch==2.13.0", "torchvision==0.28.0")
PEERS = ("pythae", "disent", "lightning")
# What the network of the comparison imports of ours.
NEEDED = ("numpy",)


def ensure_environment() -> dict[str, str]:
    """Build it where it is missing; the peers that cannot be installed here, with pip's reason."""
    if not ABSENT.exists():
        print(f"setting up {PLACE}: {', '.join(PEERS)} beside torch, a few minutes", file=sys.stderr, flush=True)
        venv.create(PLACE, with_pip=True)
        reason = pip(*PINS, *NEEDED)
        if reason:
            sys.exit(f"torch cannot be installed for the peers: {reason}")
        absent = {peer: reason for peer in PEERS if (reason := pip(peer, *PINS))}
        ABSENT.write_text(json.dumps(absent))
    found: dict[str, str] = json.loads(ABSENT.read_text())
    return found


def pip(*requirements: str) -> str:
    """Install together; the last line of pip's complaint, empty where it worked."""
    command = [str(PYTHON), "-m", "pip", "install", "--disable-pip-version-check", "--quiet", *requirements]
    result = subprocess.run(command, capture_output=True, text=True)
    lines = [line for line in result.stderr.splitlines() if line.startswith("ERROR")]
    return "" if result.returncode == 0 else (lines or result.stderr.splitlines() or ["pip failed"])[-1]
