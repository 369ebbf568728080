"""The command line: typed, closed, and explained."""

import ast
import importlib.util
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from gem_ray.config import GemConfig
from gem_ray.errors import ConfigError
from gem_ray.scoring.asking.prompts import PromptStyle, num_wordings
from jobs.compose import CONFIGS, help_text, load_config

ARCHITECTURES = {  # "architectures" of each model's config.json
    "nano": "LlavaForConditionalGeneration",
    "Qwen/Qwen2.5-VL-7B-Instruct": "Qwen2_5_VLForConditionalGeneration",
    "Qwen/Qwen2.5-VL-72B-Instruct": "Qwen2_5_VLForConditionalGeneration",
    "Qwen/Qwen2-VL-2B-Instruct": "Qwen2VLForConditionalGeneration",
}


def test_no_override_gives_the_defaults_of_the_dataclasses():
    assert load_config([]) == GemConfig()


@pytest.mark.parametrize("group", ["cluster", "mllm", "scoring", "experiment", "method"])
def test_every_choice_of_every_group_composes(group):
    files = sorted((CONFIGS / group).glob("*.yaml"))
    assert files
    for path in files:
        assert isinstance(load_config([f"{group}={path.stem}"]), GemConfig)


@pytest.mark.parametrize("mllm", sorted(path.stem for path in (CONFIGS / "mllm").glob("*.yaml")))
def test_the_protocol_of_the_paper_stands_with_every_model(mllm):
    scoring = load_config([f"mllm={mllm}", "scoring=gem_paper"]).scoring
    assert (scoring.wordings, scoring.judgements, scoring.initial_images) == (1, False, 1500)
    assert scoring.model == load_config([f"mllm={mllm}"]).scoring.model


def test_models_of_every_size_are_there():
    seven, seventy, two = (load_config([f"mllm={name}"]).scoring for name in ("gpu_7b", "gpu_70b", "cpu_2b"))
    assert (seven.num_gpus, seven.tensor_parallel, seven.judgements) == (1, 1, True)
    assert (seventy.num_gpus, seventy.tensor_parallel, seventy.judgements) == (4, 4, True)
    assert (two.num_gpus, two.judgements) == (0, False)
    # The rescorer alone is load enough to bring the second replica.
    assert seven.max_in_flight > seven.target_ongoing_requests * seven.min_replicas
    for scoring in (seven, seventy, two):
        assert scoring.wordings <= num_wordings(PromptStyle.CHAT)


def test_the_installed_vllm_knows_every_model():
    named = {load_config([f"mllm={path.stem}"]).scoring.model for path in (CONFIGS / "mllm").glob("*.yaml")}
    assert named == set(ARCHITECTURES)
    # Read, not imported: importing vLLM takes most of a minute on a busy machine.
    spec = importlib.util.find_spec("vllm")
    if spec is None or spec.origin is None:
        pytest.skip("vLLM is not installed")
    tree = ast.parse((Path(spec.origin).parent / "model_executor" / "models" / "registry.py").read_text())
    supported = next(
        node.value
        for node in tree.body
        if isinstance(node, ast.Assign | ast.AnnAssign) and "_MULTIMODAL_MODELS" in ast.unparse(node).split("=")[0]
    )
    assert isinstance(supported, ast.Dict)
    assert set(ARCHITECTURES.values()) <= {key.value for key in supported.keys if isinstance(key, ast.Constant)}


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
    for group, choice in (
        ("experiment", "photos"),
        ("mllm", "gpu_7b"),
        ("scoring", "gem_paper"),
        ("method", "beta_vae"),
        ("cluster", "kubernetes"),
    ):
        assert re.search(rf"{group}=NAME.*\n(  .*\n)*  {choice} +\w", text)


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
