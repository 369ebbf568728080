"""The critic reads both the image and the code, and answers in fp32."""

from __future__ import annotations

import torch

from gem_ray.config import ModelConfig
from gem_ray.models.discriminator import Discriminator


def make_critic(network: str = "locatello") -> Discriminator:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Discriminator(ModelConfig(attributes=["a", "b"], residual_dim=3, network=network), 32)


def test_it_gives_one_logit_a_pair_in_fp32_under_autocast():
    for network in ("locatello", "burgess"):
        with torch.autocast("cpu", torch.bfloat16):
            logits = make_critic(network)(torch.rand(4, 3, 32, 32), torch.randn(4, 5))
        assert logits.shape == (4,)
        assert logits.dtype == torch.float32


def test_every_entry_of_image_and_code_reaches_the_logit():
    x, z = torch.rand(2, 3, 32, 32, requires_grad=True), torch.randn(2, 5, requires_grad=True)
    make_critic()(x, z).sum().backward()
    assert x.grad is not None
    assert z.grad is not None
    assert bool((z.grad != 0).all())
    assert float((x.grad != 0).float().mean()) > 0.95


def test_pairs_are_judged_one_by_one():
    critic, x, z = make_critic(), torch.rand(3, 3, 32, 32), torch.randn(3, 5)
    one_by_one = torch.cat([critic(x[i : i + 1], z[i : i + 1]) for i in range(3)])
    torch.testing.assert_close(critic(x, z), one_by_one, rtol=1e-4, atol=1e-5)


def test_negative_slopes_are_a_fifth():
    slopes = {m.negative_slope for m in make_critic().modules() if isinstance(m, torch.nn.LeakyReLU)}
    assert slopes == {0.2}
