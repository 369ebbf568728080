"""The Dockerfile and the compose file: linted, since nothing here can build them, and held against what they copy.

The lint is small and of our own: one rule each, with a planted violation that it reports.
"""

from __future__ import annotations

import fnmatch
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft7Validator

ROOT = Path(__file__).resolve().parents[3]
DOCKERFILE = ROOT / "cluster" / "images" / "Dockerfile"
Instructions = list[tuple[str, str]]
KNOWN = {"FROM", "SHELL", "RUN", "ENV", "LABEL", "WORKDIR", "COPY", "USER", "ARG"}
GOOD = """
FROM python:3.11.14-slim AS base
COPY requirements.txt ./
RUN apt-get update && apt-get install -y --no-install-recommends g++ && rm -rf /var/lib/apt/lists/*
RUN python scripts/setup_environment.py --extra cpu
COPY gem_ray gem_ray
USER 1000:1000
"""


def parse(text: str) -> Instructions:
    """Instructions and their arguments; comments and continuations are gone."""
    lines = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n\s*", " ", "\n".join(lines))
    return [(line.split(None, 1)[0].upper(), line.split(None, 1)[1].strip()) for line in joined.splitlines()]


def bodies(instructions: Instructions, kind: str) -> list[str]:
    """The arguments of every instruction of a kind."""
    return [argument for name, argument in instructions if name == kind]


def stages(instructions: Instructions) -> dict[str, Instructions]:
    """The instructions of each stage, by its name."""
    result: dict[str, Instructions] = {}
    for name, argument in instructions:
        if name == "FROM":
            current = result.setdefault(argument.rpartition(" ")[2], [])
        current.append((name, argument))
    return result


def base_floats(instructions: Instructions) -> list[str]:
    """A base image without a full version, other than an earlier stage."""
    found, seen = [], set()
    for argument in bodies(instructions, "FROM"):
        image, _, name = argument.partition(" AS ")
        if image not in seen and not re.search(r":\d+\.\d+\.\d+|@sha256:", image):
            found.append(image)
        seen.add(name)
    return found


def packages_are_careless(instructions: Instructions) -> list[str]:
    """apt-get that asks, brings recommendations, or leaves its lists in the layer."""
    return [
        run
        for run in bodies(instructions, "RUN")
        if re.search(r"\bapt(-get)? install", run)
        and not (
            "apt-get install -y" in run
            and "--no-install-recommends" in run
            and "apt-get update" in run
            and "rm -rf /var/lib/apt/lists/*" in run
        )
    ]


def fetches_unchecked(instructions: Instructions) -> list[str]:
    """ADD, or a download that goes to a shell."""
    piped = [
        run for run in bodies(instructions, "RUN") if re.search(r"(curl|wget)\b[^|;&]*\|\s*(sudo )?(ba|da|z)?sh\b", run)
    ]
    return bodies(instructions, "ADD") + piped


def ends_as_root(instructions: Instructions) -> list[str]:
    """A stage that is run and does not end with a user by number."""
    used = {argument.partition(" AS ")[0] for argument in bodies(instructions, "FROM")}
    found = []
    for name, stage in stages(instructions).items():
        users = bodies(stage, "USER")
        if name not in used and (stage[-1][0] != "USER" or not re.fullmatch(r"[1-9]\d*(:[1-9]\d*)?", users[-1])):
            found.append(name)
    return found


def keeps_a_secret(instructions: Instructions) -> list[str]:
    """A value of ENV or ARG under a name of secrets; it would stay in the image."""
    names = [
        name
        for kind in ("ENV", "ARG")
        for body in bodies(instructions, kind)
        for name in re.findall(r"([A-Za-z_]\w*)(?:=|$| )", body)
    ]
    return [name for name in names if re.search(r"(?i)(password|secret|_token|credential|api_?key|access_?key)", name)]


def code_comes_before_packages(instructions: Instructions) -> list[str]:
    """Code copied before the environment is built: each change of it would build the environment again."""
    found = []
    for name, stage in stages(instructions).items():
        setup = [i for i, (kind, text) in enumerate(stage) if kind == "RUN" and "setup_environment.py" in text]
        early = [text for kind, text in stage[: setup[0]] if kind == "COPY" and "gem_ray" in text] if setup else []
        found += [f"{name}: {text}" for text in early]
    return found


def copies_everything(instructions: Instructions) -> list[str]:
    """COPY of the whole context."""
    return [argument for argument in bodies(instructions, "COPY") if re.match(r"(--\S+ )*\.(/)? ", argument)]


