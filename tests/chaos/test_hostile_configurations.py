"""Configurations written by somebody who means harm: on the command line, in a YAML file, in a run's ``config.json``.

Nothing in them is ever a class to build, a function to call, a variable to look up or a way out of a folder.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from gem_ray.config import GemConfig, StorageConfig
from gem_ray.config_json import config_from_json
from gem_ray.errors import ConfigError, StorageError
from gem_ray.scoring.asking.prompts import validate_attributes
from gem_ray.storage import Storage
from jobs import compose

CANARY = "canary-31337"
TARGETS = (
    "os.system",
    "builtins.eval",
    "builtins.exec",
    "subprocess.run",
    "hydra.utils.get_method",
    "importlib.import_module",
    "logging.config.dictConfig",
)


@pytest.fixture
def mark(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file that appears if a shell runs what these configurations say."""
    monkeypatch.setenv("GEM_RAY_CANARY", CANARY)
    return tmp_path / "mark"


@pytest.mark.parametrize(
    "target", [pytest.param(target, marks=[pytest.mark.slow] * (target != TARGETS[0])) for target in TARGETS]
)
def test_no_override_names_something_to_call(target, mark):
    call = f"{{_target_:{target},_args_:['touch {mark}']}}"
    for override in (
        f"run={call}",
        f"run.name={call}",
        f"train.seed={call}",
        f"+run._target_={target}",
        f"++run._target_={target}",
        f"run._target_={target}",
        f"model.attributes=[{call}]",
        f"hydra.callbacks.x._target_={target}",
        f"hydra/job_logging={target}",
        f"+hydra.job_logging.x={call}",
    ):
        with pytest.raises(ConfigError):
            validate_attributes(compose.load_config([override]).model.attributes)
        assert not mark.exists(), override


@pytest.mark.parametrize(
    "value",
    [
        "${oc.env:GEM_RAY_CANARY}",
        "${oc.decode:${oc.env:GEM_RAY_CANARY}}",
        "x${oc.env:GEM_RAY_CANARY}",
        "${hydra:runtime.cwd}",
        "${run.uri}",
        "${oc.create:{a: 1}}",
        "${oc.deprecated:run.uri}",
        "${",
    ],
)
@pytest.mark.parametrize("key", ["run.uri", pytest.param("storage.endpoint_url", marks=pytest.mark.slow)])
def test_no_override_looks_anything_up(key, value, mark):
    for override in (f"{key}={value}", f"'{key}={value}'", f"{key}='{value}'", f'{key}="{value}"'):
        with pytest.raises(ConfigError) as refused:
            compose.load_config([override])
        assert CANARY not in str(refused.value)


HOSTILE_YAML = {
    "python object": "run:\n  name: !!python/object/apply:os.system ['touch {mark}']\n",
    "python module": "run: !!python/module:os\n",
    "target": "run:\n  _target_: os.system\n  command: touch {mark}\n",
    "interpolation": "run:\n  uri: ${{oc.env:GEM_RAY_CANARY}}\n",
    "resolver": "run:\n  uri: ${{oc.create:{{_target_: os.system}}}}\n",
    "many aliases": "a: &a [x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a]\nrun:\n  name: [*b,*b,*b,*b,*b]\n",
    "other packages": "# @package hydra\njob_logging:\n  version: 1\n  root:\n    level: !!python/name:os.system\n",
}


@pytest.mark.parametrize("kind", list(HOSTILE_YAML))
def test_no_file_of_values_runs_or_looks_up_anything(kind, mark, tmp_path, monkeypatch):
    configs = tmp_path / "configs"
    (configs / "experiment").mkdir(parents=True)
    for path in compose.CONFIGS.rglob("*.yaml"):
        target = configs / path.relative_to(compose.CONFIGS)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(path.read_bytes())
    text = HOSTILE_YAML[kind].format(mark=mark)
    head = "" if text.startswith("# @package") else "# @package _global_\n"
    (configs / "experiment" / "hostile.yaml").write_text(head + text)
    monkeypatch.setattr(compose, "CONFIGS", configs)
    assert compose.load_config([]).run.name, "the copied files do not compose: nothing would be tested"
    with pytest.raises(ConfigError) as refused:
        compose.load_config(["experiment=hostile"])
    assert CANARY not in str(refused.value)
    assert not mark.exists()


def test_control_omegaconf_by_itself_does_look_up(mark):
    node = OmegaConf.create({"run": {"uri": "${oc.env:GEM_RAY_CANARY}"}})
    assert OmegaConf.to_container(node, resolve=True) == {"run": {"uri": CANARY}}


@pytest.mark.parametrize(
    "name",
    [
        "../x",
        "a/b",
        "/etc",
        "..",
        ".",
        "",
        " ",
        "a b",
        "x" * 65,
        "a\0b",
        "a\nb",
        "a\\b",
        "s3://other",
        "~",
        "%2e%2e",
        "é",
    ],
)
def test_a_name_of_a_run_is_never_a_way_out(name):
    with pytest.raises(ConfigError, match=r"run\.name"):
        config_from_json(json.dumps({"run": {"name": name}}))


@pytest.mark.parametrize(
    "name", ["../x", "a/../../x", "/etc/passwd", "a//b", "", ".", "a\\..\\b", "a\0b", "./a", "a/.", "s3://other/x"]
)
def test_a_name_in_storage_is_never_a_way_out(name, tmp_path):
    (tmp_path / "x").write_bytes(b"outside")
    inside = Storage(str(tmp_path / "inside"), StorageConfig())
    for act in (
        lambda: inside.read_bytes(name),
        lambda: inside.write_bytes(name, b"bad"),
        lambda: inside.create_bytes(name, b"bad"),
        lambda: inside.delete(name),
        lambda: inside.child(name),
    ):
        with pytest.raises(StorageError, match="is not a name inside"):
            act()
    assert (tmp_path / "x").read_bytes() == b"outside"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["x"]


@pytest.mark.parametrize(
    "name",
    [
        *("a\0b", "a\nb", "a\rb", "a\x1b[31mb", "\u202eelam", "a\u2028b", "\ufeffmale", "\u200bmale", "<|image_pad|>"),
        *("<image>", "[INST]", "{{ x }}", "male; rm -rf", "${oc.env:HOME}", "x" * 65, "", "  ", "__import__('os')"),
    ],
)
def test_an_attribute_that_could_be_more_than_a_name_is_refused(name):
    with pytest.raises(ConfigError, match="attribute"):
        validate_attributes(["male", name])


@pytest.mark.parametrize(
    "text",
    [
        '{"run": {"_target_": "os.system"}}',
        '{"_target_": "os.system"}',
        '{"run": {"name": {"_target_": "os.system"}}}',
        '{"train": {"seed": NaN}}',
        '{"train": {"learning_rate": 1e999}}',
        '{"train": {"steps": 1' + "0" * 5000 + "}}",
        "[" * 100_000,
        '{"a":' * 50_000,
        '{"__class__": "os.system"}',
        '{"model": {"attributes": "male"}}',
    ],
)
def test_a_stored_configuration_of_nonsense_is_one_clear_error(text):
    with pytest.raises(ConfigError):
        config_from_json(text)


def test_what_is_harmless_is_taken():
    assert config_from_json("{}") == GemConfig()
    assert validate_attributes(["high cheekbones", "5 o'clock shadow", "blond/grey"])
    assert compose.load_config(["run.name=a.b-c_1", "data.uri=s3://bucket/a b"]).data.uri == "s3://bucket/a b"
