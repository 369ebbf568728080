import time

import pytest

from gem_ray.config import GemConfig, TrainConfig
from gem_ray.config_json import config_to_json
from gem_ray.errors import TrainingError
from gem_ray.train import worker

LINGER_S = 0.4


@pytest.mark.parametrize(
    ("end", "lingers"),
    [
        pytest.param(True, True, id="all steps done"),
        pytest.param(False, False, id="left at a notice"),
        pytest.param(TrainingError("loss is not finite"), True, id="our own error ends the run"),
        pytest.param(RuntimeError("connection closed by peer"), False, id="another worker died"),
    ],
)
def test_a_worker_stays_for_its_last_metrics_only_where_no_group_follows_it(monkeypatch, end, lingers):
    def run_steps(config, graph_json):
        if isinstance(end, Exception):
            raise end
        return end

    monkeypatch.setattr(worker, "run_steps", run_steps)
    settings = {"config": config_to_json(GemConfig(train=TrainConfig(linger_s=LINGER_S))), "graph": "{}"}
    started = time.monotonic()
    if isinstance(end, Exception):
        with pytest.raises(type(end), match=str(end)):
            worker.train_worker(settings)
    else:
        worker.train_worker(settings)
    assert (time.monotonic() - started >= LINGER_S) == lingers