RULES_AND_PLANTS: list[tuple[Callable[[Instructions], list[str]], str, str]] = [
    (base_floats, "python:3.11.14-slim", "python:3.11-slim"),
    (base_floats, "python:3.11.14-slim", "python:latest"),
    (packages_are_careless, " --no-install-recommends", ""),
    (packages_are_careless, "install -y", "install"),
    (packages_are_careless, " && rm -rf /var/lib/apt/lists/*", ""),
    (fetches_unchecked, "COPY requirements.txt ./", "ADD https://example.org/a.tar.gz /"),
    (fetches_unchecked, "COPY requirements.txt ./", "RUN curl -fsSL https://example.org/install | bash"),
    (ends_as_root, "USER 1000:1000", "USER root"),
    (ends_as_root, "USER 1000:1000", "USER 0"),
    (ends_as_root, "USER 1000:1000\n", ""),
    (keeps_a_secret, "COPY requirements.txt ./", "ARG HUB_TOKEN"),
    (keeps_a_secret, "COPY requirements.txt ./", "ENV AWS_SECRET_ACCESS_KEY=x"),
    (code_comes_before_packages, "COPY requirements.txt ./", "COPY gem_ray gem_ray"),
    (copies_everything, "COPY gem_ray gem_ray", "COPY . /app"),
]
RULES = list(dict.fromkeys(rule for rule, _, _ in RULES_AND_PLANTS))


@pytest.fixture(scope="module")
def dockerfile() -> Instructions:
    return parse(DOCKERFILE.read_text())


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_the_dockerfile_keeps_the_rule(rule: Callable[[Instructions], list[str]], dockerfile: Instructions) -> None:
    assert rule(dockerfile) == []


@pytest.mark.parametrize(
    ("rule", "good", "bad"), RULES_AND_PLANTS, ids=[f"{rule.__name__}: {bad!r}" for rule, _, bad in RULES_AND_PLANTS]
)
def test_the_rule_reports_a_planted_violation(rule: Callable[[Instructions], list[str]], good: str, bad: str) -> None:
    assert rule(parse(GOOD)) == []
    assert good in GOOD
    assert rule(parse(GOOD.replace(good, bad)))


def test_every_instruction_is_known(dockerfile: Instructions) -> None:
    assert {name for name, _ in dockerfile} <= KNOWN


def test_the_environment_is_built_by_the_makefiles_step(dockerfile: Instructions) -> None:
    (step,) = re.findall(r"\$\(PYTHON\) (scripts/\S+ --extra) \$\(EXTRA\)", (ROOT / "Makefile").read_text())
    for extra in ("cpu", "gpu"):
        (run,) = (text for text in bodies(stages(dockerfile)[extra], "RUN") if "setup_environment" in text)
        assert run.startswith(f"python {step} {extra}")
    installing = [text for text in bodies(dockerfile, "RUN") if "pip install" in text]
    assert [re.findall(r"-r (\S+) -c (\S+)", text) for text in installing] == [
        [("requirements/gcp.txt", "requirements/constraints.txt")]
    ]


def test_what_that_step_reads_is_there_before_it(dockerfile: Instructions) -> None:
    before = " ".join(bodies(stages(dockerfile)["base"], "COPY"))
    read = ["requirements/constraints.txt", "pyproject.toml", "README.md", "scripts/setup_environment.py"]
    assert [name for name in read if name not in before] == []


def test_the_context_holds_what_is_copied_and_no_more(dockerfile: Instructions) -> None:
    kept = [
        line[1:]
        for line in (DOCKERFILE.parent / "Dockerfile.dockerignore").read_text().splitlines()
        if line.startswith("!")
    ]
    sources = {source for copy in bodies(dockerfile, "COPY") for source in copy.split()[:-1]}
    assert [source for source in sources if not any(fnmatch.fnmatch(source, pattern) for pattern in kept)] == []
    assert [pattern for pattern in kept if not any(fnmatch.fnmatch(source, pattern) for source in sources)] == []
    assert [source for source in sources if not (ROOT / source).exists()] == []
    assert "*" in (DOCKERFILE.parent / "Dockerfile.dockerignore").read_text().splitlines()


def test_both_images_hold_the_same_code(dockerfile: Instructions) -> None:
    cpu, gpu = (bodies(stages(dockerfile)[name], "COPY") for name in ("cpu", "gpu"))
    assert cpu == gpu
    assert {text.split()[0] for text in cpu} == {"serve", "configs", "jobs", "gem_ray"}


