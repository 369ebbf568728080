"""A bucket for each caller, and a bound on how many are remembered."""

from gem_ray.gateway import limits
from gem_ray.gateway.limits import RateLimit


def make_limit(per_minute):
    now = [0.0]
    return RateLimit(per_minute, lambda: now[0]), now


def test_a_burst_is_allowed_and_then_the_rate():
    limit, now = make_limit(60)
    assert [limit.take("a") for _ in range(60)] == [None] * 60
    assert limit.take("a") == 1
    now[0] = 0.99
    assert limit.take("a") == 1
    now[0] = 1.0
    assert limit.take("a") is None
    assert limit.take("a") == 1


def test_the_wait_is_told_in_whole_seconds():
    limit, now = make_limit(2)
    assert [limit.take("a") for _ in range(3)] == [None, None, 30]
    now[0] = 12.5
    assert limit.take("a") == 18


def test_one_caller_does_not_use_up_what_another_has():
    limit, _ = make_limit(1)
    assert limit.take("a") is None
    assert limit.take("a") is not None
    assert limit.take("b") is None


def test_silence_does_not_add_up_beyond_a_burst():
    limit, now = make_limit(3)
    now[0] = 1e6
    assert [limit.take("a") for _ in range(4)] == [None, None, None, 20]


def test_memory_is_bounded_and_the_longest_silent_goes_first(monkeypatch):
    monkeypatch.setattr(limits, "MAX_CALLERS", 3)
    limit, _ = make_limit(1)
    for caller in "abcd":
        assert limit.take(caller) is None
    assert limit.take("d") is not None
    assert limit.take("a") is None
