"""From a command line to a typed configuration: Hydra composes, dataclasses check, nothing is instantiated.

The compose API is used rather than ``hydra.main``: no job runtime, callbacks or logging configuration can then be named
on a command line, and ``--help`` can show what every option means.
"""

from __future__ import annotations

import ast
import dataclasses
import inspect
import itertools
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn, get_type_hints

from gem_ray.config import GemConfig
from gem_ray.config_json import config_to_json
from gem_ray.errors import ConfigError, GemRayError
from gem_ray.structured_log import configure_driver, say_error
from gem_ray.train.ray_environment import set_ray_environment

CONFIGS = Path(__file__).parent.parent / "configs"
GROUPS = ("cluster", "mllm", "scoring", "experiment", "method")


def load_config(overrides: Sequence[str]) -> GemConfig:
    """Compose ``configs/config.yaml`` with ``key=value`` overrides.

    Raises:
        ConfigError: unknown keys, mistyped values, impossible combinations, interpolations
    """
    from hydra import compose, initialize_config_dir
    from hydra.core.config_store import ConfigStore
    from hydra.errors import HydraException
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException
    from yaml import YAMLError

    for override in overrides:
        if override[:1] in {"+", "~"} or override.startswith("hydra"):
            raise ConfigError(f"{override!r}: options can be set, not added or removed; see --help for every option")
    ConfigStore.instance().store(name="schema", node=GemConfig)
    try:
        with initialize_config_dir(str(CONFIGS), version_base="1.3"):
            composed = compose("config", overrides=list(overrides))
        _refuse_interpolations(OmegaConf.to_container(composed, resolve=False), "")
        return OmegaConf.to_object(composed)  # type: ignore[return-value]
    except (HydraException, OmegaConfBaseException, YAMLError) as error:
        cause = error.__cause__ or error
        raise ConfigError(f"{_first_line(error)} ({_first_line(cause)}); see --help for every option") from error


def _refuse_interpolations(node: Any, path: str) -> None:
    # "${oc.env:AWS_SECRET_ACCESS_KEY}" would write a secret into config.json, checkpoints and the report.
    if isinstance(node, dict):
        for key, value in node.items():
            _refuse_interpolations(value, f"{path}.{key}".lstrip("."))
    elif isinstance(node, list):
        for value in node:
            _refuse_interpolations(value, path)
    elif isinstance(node, str) and "${" in node:
        raise ConfigError(f"{path}={node!r}: interpolations are not allowed; write the value itself")


def _first_line(error: BaseException) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__


def run_job(name: str, purpose: str, main: Callable[[GemConfig], None]) -> NoReturn:
    """Run ``main`` with the configuration of the command line; an error of ours ends in one clear line."""
    arguments = sys.argv[1:]
    if {"-h", "--help"} & set(arguments):
        print(help_text(name, purpose))
        raise SystemExit(0)
    try:
        config = load_config([argument for argument in arguments if argument != "--config"])
        if "--config" in arguments:
            print(config_to_json(config))
            raise SystemExit(0)
        configure_driver(config.run.log_format, config.run.name)
        set_ray_environment()
        main(config)
    except GemRayError as error:
        say_error(error)
        raise SystemExit(2) from None
    except KeyboardInterrupt:
        print("\nstopped by Ctrl-C; the same command goes on from the last checkpoint", file=sys.stderr)
        raise SystemExit(130) from None
    raise SystemExit(0)


def help_text(name: str, purpose: str) -> str:
    """Usage, choices of the groups, and every option with its default and meaning."""
    lines = [
        f"usage: python -m {name} [cluster=NAME] [mllm=NAME] [scoring=NAME] [experiment=NAME] [method=NAME] "
        "[group.option=value ...] [--config] [--help]",
        "",
        purpose,
        "",
        "--config prints the whole configuration as JSON and does nothing else.",
    ]
    for group in GROUPS:
        lines += ["", f"{group}=NAME sets several options at once; NAME is one of"]
        lines += [f"  {choice:20} {meaning}" for choice, meaning in choices(group).items()]
    documented = _field_docs()
    for group, cls in get_type_hints(GemConfig).items():
        lines += ["", f"{group}: {inspect.cleandoc(cls.__doc__ or '')}"]
        defaults = cls()
        for field in dataclasses.fields(cls):
            default = getattr(defaults, field.name)
            lines.append(f"  {group}.{field.name}={'null' if default is None else default}")
            lines.append(f"      {documented[cls.__name__, field.name]}")
    return "\n".join(lines)


def choices(group: str) -> dict[str, str]:
    """Files of ``configs/GROUP``, and what the comment at the head of each says."""
    found = {}
    for path in sorted((CONFIGS / group).glob("*.yaml")):
        lines = [line for line in path.read_text(encoding="utf-8").splitlines() if not line.startswith("# @package")]
        comment = itertools.takewhile(lambda line: line.startswith("#"), lines)
        found[path.stem] = " ".join(line.removeprefix("#").strip() for line in comment)
    return found


def _field_docs() -> dict[tuple[str, str], str]:
    docs: dict[tuple[str, str], str] = {}
    for cls in get_type_hints(GemConfig).values():
        body = ast.parse(inspect.getsource(cls)).body[0].body  # type: ignore[attr-defined]
        for field, text in itertools.pairwise(body):
            if isinstance(field, ast.AnnAssign) and isinstance(text, ast.Expr):
                docs[cls.__name__, ast.unparse(field.target)] = " ".join(ast.literal_eval(text.value).split())
    return docs