def test_gcp_requirements_are_pinned() -> None:
    lines = [line for line in (ROOT / "requirements" / "gcp.txt").read_text().splitlines() if not line.startswith("#")]
    assert lines
    assert all(re.fullmatch(r"[a-z0-9-]+==[0-9.]+", line) for line in lines)


@pytest.mark.parametrize("broken", [False, True], ids=["as written", "with an unclosed quote"])
def test_shell_in_every_file_is_shell(
    broken: bool, dockerfile: Instructions, launchers: dict[str, dict[str, Any]], manifests: list[dict[str, Any]]
) -> None:
    scripts = bodies(dockerfile, "RUN")
    for launcher in launchers.values():
        scripts += [*launcher["head_start_ray_commands"], *launcher["worker_start_ray_commands"]]
    for document in manifests:
        if document["kind"] == "StatefulSet":
            scripts += document["spec"]["template"]["spec"]["containers"][0]["args"]
    assert len(scripts) >= 13
    text = "\n".join(scripts) + ("\necho 'open" if broken else "")
    result = subprocess.run(["bash", "-n"], input=text, text=True, capture_output=True, timeout=30)
    assert (result.returncode != 0) == broken, result.stderr


TEXT, TEXTS, ENVIRONMENT = {"type": "string"}, {"type": "array", "items": {"type": "string"}}, {"type": "object"}
COMPOSE_SCHEMA = {  # a strict subset of the compose specification: what cluster/compose.yaml uses
    "type": "object",
    "additionalProperties": False,
    "patternProperties": {"^x-": {}},
    "properties": {
        "name": TEXT,
        "services": {
            "type": "object",
            "additionalProperties": {
                "type": "object",
                "required": ["image"],
                "additionalProperties": False,
                "properties": {
                    "image": TEXT,
                    "user": TEXT,
                    "init": {"type": "boolean"},
                    "read_only": {"type": "boolean"},
                    "cap_drop": TEXTS,
                    "security_opt": TEXTS,
                    "restart": {"enum": ["no", "always", "on-failure", "unless-stopped"]},
                    "shm_size": TEXT,
                    "tmpfs": TEXTS,
                    "environment": {"type": "object", "additionalProperties": TEXT},
                    "secrets": TEXTS,
                    "command": {"anyOf": [TEXT, TEXTS]},
                    "networks": {"anyOf": [TEXTS, {"type": "object"}]},
                    "ports": TEXTS,
                    "volumes": TEXTS,
                    "depends_on": {"anyOf": [TEXTS, {"type": "object"}]},
                    "healthcheck": {
                        "type": "object",
                        "additionalProperties": False,
                        "properties": {"test": TEXTS, "interval": TEXT, "retries": {"type": "integer"}},
                    },
                },
            },
        },
        "networks": {"type": "object"},
        "volumes": {"type": "object"},
        "secrets": {
            "type": "object",
            "additionalProperties": {"type": "object", "additionalProperties": False, "properties": {"file": TEXT}},
        },
    },
}


def test_the_compose_file_fits_its_schema(compose: dict[str, Any]) -> None:
    validator = Draft7Validator(COMPOSE_SCHEMA)
    assert [f"{error.json_path}: {error.message}" for error in validator.iter_errors(compose)] == []
    broken = {**compose, "services": {**compose["services"], "head": {**compose["services"]["head"], "volume": []}}}
    assert not validator.is_valid(broken)


def test_what_compose_services_name_exists(compose: dict[str, Any]) -> None:
    for service in compose["services"].values():
        assert set(service.get("secrets", [])) <= compose["secrets"].keys()
        assert set(service["networks"]) <= compose["networks"].keys()
        assert set(service.get("depends_on", [])) <= compose["services"].keys()
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            assert source in compose["volumes"] or (ROOT / "cluster" / source).is_dir(), volume
    assert compose["services"].keys() == {"head", "worker", "s3", "bucket", "prometheus", "grafana"}


def test_prometheus_sees_the_file_that_ray_writes(compose: dict[str, Any]) -> None:
    import yaml

    scraping = yaml.safe_load((ROOT / "cluster" / "monitoring" / "prometheus.yml").read_text())
    (files,) = (
        entry["file_sd_configs"][0]["files"] for entry in scraping["scrape_configs"] if "file_sd_configs" in entry
    )
    head, prometheus = (compose["services"][name]["volumes"] for name in ("head", "prometheus"))
    (session,) = (volume for volume in head if volume.startswith("session:"))
    assert f"{session}:ro" in prometheus
    assert files == [f"{session.partition(':')[2]}/prom_metrics_service_discovery.json"]
