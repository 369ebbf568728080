"""What the rescorer exports of itself."""

from __future__ import annotations

from dataclasses import replace

from gem_ray.messages.rescorer import Cost, RescorerStatus
from gem_ray.scoring.rescoring.rescorer import record_status

STATUS = RescorerStatus(
    phase="waiting", asked=7, missing=1, images_scored=3, rounds=2, questions_per_s=0.0, digit_mass=None, last_error="",
    cost=Cost(asked=7, answered=4, failed=1, under_way=2), budget_left=40,
)  # fmt: skip


def test_a_status_is_exported_with_the_budget_where_there_is_one(recorded):
    record_status(STATUS, "faces", 600, 90.0)
    assert {name: value for name, value, labels in recorded if labels == {"run": "faces"}} == {
        "gem_scoring_waiting": 1.0,
        "gem_questions_under_way": 2,
        "gem_scoring_images": 3,
        "gem_scoring_rounds": 2,
        "gem_question_deadline_seconds": 90.0,
        "gem_scoring_budget": 600,
        "gem_scoring_budget_left": 40,
    }
    recorded.clear()
    record_status(replace(STATUS, phase="rounds", budget_left=None), "faces", 0, 60.0)
    assert ("gem_scoring_waiting", 0.0, {"run": "faces"}) in recorded
    assert [name for name, _, _ in recorded if "budget" in name] == []
