"""Every method of the comparison takes real steps: its loss falls, all of it learns, a checkpoint goes on exactly."""

from __future__ import annotations

import functools
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import pytest
import torch
from safetensors.torch import load, save

from gem_ray.config import GemConfig
from gem_ray.train.step import Inputs, Parts, build_parts, load_state_tensors, state_tensors, step_noise, train_step
from jobs.compose import choices, load_config

CPU, SIDE, BATCH, NODES = torch.device("cpu"), 32, 8, 3
SMALL = ["model.attributes=[a,b,c]", "model.residual_dim=3", "train.precision=fp32", "objective.latent_critic_width=16"]
SMALL += ["train.learning_rate=3e-3", "objective.capacity_nats=1"]
LATE = 100_000  # after every warm-up
METHODS = sorted(choices("method"))
BASELINES = [name for name in METHODS if not name.startswith("gem")]


@functools.cache
def small(method: str) -> GemConfig:
    """A method's configuration for tiny models."""
    return load_config([f"method={method}", *SMALL])


def make_inputs(config: GemConfig, step: int) -> Inputs:
    """The same images every time, and the noise of the step."""
    generator = torch.Generator().manual_seed(7)
    scored = config.objective.align_weight > 0
    return Inputs(
        images=torch.rand(BATCH, 3, 4, 4, generator=generator).round().repeat_interleave(8, 2).repeat_interleave(8, 3),
        noise=step_noise(0, step, 1, BATCH, 6),
        prior_noise=step_noise(0, step, 2, BATCH, 6),
        strength=torch.tensor([[0.0, 0.8, -0.3], [0.1, 0.0, 0.0], [0.0, 0.5, 0.0]]),
        confidence=torch.ones(NODES, NODES),
        scored_images=torch.rand(4, 3, SIDE, SIDE, generator=generator) if scored else None,
        targets=torch.randn(4, NODES, generator=generator) if scored else None,
        step=LATE,
        num_images=1_000,
    )


def descend(config: GemConfig, parts: Parts, steps: range) -> list[float]:
    return [float(train_step(parts, make_inputs(config, step), config.objective)[0].total) for step in steps]


def stored(parts: Parts) -> list[dict[str, torch.Tensor]]:
    return [load(save({k: v.contiguous() for k, v in tensors.items()})) for tensors in state_tensors(parts)]


@pytest.mark.parametrize("method", METHODS)
def test_a_method_lowers_its_loss_and_goes_on_exactly_from_a_checkpoint(method: str):
    config = small(method)
    parts = build_parts(config, SIDE, CPU)
    start = {name: tensor.clone() for name, tensor in parts.gem.named_parameters()}
    totals = descend(config, parts, range(20))
    assert sum(totals[-3:]) < 0.96 * sum(totals[:3])
    # DDP waits for a gradient of every parameter.
    assert [n for n, p in parts.gem.named_parameters() if p.requires_grad and p.grad is None] == []
    trained = {id(parameter) for parameter in parts.gem.trained_parameters()}
    still = [n for n, p in parts.gem.named_parameters() if id(p) in trained and torch.equal(p, start[n])]
    assert still == []

    model, optimizer = stored(parts)
    other = build_parts(config, SIDE, CPU)
    load_state_tensors(other, model, optimizer)
    assert descend(config, parts, range(20, 22)) == descend(config, other, range(20, 22))
    for tensors, others in zip(state_tensors(parts), state_tensors(other), strict=True):
        assert tensors.keys() == others.keys()
        assert all(torch.equal(tensors[name], others[name]) for name in tensors)


def test_methods_differ_in_what_they_are_called_after_and_in_nothing_of_the_budget():
    default = load_config(SMALL)
    for method in METHODS:
        config = small(method)
        assert (config == default) == (method == "gem"), method
        for group in ("data", "prepare", "train", "storage", "run"):
            assert getattr(config, group) == getattr(default, group), (method, group)
        latents = [{**asdict(one.model), "graph": "", "learner": ""} for one in (config, default)]
        assert latents[0] == latents[1], method


@pytest.mark.parametrize("method", BASELINES)
def test_a_baseline_has_no_graph_no_alignment_and_no_mllm(method: str):
    config = small(method)
    assert (config.model.graph, config.objective.align_weight, config.scoring.scorer) == ("none", 0.0, "none")
    assert config.objective.adversarial_weight == config.objective.graph_weight == 0.0


def test_a_method_has_the_last_word_over_a_data_set():
    config = load_config(["experiment=paper_celeba", "method=vae"])
    assert (config.model.graph, config.scoring.scorer, config.objective.beta) == ("none", "none", 1.0)
    assert (config.model.residual_dim, config.objective.reconstruction_weight) == (0, 1.0)


