"""Both journals of a store."""

from __future__ import annotations

import pytest

from gem_ray.graph.journal import ObjectJournal


@pytest.fixture(params=["files", "objects"])
def journal_kind(request, monkeypatch) -> str:
    """Local folders take the journal of files; remote ones that of objects, forced on a local folder here."""
    if request.param == "objects":
        monkeypatch.setattr("gem_ray.graph.actor.open_journal", ObjectJournal)
    return request.param
