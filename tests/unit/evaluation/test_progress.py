"""Lines of progress: now and then, with the time that is left."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from gem_ray.evaluation.progress import WorkMeter


def test_a_line_tells_how_far_and_how_long(monkeypatch):
    now = 100.0
    monkeypatch.setattr("gem_ray.evaluation.progress.time.monotonic", lambda: now)
    lines = []
    meter = WorkMeter("scores", 400, lines.append)
    now += 2
    meter.add(50)
    assert lines == []  # too early to say
    now += 28
    meter.counting(10)(5)
    assert lines == ["scores: 25% after 30 s, about 1 min 30 s left"]


def test_work_of_many_threads_is_all_counted():
    lines = []
    meter = WorkMeter("scores", 4_000, lines.append, every_s=0)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(meter.add, [1] * 4_000))
    assert len(lines) == 4_000
    assert lines[-1].startswith("scores: 100%")
