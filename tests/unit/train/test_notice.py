"""All ranks learn of a node's end at the same step, from rank 0."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from gem_ray.train import notice
from gem_ray.train.notice import Notice


@pytest.fixture
def context(monkeypatch):
    """What Ray Train's watcher would write to."""
    context = SimpleNamespace(preemption_context=SimpleNamespace(preemption_info=None))
    monkeypatch.setattr(notice, "get_train_context", lambda: context)
    return context


def test_without_a_notice_nobody_leaves(process_group_of_one, context):
    assert not any(Notice(torch.device("cpu"), 2).seen(step) for step in range(4))


def test_a_notice_is_seen_at_the_next_step_at_which_the_ranks_talk(process_group_of_one, context):
    told = Notice(torch.device("cpu"), 4)
    context.preemption_context.preemption_info = object()
    assert [told.seen(step) for step in range(1, 6)] == [False, False, False, True, False]
