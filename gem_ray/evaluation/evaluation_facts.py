"""What ``jobs.evaluate`` measured, as it stands in a run's ``evaluation.json``. None wherever nothing is known.

Numbers that are not finite (the total correlation of two equal codes) are None too: strict JSON knows no infinity.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TypeVar

from gem_ray.errors import DataError
from gem_ray.evaluation.relations import RelationAgreement
from gem_ray.storage import Storage
from gem_ray.strict_json import strict_json
from gem_ray.typed_json import parse_json, typed

T = TypeVar("T")
FILE = "evaluation.json"
SCHEMA_VERSION = 1


@dataclass(frozen=True, kw_only=True)
class FactorFacts:
    """One true factor of the data.

    Args:
        num_values: distinct values among the points
        num_classes: classes it was scored as; fewer than values where it was binned
        presence: its share of present points, where it is a graded attribute (0, or a strength) that TAD can ask for
        scored: False for a factor that never varies
    """

    name: str
    num_values: int
    num_classes: int
    presence: float | None
    scored: bool


@dataclass(frozen=True, kw_only=True)
class NodeScores:
    """How well the first dimension of a named node tells its own attribute, before and after the graph; on test points.

    Args:
        auroc, auroc_rel: of the attribute's presence, 0.5 for a guess; below it the node points the other way
        spearman, spearman_rel: |rank correlation| with its values
        order, order_rel: Somers' D of the node given the attribute, 1 where every pair is in the right order
        runner_up: greatest |rank correlation| of any other latent (before the graph) with this attribute
    """

    name: str
    auroc: float | None
    auroc_rel: float | None
    spearman: float | None
    spearman_rel: float | None
    order: float | None
    order_rel: float | None
    runner_up: float | None


@dataclass(frozen=True, kw_only=True)
class ReconstructionFacts:
    """Reconstructions of the held-out images, pixels in [0, 1].

    Args:
        explained: 1 - mse / mse of answering with the mean image
        lpips: AlexNet, as torchmetrics has it; None where its network is not at hand
        perceptual, perceptual_network: a distance of another network's features, and which; never called LPIPS
    """

    num_images: int
    mse: float
    psnr_db: float
    ssim: float
    explained: float | None
    lpips: float | None
    perceptual: float | None
    perceptual_network: str | None


@dataclass(frozen=True, kw_only=True)
class DistanceFacts:
    """How far sets of images are from images of the data, by the features of one network.

    Args:
        network: which; only Inception's distances are FID and KID, see ``names``
        num_images: in each set
        frechet, kernel: by set: ``samples`` (decoded from the prior), ``reconstructions``, and ``data``: other images
            of the data, the distance of a perfect model at this number of images
    """

    network: str
    num_images: int
    frechet: dict[str, float | None]
    kernel: dict[str, float | None]

    @property
    def names(self) -> tuple[str, str]:
        """What the two distances are called."""
        if self.network.startswith("Inception"):
            return "FID", "KID"
        return f"Fréchet distance ({self.network})", f"kernel distance ({self.network})"


@dataclass(frozen=True, kw_only=True)
class GraphScores:
    """One graph of relations against the known ones; all pairs of different nodes.

    Args:
        graph: ``DisGraph`` (what training was told), ``refined`` (what the model made of it), or ``samples`` and
            ``traversals`` (what the MLLM saw in the model's own images while it trained), or a set of ``own_images``
        rank_correlation: Spearman's of the strengths over all directed pairs
        slope: of the line through 0 that fits them to the true ones; below 1 they are too weak
    """

    graph: str
    agreement: RelationAgreement
    rank_correlation: float | None
    slope: float | None = None


@dataclass(frozen=True, kw_only=True)
class RelationScores:
    """The relations of the run.

    Args:
        truth: where the known ones come from; None where the data know fewer than two of the nodes' attributes
        fidelity_gap, fidelity_noise, traversal_gap: see ``facts.GraphFacts``
        nodes_before, nodes_after: Gaussian total correlation of the named nodes in nats, over the held-out images: how
            much goes together before the graph has acted, and after
    """

    truth: str | None
    graphs: tuple[GraphScores, ...]
    fidelity_gap: float | None
    fidelity_noise: float | None
    traversal_gap: float | None
    nodes_before: float | None = None
    nodes_after: float | None = None


@dataclass(frozen=True, kw_only=True)
class HealthFacts:
    """Whether the code is used.

    Args:
        kl_per_latent, change_per_latent: see ``facts.QualityFacts``; named nodes first
        change_per_node: the same over all dimensions of a node, its greatest
        ignored: True where encoder or decoder make nothing of the code as a whole
        warnings: everything that is wrong with it, in words
    """

    latent_dim: int
    active_units: int
    kl_nats: float
    kl_per_latent: tuple[float, ...]
    change_per_latent: tuple[float, ...]
    change_per_node: dict[str, float]
    ignored: bool
    warnings: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class EvaluationFacts:
    """All of it.

    Args:
        images: which images' codes were scored
        reduction: how nodes of several dimensions became one number
        factors: of the data; empty where none are known, and so are all scores
        before, after: disentanglement scores of all latents by name, of z (before the graph) and of z_rel (after it)
        named_before, named_after: the same of the named nodes alone
        settings: what the scores were computed with, versions of libraries too
        seconds: wall time by part, as ``before.dci``
    """

    run: str
    step: int
    seed: int
    data_uri: str
    data_source: str
    images: str
    reduction: str
    factors: tuple[FactorFacts, ...]
    before: dict[str, float | None]
    after: dict[str, float | None]
    named_before: dict[str, float | None]
    named_after: dict[str, float | None]
    nodes: tuple[NodeScores, ...]
    reconstruction: ReconstructionFacts
    distances: DistanceFacts | None
    relations: RelationScores
    health: HealthFacts
    settings: dict[str, str | int | float | None]
    seconds: dict[str, float]

    def to_json(self) -> str:
        """Strict JSON; what is not a finite number is null."""
        content = {"schema_version": SCHEMA_VERSION, **asdict(self)}
        return strict_json(content, indent=1)

    @classmethod
    def from_json(cls, text: str | bytes) -> EvaluationFacts:
        """The inverse of ``to_json``.

        Raises:
            DataError: text that is no such JSON, or is of another version
        """
        try:
            content = parse_json(text)
            version = content.pop("schema_version")
            if version != SCHEMA_VERSION:
                raise ValueError(f"schema version {version!r}, this gem_ray reads {SCHEMA_VERSION}")
            return typed(cls, content)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise DataError(
                f"{FILE} cannot be read ({type(error).__name__}: {error}); write it again with python -m jobs.evaluate"
            ) from error


def read_evaluation(run: Storage) -> EvaluationFacts | None:
    """What was measured of a run; None where ``jobs.evaluate`` has not been there.

    Raises:
        DataError: the file is damaged, or of another version
    """
    try:
        return EvaluationFacts.from_json(run.read_bytes(FILE))
    except FileNotFoundError:
        return None


def write_evaluation(run: Storage, facts: EvaluationFacts) -> None:
    """Write ``evaluation.json`` into the run's folder, whole or not at all."""
    run.write_bytes(FILE, facts.to_json().encode())
