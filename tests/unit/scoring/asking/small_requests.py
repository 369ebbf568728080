"""Questions that differ by image, what is answered to each, and where answers are stored."""

from __future__ import annotations

from pathlib import Path

from gem_ray.config import StorageConfig
from gem_ray.messages.questions import Request, ScoreAnswer, ScoreRequest
from gem_ray.scoring.asking.scripted import answer_of_value
from gem_ray.storage import Storage

PLENTY = 100_000_000


def make_storage(folder: Path) -> Storage:
    return Storage(str(folder / "answers"), StorageConfig())


def make_requests(count: int, attribute: str = "male") -> list[Request]:
    return [
        ScoreRequest(image=index.to_bytes(2, "big") * 6, height=2, width=2, attribute=attribute)
        for index in range(count)
    ]


def value_of(request: Request) -> ScoreAnswer:
    assert isinstance(request, ScoreRequest)
    return answer_of_value(int.from_bytes(request.image[:2], "big") / 1000)
