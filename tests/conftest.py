"""One torch thread in the test process: it shares two cores with what it starts."""

from types import SimpleNamespace

import pytest
import torch

from gem_ray import telemetry

torch.set_num_threads(1)


@pytest.fixture
def recorded(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, float, dict[str, str]]]:
    """What is recorded from here on, as (name, value, labels), in place of a Ray that would export it."""
    values: list[tuple[str, float, dict[str, str]]] = []

    def metric(name: str) -> SimpleNamespace:
        def record(value: float, tags: dict[str, str]) -> None:
            values.append((name, value, tags))

        return SimpleNamespace(set=record, inc=record, observe=record)

    monkeypatch.setattr(telemetry, "_ray_is_up", lambda: True)
    monkeypatch.setattr(telemetry, "_metric", metric)
    return values
