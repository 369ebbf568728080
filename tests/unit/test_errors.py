"""Errors cross process boundaries whole."""

from __future__ import annotations

import pickle

import pytest

from gem_ray import errors
from gem_ray.errors import GemRayError

KINDS = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, GemRayError)]


def descendants(kind: type[GemRayError]) -> set[type[GemRayError]]:
    return {kind}.union(*(descendants(child) for child in kind.__subclasses__()))


def test_all_kinds_stand_in_one_place():
    # Importing the parts that could define kinds of their own, Ray-free ones only.
    import gem_ray.checkpoint
    import gem_ray.config_json
    import gem_ray.graph.disgraph
    import gem_ray.losses.gem
    import gem_ray.storage  # noqa: F401

    assert len(KINDS) >= 7
    assert {kind for kind in descendants(GemRayError) if kind.__module__.startswith("gem_ray.")} == set(KINDS)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("protocol", [2, pickle.HIGHEST_PROTOCOL])
def test_an_error_survives_pickling_with_its_message(kind, protocol):
    error = kind("train.steps=0 must be at least 1")
    error.add_note("on worker 3")
    found = pickle.loads(pickle.dumps(error, protocol))
    assert type(found) is kind
    assert str(found) == "train.steps=0 must be at least 1"
    assert found.__notes__ == ["on worker 3"]


@pytest.mark.parametrize("kind", KINDS)
def test_an_error_is_caught_as_one_of_ours_and_says_what_it_is_for(kind):
    with pytest.raises(GemRayError, match="cause"):
        raise kind("cause")
    assert kind.__doc__


def test_an_error_is_not_taken_for_one_of_the_standard_library():
    assert not any(issubclass(kind, OSError | ValueError | RuntimeError) for kind in KINDS)