def test_the_baselines_of_the_paper_and_its_field_are_there():
    assert set(BASELINES) == {
        "vae", "beta_vae", "annealed_vae", "factor_vae", "beta_tcvae", "beta_tcvae_weighted", "dip_vae_i", "dip_vae_ii"
    }  # fmt: skip


@pytest.mark.parametrize("graph", ["prior", "none"])
@pytest.mark.parametrize("wanted", ["objective.anchor=ema", "objective.contrastive_weight=0.1"])
def test_terms_about_a_learned_graph_are_refused_where_none_is_learned(graph: str, wanted: str):
    from gem_ray.errors import ConfigError

    with pytest.raises(ConfigError, match=f"model.graph={graph}: set model.graph=refined"):
        load_config([f"model.graph={graph}", wanted])


def test_the_anchor_of_a_run_is_in_its_checkpoint_and_moves_the_pull():
    config = load_config(["method=gem_bootstrapped", "objective.anchor_decay=0.5", *SMALL])
    parts = build_parts(config, SIDE, CPU)
    strength = make_inputs(config, 0).strength
    descend(config, parts, range(5))
    average = state_tensors(parts)[0]["anchor.average"]
    assert not torch.allclose(average, strength, atol=1e-4)
    learned = parts.gem.refined_adjacency(strength).detach()
    assert (average - learned).abs().sum() < (strength - learned).abs().sum()


def test_the_perceptual_term_reads_its_file_and_says_what_is_missing(tmp_path: Path):
    from gem_ray.errors import ConfigError
    from gem_ray.models.perceptual import PerceptualNetwork

    with pytest.raises(ConfigError, match="objective.perceptual_weights to the safetensors file"):
        load_config(["objective.perceptual_weight=2"])
    file = tmp_path / "vgg16.safetensors"
    config = load_config(["objective.perceptual_weight=2", f"objective.perceptual_weights={file}", *SMALL])
    with pytest.raises(ConfigError, match="is no file; it must hold the weights of torchvision's vgg16"):
        build_parts(config, SIDE, CPU)
    torch.manual_seed(0)
    file.write_bytes(save({f"{name}": tensor for name, tensor in PerceptualNetwork().state_dict().items()}))
    parts = build_parts(config, SIDE, CPU)
    terms, _, outputs = train_step(parts, make_inputs(config, 0), config.objective)
    assert parts.perceptual is not None
    distance = parts.perceptual.distance(torch.sigmoid(outputs.logits.detach()), make_inputs(config, 0).images)
    assert float(terms.perceptual) == pytest.approx(2 * float(distance), rel=1e-4)
    assert not any("perceptual" in name for tensors in state_tensors(parts) for name in tensors)


RANK = """
import sys
import torch
import torch.distributed as dist
sys.path.insert(0, sys.argv[3])
from test_methods import CPU, SIDE, SMALL, build_parts, load_config, make_inputs, state_tensors, train_step
rank = int(sys.argv[1])
dist.init_process_group("gloo", init_method=f"file://{sys.argv[2]}", rank=rank, world_size=2)
for method in ("vae", "gem", "gem_prior", "gem_projections", "gem_bootstrapped", "factor_vae"):
    config = load_config([f"method={method}", *SMALL])
    parts = build_parts(config, SIDE, CPU)
    parts.model = torch.nn.parallel.DistributedDataParallel(parts.gem)
    for critic in parts.critics.values():
        critic.called = torch.nn.parallel.DistributedDataParallel(critic.module)
    for step in range(3):
        inputs = make_inputs(config, step)
        train_step(parts, inputs._replace(images=(inputs.images + 0.1 * rank).clamp(0, 1)), config.objective)
    numbers = torch.cat([t.flatten().double() for tensors in state_tensors(parts) for t in tensors.values()])
    both = [torch.empty_like(numbers) for _ in range(2)]
    dist.all_gather(both, numbers)
    assert torch.equal(*both), method
    print(method, float(numbers.norm()))
dist.destroy_process_group()
"""


@pytest.mark.slow
def test_two_ranks_on_different_images_stay_alike_with_every_kind_of_graph(tmp_path: Path):
    arguments = [str(tmp_path / "rendezvous"), str(Path(__file__).parent)]
    root = Path(__file__).parents[3]
    ranks = [
        subprocess.Popen([sys.executable, "-c", RANK, str(rank), *arguments], cwd=root, stdout=subprocess.PIPE)
        for rank in range(2)
    ]
    said = [process.communicate(timeout=240)[0].decode() for process in ranks]
    assert [process.returncode for process in ranks] == [0, 0]
    assert said[0] == said[1]
    assert said[0].count("\n") == 6
