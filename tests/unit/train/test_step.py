"""The training step: deterministic, resumable, and sensitive to the graph."""

import math

import pytest
import torch
from safetensors.torch import load, save

from gem_ray.config import GemConfig, ModelConfig, ObjectiveConfig, TrainConfig
from gem_ray.errors import ConfigError
from gem_ray.train.step import (
    Inputs,
    build_parts,
    load_state_tensors,
    state_tensors,
    step_noise,
    step_on_lanes,
    train_step,
)

CPU = torch.device("cpu")
SIZE, BATCH, NODES = 32, 8, 3


def make_config(**objective):
    return GemConfig(
        model=ModelConfig(attributes=["a", "b", "c"], residual_dim=2),
        objective=ObjectiveConfig(**{"kl_warmup_steps": 1, "align_batch": 4, **objective}),
        train=TrainConfig(precision="fp32"),
    )


def make_inputs(step=0, strength=None, with_prior=False, with_scores=True):
    generator = torch.Generator().manual_seed(7)
    if strength is None:
        strength = torch.tensor([[0.0, 0.8, -0.3], [0.1, 0.0, 0.0], [0.0, 0.5, 0.0]])
    return Inputs(
        images=torch.rand(BATCH, 3, SIZE, SIZE, generator=generator),
        noise=step_noise(0, step, 1, BATCH, NODES + 2),
        prior_noise=step_noise(0, step, 2, BATCH, NODES + 2) if with_prior else None,
        strength=strength,
        confidence=torch.ones(NODES, NODES),
        scored_images=torch.rand(4, 3, SIZE, SIZE, generator=generator) if with_scores else None,
        targets=torch.randn(4, NODES, generator=generator) if with_scores else None,
        step=step,
    )


def run_steps(config, parts, steps, **inputs):
    return [train_step(parts, make_inputs(step, **inputs), config.objective)[0] for step in steps]


def stored(parts):
    """Model and optimizer state as a checkpoint gives them back: contiguous, whatever the layout in memory."""
    return [load(save({k: v.contiguous() for k, v in tensors.items()})) for tensors in state_tensors(parts)]


def test_steps_on_one_batch_lower_the_loss():
    config = make_config()
    parts = build_parts(config, SIZE, CPU)
    terms = run_steps(config, parts, range(60))
    assert terms[-1].total < 0.95 * terms[0].total
    assert terms[-1].align < 0.5 * terms[0].align


def test_the_same_seed_gives_the_same_parameters_bit_for_bit():
    config = make_config()
    states = []
    for _ in range(2):
        parts = build_parts(config, SIZE, CPU)
        run_steps(config, parts, range(3))
        states.append(state_tensors(parts)[0])
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


@pytest.mark.parametrize("adversarial_weight", [0.0, 0.5])
def test_a_restored_state_goes_on_exactly_as_if_never_interrupted(adversarial_weight):
    config = make_config(adversarial_weight=adversarial_weight)
    with_prior = adversarial_weight > 0
    undisturbed = build_parts(config, SIZE, CPU)
    run_steps(config, undisturbed, range(6), with_prior=with_prior)

    first = build_parts(config, SIZE, CPU)
    run_steps(config, first, range(3), with_prior=with_prior)
    model, optimizer = stored(first)
    second = build_parts(config, SIZE, CPU)
    load_state_tensors(second, model, optimizer)
    run_steps(config, second, range(3, 6), with_prior=with_prior)

    expected, found = state_tensors(undisturbed), state_tensors(second)
    for tensors, others in zip(expected, found, strict=True):
        assert tensors.keys() == others.keys()
        assert all(torch.equal(tensors[name], others[name]) for name in tensors)


@pytest.mark.parametrize(
    ("now", "told"),
    [
        ({"adversarial_weight": 0.5}, r"objective.adversarial_weight: .*tensors, discriminator\."),
        ({"total_correlation": "critic"}, r"objective.total_correlation or .*latent_critic\."),
        ({"anchor": "ema"}, r"objective.anchor: .*2 tensors, anchor.average the first"),
    ],
    ids=["adversarial", "critic", "anchor"],
)
def test_a_state_of_another_objective_names_the_option(now, told):
    state = stored(build_parts(make_config(), SIZE, CPU))
    with pytest.raises(ConfigError, match=told):
        load_state_tensors(build_parts(make_config(**now), SIZE, CPU), *state)


