import threading
import time

import pytest

from gem_ray.data.ahead import ahead


def test_items_come_in_their_order_and_none_is_lost():
    assert list(ahead(iter(range(100)), depth=3)) == list(range(100))
    assert list(ahead(iter([]), depth=3)) == []


def test_the_next_items_are_made_while_one_is_worked_on():
    made = []

    def items():
        for number in range(10):
            made.append(number)
            yield number

    source = ahead(items(), depth=2)
    assert next(source) == 0
    deadline = time.monotonic() + 10
    while len(made) < 3 and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(0.05)
    assert made == [0, 1, 2], "two ahead, and no more"
    source.close()


def test_an_error_comes_where_its_item_is_asked_for():
    def items():
        yield 1
        raise RuntimeError("the shard is damaged")

    source = ahead(items())
    assert next(source) == 1
    with pytest.raises(RuntimeError, match="the shard is damaged"):
        next(source)


def test_closing_lets_go_of_the_sources_and_ends_the_thread():
    ended = []

    def items(lane):
        try:
            while True:
                yield 0
        finally:
            ended.append(lane)

    source = ahead(zip(items(0), items(1), strict=True))  # as the training loop has it
    next(source)
    source.close()
    assert sorted(ended) == [0, 1]
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("ahead")]
