"""Numbers are found by their path wherever they stand in an evaluation."""

from __future__ import annotations

from gem_ray.table.metrics import METRICS, flat_numbers, shown


def test_numbers_are_flattened_by_path_and_lists_by_the_name_of_what_they_hold():
    tree = {
        "before": {"mig": 0.5, "tad": None},
        "images": "all",
        "ignored": True,
        "kl_per_latent": (0.1, 0.2),
        "graphs": ({"graph": "refined", "agreement": {"mean": 0.1}}, {"graph": "DisGraph", "agreement": {"mean": 0.2}}),
        "nodes": [{"name": "bangs", "order": 0.9}],
    }
    assert flat_numbers(tree) == {
        "before.mig": 0.5,
        "graphs.refined.agreement.mean": 0.1,
        "graphs.DisGraph.agreement.mean": 0.2,
        "nodes.bangs.order": 0.9,
    }


def test_only_metrics_that_a_cell_has_are_shown_in_their_order():
    assert [one.label for one in shown([{"reconstruction.mse": 1.0}, {"before.mig": 0.1}])] == ["MIG", "MSE"]
    assert shown([]) == ()
    assert len({one.key for one in METRICS}) == len(METRICS)
