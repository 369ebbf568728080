"""A first step waits for the MLLM, not for ever, and no other step does."""

from __future__ import annotations

import threading
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from gem_ray.config import GemConfig, ScoringConfig
from gem_ray.train.first_step import wait_for_mllm

CPU = torch.device("cpu")
UP = object()


def config(wait_s: float = 60.0, scorer: str = "vllm") -> GemConfig:
    return replace(GemConfig(), scoring=ScoringConfig(wait_s=wait_s, scorer=scorer))


def poller(rescorer: object = None) -> SimpleNamespace:
    return SimpleNamespace(rescorer=rescorer)


def test_an_mllm_that_answers_is_not_waited_for(process_group_of_one, capsys):
    assert wait_for_mllm(config(), poller(UP), CPU) < 1.0
    assert capsys.readouterr().out == ""


def test_the_first_step_comes_when_the_mllm_answers(process_group_of_one, capsys):
    mine = poller()
    answering = threading.Timer(1.6, lambda: setattr(mine, "rescorer", UP))
    answering.start()
    assert 1.5 < wait_for_mllm(config(), mine, CPU) < 5.0
    assert capsys.readouterr().out == "the workers are ready and wait for the MLLM, scoring.wait_s=60 s at most\n"


def test_training_begins_without_an_mllm_that_does_not_come(process_group_of_one, capsys):
    assert 0.5 <= wait_for_mllm(config(wait_s=0.5), poller(), CPU) < 5.0
    assert "training begins without the MLLM, which does not answer after" in capsys.readouterr().out


@pytest.mark.parametrize("scorer", ["labels", "none"])
def test_nothing_waits_where_no_mllm_is_asked(scorer, capsys):
    # No process group: a collective would fail.
    assert wait_for_mllm(config(scorer=scorer), poller(), CPU) == 0.0
    assert capsys.readouterr().out == ""
