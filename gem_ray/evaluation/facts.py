"""What a run amounts to, in numbers: the content of ``summary.json``. None wherever nothing is known."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from gem_ray.evaluation.relations import RelationAgreement
from gem_ray.strict_json import strict_json


@dataclass(frozen=True, kw_only=True)
class RunFacts:
    """What was trained on what, how far and how fast."""

    name: str
    uri: str
    step: int
    steps: int
    epochs: float
    training_s: float
    images_per_s: float
    num_workers: int
    parameters: int
    data_uri: str
    data_source: str
    num_images: int
    num_held_out: int
    image_size: int
    device: str
    versions: dict[str, str]


@dataclass(frozen=True, kw_only=True)
class QualityFacts:
    """Reconstructions of the held-out images, pixels in [0, 1]; and how much of the code is in use.

    Args:
        explained: 1 - mse / mse of answering with the mean image
        active_units: latents whose mean varies over images (Burda et al. 2015)
        kl_nats: of all latents together, mean over the held-out images
        kl_per_latent: nats, named nodes first
        change_per_latent: mean absolute change of a pixel over the span of one entry of z_rel; 0 where the decoder
            ignores it
    """

    mse: float
    psnr_db: float
    ssim: float
    explained: float
    latent_dim: int
    active_units: int
    kl_nats: float
    kl_per_latent: tuple[float, ...]
    change_per_latent: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class NodeFacts:
    """One named node.

    Args:
        kl_nats: over all its dimensions
        active: whether the mean of any of its dimensions varies over images
        change_alone: mean absolute change of a pixel over its span, in [0, 1], moving z_rel of this node alone
        change_through_graph: the same moving z and letting related attributes follow
        match_strength, order_of_scores: |Spearman| with the MLLM's digits of its attribute, and Somers' D of the node
            given them; None where there are no scores
        true_correlation, order_of_truth: the same with the true attribute on the held-out images; None where it is not
            known
        best_match: the attribute it would be named after by the Hungarian match, None without scores and truth
    """

    name: str
    kl_nats: float
    active: bool
    change_alone: float
    change_through_graph: float
    match_strength: float | None
    order_of_scores: float | None
    true_correlation: float | None
    order_of_truth: float | None
    best_match: str | None


@dataclass(frozen=True, kw_only=True)
class RelationFacts:
    """One directed edge; None where nothing is known. In the order of ``ranking.ranked_pairs``.

    Args:
        low, high, may_be_noise, observations: see ``ranking.RankedEdge``
        refined: in the adjacency that the model refined
        sampled, fidelity: the same relation among the model's own images, and how far it is off
        shown: the effect of the source alone, on the model's traversals
        questions: asked of the MLLM for this edge, its share of every push
    """

    source: str
    target: str
    strength: float
    standard_error: float | None
    low: float | None
    high: float | None
    may_be_noise: bool
    confidence: float
    observations: str
    refined: float
    sampled: float | None
    sampled_standard_error: float | None
    fidelity: float | None
    shown: float | None
    truth: float | None
    questions: float | None
    evidence: str
    changed_version: int
    changed_step: int


@dataclass(frozen=True, kw_only=True)
class GraphFacts:
    """The DisGraph that training used at the end.

    Args:
        known: share of directed edges with evidence
        num_found: directed edges that are more than noise
        agreement: with the true relations; None where they are not known
        refined_agreement: the same for the adjacency that the model refined
        fidelity_gap: mean |sampled - strength|; None where none of the model's own images were scored
        fidelity_noise: what that would be for a model that is exactly right, by the standard errors alone
        traversal_gap: mean |shown - strength|; None where the model's traversals were not scored
    """

    version: int
    digest: str
    known: float
    num_found: int
    agreement: RelationAgreement | None
    refined_agreement: RelationAgreement | None
    fidelity_gap: float | None
    fidelity_noise: float | None
    traversal_gap: float | None
    relations: tuple[RelationFacts, ...]


@dataclass(frozen=True, kw_only=True)
class CostFacts:
    """What one kind of evidence has cost.

    Args:
        kind: of ``EvidenceKind``
        pushes, edges: accepted pushes, and edges in them, each as often as it was pushed
        asked, stored: questions to the MLLM, and those that the run's store of answers answered instead
        failed: questions without a usable answer
        cached_tokens: those of the prompt tokens that the engine's prefix cache held
        money: by the configured prices
    """

    kind: str
    pushes: int
    edges: int
    asked: int
    stored: int
    failed: int
    prompt_tokens: int
    cached_tokens: int
    seconds: float
    money: float


@dataclass(frozen=True, kw_only=True)
class AttributeFacts:
    """What the MLLM said of one attribute of the data's images: shares in [0, 1], None where nothing was asked.

    Args:
        zero_rate, failure_rate: see ``scoring.checking.rates``
    """

    name: str
    zero_rate: float | None
    failure_rate: float | None


@dataclass(frozen=True, kw_only=True)
class ScoringFacts:
    """What the MLLM was asked, and what it cost; None where it is not known.

    Args:
        asked, missing: over the whole run, also where its rescorer was restarted
        zero_rate, failure_rate: of the data's images, all attributes together
        useful_changes: edges that a push moved by more than their standard error
        total: cost of the whole run; ``costs`` are those of accepted pushes, by kind
    """

    model: str
    asked: int
    missing: int
    images_scored: int
    digit_mass: float | None
    zero_rate: float | None
    failure_rate: float | None
    attributes: tuple[AttributeFacts, ...]
    useful_changes: int | None
    questions_per_useful_change: float | None
    total: CostFacts | None
    costs: tuple[CostFacts, ...]


@dataclass(frozen=True, kw_only=True)
class Summary:
    """All numbers of a report. ``scoring`` is None for a run without an MLLM."""

    run: RunFacts
    quality: QualityFacts
    nodes: tuple[NodeFacts, ...]
    graph: GraphFacts
    scoring: ScoringFacts | None
    mechanisms: dict[str, str]

    def to_json(self) -> str:
        """Strict JSON; what is not a number is null."""
        return strict_json(asdict(self), indent=2)