def test_a_state_of_another_image_size_is_told_of_as_such():
    state = stored(build_parts(make_config(), SIZE, CPU))
    with pytest.raises(ConfigError, match=r"another model, or other images at data\.uri: "):
        load_state_tensors(build_parts(make_config(), 2 * SIZE, CPU), *state)


def test_forgetting_the_optimizer_state_changes_the_result():
    config = make_config()
    first = build_parts(config, SIZE, CPU)
    run_steps(config, first, range(3))
    model, optimizer = stored(first)
    ends = []
    for state in (optimizer, {}):
        parts = build_parts(config, SIZE, CPU)
        load_state_tensors(parts, model, state)
        run_steps(config, parts, range(3, 5))
        ends.append(state_tensors(parts)[0])
    assert any(not torch.equal(ends[0][name], ends[1][name]) for name in ends[0])


def test_permuted_edge_weights_change_the_loss():
    config = make_config()
    strength = make_inputs().strength
    order = torch.tensor([1, 2, 0])
    losses = []
    for graph in (strength, strength[order][:, order]):
        parts = build_parts(config, SIZE, CPU)
        losses.append(run_steps(config, parts, range(2), strength=graph)[-1].total)
    assert losses[0] != losses[1]


def test_the_adversarial_term_trains_a_critic_beside_the_model():
    config = make_config(adversarial_weight=1.0)
    parts = build_parts(config, SIZE, CPU)
    before = {name: tensor.clone() for name, tensor in state_tensors(parts)[0].items()}
    terms, critic_losses, _ = train_step(parts, make_inputs(with_prior=True), config.objective)
    after = state_tensors(parts)[0]
    assert torch.isfinite(critic_losses["discriminator"])
    assert terms.adversarial != 0
    assert any(not torch.equal(before[k], after[k]) for k in before if k.startswith("discriminator."))
    assert all(parameter.requires_grad for parameter in parts.critics["discriminator"].module.parameters())


def test_a_latent_critic_trains_beside_the_model_and_its_total_correlation_reaches_the_encoder():
    config = make_config(total_correlation="critic", total_correlation_weight=5.0, latent_critic_width=16)
    parts = build_parts(config, SIZE, CPU)
    before = {name: tensor.clone() for name, tensor in state_tensors(parts)[0].items()}
    terms, critic_losses, outputs = train_step(parts, make_inputs(with_prior=True), config.objective)
    after = state_tensors(parts)[0]
    assert outputs.generated_logits is None  # the prior's noise is for the shuffle alone
    assert float(critic_losses["latent_critic"]) == pytest.approx(math.log(2.0), rel=0.1)  # it knows nothing yet
    assert terms.total_correlation != 0
    assert any(not torch.equal(before[k], after[k]) for k in before if k.startswith("latent_critic."))
    assert all(parameter.requires_grad for parameter in parts.critics["latent_critic"].module.parameters())


@pytest.mark.parametrize("kind", ["weighted", "stratified"])
def test_minibatch_total_correlation_needs_the_size_of_the_data(kind):
    config = make_config(total_correlation=kind, total_correlation_weight=5.0)
    parts = build_parts(config, SIZE, CPU)
    with pytest.raises(ValueError, match="size of the data set"):
        train_step(parts, make_inputs(), config.objective)
    terms, _, _ = train_step(parts, make_inputs()._replace(num_images=1_000), config.objective)
    assert terms.total_correlation != 0


