"""A cache of the hub with as little of a model in it as tells its revision."""

from __future__ import annotations

from pathlib import Path


def keep_in_hub_cache(cache: Path, hub_id: str, revision: str) -> None:
    """Make a revision the newest one of a model in a cache."""
    model = cache / f"models--{hub_id.replace('/', '--')}"
    snapshot = model / "snapshots" / revision
    for folder in (model / "refs", snapshot):
        folder.mkdir(parents=True, exist_ok=True)
    (model / "refs" / "main").write_text(revision)
    (snapshot / "config.json").write_text("{}")
