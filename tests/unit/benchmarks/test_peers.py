"""What is made of the turns of all contenders: the fastest of theirs is what ours is measured against."""

from __future__ import annotations

from benchmarks.peers.__main__ import compared, markdown

CPU = {
    "bare": [1.0] * 5,
    "pythae": [2.0] * 5,
    "bf16": [0.5] * 5,
    "ray_train": [0.6] * 5,
    "one_batch": [0.5] * 5,
}


def test_ours_is_compared_with_the_fastest_of_theirs_and_with_our_own_bare_step() -> None:
    found = {ratio.name: ratio for ratio in compared(CPU, 128)}
    assert set(found) == {"peers_bf16", "peers_ray_train", "own_bf16", "own_ray_train"}
    assert found["peers_bf16"].median == 2.0
    assert "over bare, the fastest" in found["peers_bf16"].what
    assert not found["peers_ray_train"].met
    assert found["own_bf16"].met
    assert not found["own_ray_train"].met


def test_a_peer_in_bf16_is_shown_beside_ours_and_is_not_the_one_in_fp32_that_the_target_is_about() -> None:
    found = {ratio.name: ratio for ratio in compared({**CPU, "lightning_bf16": [0.3] * 5}, 128)}
    assert "over bare, the fastest" in found["peers_ray_train"].what
    assert found["peers_alike"].median == 0.5
    assert found["peers_alike"].target is None


def test_without_peers_only_our_own_are_compared() -> None:
    ours = {name: CPU[name] for name in ("bf16", "one_batch")}
    assert [ratio.name for ratio in compared(ours, 128)] == ["own_bf16"]


def test_the_table_shows_rates_ratios_and_who_is_missing() -> None:
    times = {name: (cpu, cpu) for name, cpu in CPU.items()}
    shown = markdown(times, 128, list(compared(CPU, 128)), {"disent": "no such version"})
    assert "| theirs: bare | 128 (128-128) | 128 |" in shown
    assert "| ours: bf16 | 256 (256-256) | 256 |" in shown
    assert "missed" in shown
    assert "not there: disent (no such version)" in shown
