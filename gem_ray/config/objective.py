"""Weights and kinds of the loss terms."""

from __future__ import annotations

from dataclasses import dataclass

from gem_ray.config.checks import check, one_of


@dataclass(kw_only=True)
class ObjectiveConfig:
    """Weights of the loss terms (method.md section 2)."""

    reconstruction: str = "bernoulli"
    """Reconstruction term, summed over pixels: ``bernoulli``, ``gaussian`` or ``l1``."""
    reconstruction_weight: float = 1.0
    """l_rec."""
    kl: str = "beta"
    """``beta``: the KL term times beta; ``capacity``: gamma |KL - C(t)| (AnnealedVAE, Burgess et al. 2018)."""
    beta: float = 1.0
    """Weight of KL(q(z|x) || N(0, I))."""
    kl_warmup_steps: int = 500
    """Steps over which beta rises linearly from 0."""
    capacity_nats: float = 25.0
    """With ``kl=capacity``: C at the end of its rise."""
    capacity_steps: int = 3_000
    """With ``kl=capacity``: steps over which C rises linearly from 0."""
    capacity_weight: float = 1_000.0
    """With ``kl=capacity``: gamma."""
    total_correlation: str = "none"
    """How TC(z) is had: ``none``, from the minibatch ``weighted`` or ``stratified`` (beta-TCVAE), or from a ``critic``
    (FactorVAE)."""
    total_correlation_weight: float = 5.0
    """Weight of TC(z): beta - 1 of beta-TCVAE, gamma of FactorVAE."""
    latent_critic_width: int = 1_000
    """With ``total_correlation=critic``: width of its six layers."""
    covariance: str = "none"
    """Covariance pulled to the identity: ``none``, of ``mu`` (DIP-VAE-I) or of ``z`` (DIP-VAE-II)."""
    covariance_off_diagonal: float = 10.0
    """lambda_od of DIP-VAE."""
    covariance_diagonal: float = 10.0
    """lambda_d of DIP-VAE: 10 lambda_od is usual for the first kind, lambda_od for the second."""
    graph_weight: float = 50.0
    """l_graph: pull of the refined adjacency to the anchor, by confidence."""
    anchor: str = "prior"
    """What the refined adjacency is pulled to: ``prior`` (the DisGraph), or ``ema``, an average of its own past that
    starts there (SUBLIME's structure bootstrapping)."""
    anchor_decay: float = 0.999
    """With ``anchor=ema``: how much of the average stays after one step."""
    contrastive_weight: float = 0.0
    """Nodes told apart by their codes through the prior and through the refined graph (SUBLIME); keep it small: with
    few nodes it pushes related attributes apart. 0 turns it off."""
    align_weight: float = 200.0
    """l_align: pull of each node to the MLLM's score on the scored images; 0 turns it off."""
    align_on: str = "z_rel"
    """Which code is aligned: ``z_rel``, so that the relations explain what goes together and z need not, or ``z``."""
    cross_covariance_weight: float = 100.0
    """Pull of the covariance between nodes and residual latents to 0, so that what a node stands for is told by no
    other latent and the decoder must heed the node; 0 turns it off."""
    align_batch: int = 64
    """Scored images of one step over all workers."""
    perceptual_weight: float = 0.0
    """Weight of the distance of VGG-16 features between images and reconstructions; 0 turns it off."""
    perceptual_weights: str = ""
    """With ``perceptual_weight``: the safetensors file of torchvision's vgg16, a path or a storage address."""
    adversarial_weight: float = 0.0
    """l_gem: joint-KL term from the discriminator on (x, z_rel); 0 turns it off."""
    discriminator_weight: float = 1.0
    """l_adv: weight of the discriminator's own loss. Adam takes steps of the same size whatever it is."""
    importance_clamp: bool = False
    """Weight the decoder's samples by clamp(exp(D), 0.5, 2), as DEAR does."""

    def __post_init__(self) -> None:
        one_of("objective.reconstruction", self.reconstruction, ("bernoulli", "gaussian", "l1"))
        one_of("objective.align_on", self.align_on, ("z", "z_rel"))
        one_of("objective.anchor", self.anchor, ("prior", "ema"))
        one_of("objective.kl", self.kl, ("beta", "capacity"))
        one_of("objective.total_correlation", self.total_correlation, ("none", "weighted", "stratified", "critic"))
        one_of("objective.covariance", self.covariance, ("none", "mu", "z"))
        weights = ("reconstruction_weight", "beta", "graph_weight", "align_weight", "adversarial_weight")
        further = ("total_correlation_weight", "covariance_off_diagonal", "covariance_diagonal", "capacity_weight")
        learned = ("contrastive_weight", "perceptual_weight", "cross_covariance_weight")
        for name in (*weights, *further, *learned, "capacity_nats"):
            check(getattr(self, name) >= 0, f"objective.{name}={getattr(self, name)} must not be negative")
        check(
            self.discriminator_weight > 0,
            f"objective.discriminator_weight={self.discriminator_weight} must be positive",
        )
        check(0 <= self.anchor_decay < 1, f"objective.anchor_decay={self.anchor_decay} must lie in [0, 1)")
        check(
            self.perceptual_weight == 0 or self.perceptual_weights != "",
            f"objective.perceptual_weight={self.perceptual_weight} needs the weights of a network: set "
            "objective.perceptual_weights to the safetensors file of torchvision's vgg16",
        )
        check(self.kl_warmup_steps >= 0, f"objective.kl_warmup_steps={self.kl_warmup_steps} must not be negative")
        for name in ("align_batch", "capacity_steps", "latent_critic_width"):
            check(getattr(self, name) >= 1, f"objective.{name}={getattr(self, name)} must be at least 1")