@pytest.mark.parametrize("kind", ["mu", "z"])
def test_the_covariance_term_lowers_what_latents_share(kind):
    sizes = []
    for weight in (0.0, 2_000.0):
        config = make_config(covariance=kind, covariance_off_diagonal=weight, covariance_diagonal=0.0)
        parts = build_parts(config, SIZE, CPU)
        run_steps(config, parts, range(30))
        outputs = train_step(parts, make_inputs(30), config.objective)[2]
        covariance = torch.cov(outputs.mu.detach().T)
        sizes.append(float((covariance - torch.diag(covariance.diagonal())).abs().sum()))
    assert sizes[1] < 0.7 * sizes[0]


def test_the_capacity_form_holds_the_kl_at_its_target():
    config = make_config(kl="capacity", capacity_nats=4.0, capacity_steps=1, capacity_weight=1_000.0)
    config.train.learning_rate = 3e-3
    parts = build_parts(config, SIZE, CPU)
    terms = run_steps(config, parts, range(150), with_scores=False)
    assert float(terms[-1].kl) / 1_000.0 < 1.0  # |KL - 4| in nats
    assert float(terms[0].kl) / 1_000.0 > 2.0


def test_bf16_autocast_stays_close_to_fp32():
    totals = []
    for precision in ("fp32", "bf16"):
        config = make_config()
        config.train.precision = precision
        parts = build_parts(config, SIZE, CPU)
        assert parts.autocast == (precision == "bf16")
        totals.append(float(run_steps(config, parts, range(3))[-1].total))
    assert totals[1] == pytest.approx(totals[0], rel=5e-3)


def two_lanes():
    whole = make_inputs(with_prior=True)
    half = BATCH // 2
    first, second = (
        whole._replace(
            images=whole.images[rows],
            noise=whole.noise[rows],
            prior_noise=whole.prior_noise[rows],
            scored_images=whole.scored_images[rows.start // 2 : rows.stop // 2],
            targets=whole.targets[rows.start // 2 : rows.stop // 2],
        )
        for rows in (slice(0, half), slice(half, BATCH))
    )
    return whole, first, second


def gradients(lanes, share, **objective):
    config = make_config(**objective)
    parts = build_parts(config, SIZE, CPU)
    terms, critic_losses, _ = step_on_lanes(parts, lanes, share, config.objective)
    modules = {"gem": parts.gem, **{name: critic.module for name, critic in parts.critics.items()}}
    found = {
        f"{name}.{path}": parameter.grad.clone()
        for name, module in modules.items()
        for path, parameter in module.named_parameters()
        if parameter.grad is not None
    }
    return terms, critic_losses, found


def test_a_rank_with_two_lanes_has_the_mean_gradient_of_two_ranks_with_one():
    objective = {"adversarial_weight": 0.5, "cross_covariance_weight": 3.0}
    _, first, second = two_lanes()
    both = gradients([first, second], 0.5, **objective)
    apart = [gradients([lane], 1.0, **objective) for lane in (first, second)]
    assert float(both[0].total) == pytest.approx(sum(float(terms.total) for terms, _, _ in apart) / 2, rel=1e-6)
    critic = "discriminator"
    assert any(name.startswith(critic) for name in both[2])
    for name, gradient in both[2].items():
        if not name.startswith(critic):  # a critic learns on the model's outputs, which the first step has changed
            mean = (apart[0][2][name] + apart[1][2][name]) / 2
            torch.testing.assert_close(gradient, mean, rtol=1e-5, atol=1e-6)


def test_a_lane_is_not_half_a_batch_for_terms_that_couple_images():
    whole, first, second = two_lanes()
    terms = [gradients(lanes, share)[0] for lanes, share in (([whole], 1.0), ([first, second], 0.5))]
    assert float(terms[0].reconstruction) == pytest.approx(float(terms[1].reconstruction), rel=1e-5)
    assert float(terms[0].cross_covariance) != pytest.approx(float(terms[1].cross_covariance), rel=1e-3)


def test_noise_is_a_function_of_seed_step_and_purpose():
    assert torch.equal(step_noise(1, 2, 3, 4, 5), step_noise(1, 2, 3, 4, 5))
    for other in ((0, 2, 3), (1, 0, 3), (1, 2, 0)):
        assert not torch.equal(step_noise(1, 2, 3, 4, 5), step_noise(*other, 4, 5))
