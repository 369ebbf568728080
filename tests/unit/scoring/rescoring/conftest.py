"""A run's folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from gem_ray.config import StorageConfig
from gem_ray.storage import Storage


@pytest.fixture
def run(tmp_path: Path) -> Storage:
    return Storage(str(tmp_path), StorageConfig())
