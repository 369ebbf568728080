"""The networks and the nodes of the graph."""

from __future__ import annotations

from dataclasses import dataclass, field

from gem_ray.config.checks import check, one_of

PAPER_ATTRIBUTES = ("bangs", "bald", "male", "beard", "blond", "makeup")


@dataclass(kw_only=True)
class ModelConfig:
    """The beta-VAE and the graph network between encoder and decoder."""

    attributes: list[str] = field(default_factory=lambda: list(PAPER_ATTRIBUTES))
    """Names of the nodes of the DisGraph, as the MLLM is asked about them."""
    node_dim: int = 1
    """Latent dimensions of one node."""
    residual_dim: int = 26
    """Unnamed latents outside the graph; 0 is the paper's setting."""
    network: str = "locatello"
    """Convolutional network: ``locatello`` or ``burgess`` (evaluation.md)."""
    width: int = 1
    """Multiplies the channels of the convolutions."""
    gnn_layers: int = 1
    """Rounds of message passing; 1 keeps z_rel linear in z."""
    gnn_hidden: int = 16
    """Width of the node features between rounds (unused with one round)."""
    graph: str = "refined"
    """Relations between nodes: ``refined`` (the DisGraph plus a learned offset), ``prior`` (the DisGraph as it is, and
    with one round nothing learned), or ``none``: no graph network, the decoder sees z (the baselines)."""
    learner: str = "free"
    """With ``graph=refined``, the learned offset: a ``free`` directed matrix, or products of two ``projections``."""
    learner_rank: int = 4
    """With ``learner=projections``: dimensions of the two projections of a node."""

    def __post_init__(self) -> None:
        one_of("model.network", self.network, ("locatello", "burgess"))
        check(len(self.attributes) >= 2, f"model.attributes={self.attributes}: a relation needs at least two")
        one_of("model.graph", self.graph, ("refined", "prior", "none"))
        one_of("model.learner", self.learner, ("free", "projections"))
        for name in ("node_dim", "width", "gnn_layers", "gnn_hidden", "learner_rank"):
            check(getattr(self, name) >= 1, f"model.{name}={getattr(self, name)} must be at least 1")
        check(self.residual_dim >= 0, f"model.residual_dim={self.residual_dim} must not be negative")

    @property
    def num_nodes(self) -> int:
        """Attributes in the graph."""
        return len(self.attributes)
