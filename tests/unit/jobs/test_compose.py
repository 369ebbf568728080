"""The command line: typed, closed, and explained."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

from gem_ray.config import GemConfig
from gem_ray.errors import ConfigError
from jobs.compose import CONFIGS, help_text, load_config


def test_no_override_gives_the_defaults_of_the_dataclasses():
    assert load_config([]) == GemConfig()


@pytest.mark.parametrize("path", sorted((CONFIGS / "experiment").glob("*.yaml")), ids=lambda path: path.stem)
def test_every_experiment_composes(path):
    assert isinstance(load_config([f"experiment={path.stem}"]), GemConfig)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("train.stepz=3", "stepz"),
        ("train.steps=many", "many"),
        ("data.batch_size=33", "train.num_workers=2"),
        ("experiment=nowhere", "nowhere"),
        ("objective.reconstruction=l3", "bernoulli, gaussian, l1"),
        ("run.name=../x", "run.name"),
        ("+run._target_=os.system", "_target_"),
        ("+anything=1", "anything"),
        ("~train", "~train"),
        ("hydra.run.dir=/", "hydra"),
        ("run.name=${oc.env:HOME}", "oc.env"),
        ("'run.name=${oc.env:HOME}'", "oc.env"),
    ],
)
def test_a_wrong_override_is_refused_by_name(override, message):
    with pytest.raises(ConfigError, match=message.replace(".", r"\.")):
        load_config([override])


def test_no_secret_of_the_environment_reaches_a_message(monkeypatch):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "canary-7f3a")
    with pytest.raises(ConfigError) as refused:
        load_config(["run.name=${oc.env:AWS_SECRET_ACCESS_KEY}"])
    assert "canary-7f3a" not in str(refused.value)


def test_help_explains_every_option():
    text = help_text("jobs.train", "Train.")
    assert "train.steps=" in text
    assert "experiments: " in text
    assert "photos" in text


def test_help_answers_at_once_without_heavy_imports():
    root = Path(__file__).parents[3]
    code = (
        "import sys; sys.argv = ['x', '--help']\n"
        "from jobs.compose import run_job\n"
        "try: run_job('jobs.train', 'Train.', print)\n"
        "except SystemExit: pass\n"
        "heavy = {'torch', 'ray', 'vllm', 'transformers'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    started = time.monotonic()
    subprocess.run([sys.executable, "-c", code], check=True, cwd=root, stdout=subprocess.DEVNULL)
    assert time.monotonic() - started < 5
