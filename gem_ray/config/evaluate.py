"""How a trained run is measured."""

from __future__ import annotations

from dataclasses import dataclass, field

from gem_ray.config.checks import check, one_of

CODE_SETS = ("before", "after", "named_before", "named_after")


@dataclass(kw_only=True)
class EvaluateConfig:
    """``jobs.evaluate``: scores of a run's codes, reconstructions and relations. Other options are those of the run."""

    images: str = "all"
    """Which images' codes are scored: ``all`` (a stretch of the whole data set) or ``held_out``."""
    num_train: int = 10_000
    """Points that the metrics' classifiers learn from; of fewer images two thirds are taken."""
    num_test: int = 5_000
    """Points that the metrics' classifiers are tried on."""
    metrics: list[str] = field(default_factory=list)
    """Only these, as [mig,dci,factor_vae,beta_vae,sap,modularity,explicitness,irs,unsupervised,tad]; empty for all."""
    codes: list[str] = field(default_factory=lambda: list(CODE_SETS))
    """Codes ``before`` the graph (z) and ``after`` it (z_rel), all of them or those of the named nodes alone."""
    most_values: int = 40
    """A factor of more values than these counts as continuous."""
    bins: int = 5
    """Classes of equal width that a continuous factor is cut into."""
    seed: int = 0
    """Seed of the metrics and of the images they are computed on."""
    workers: int = 2
    """Threads for the slow metrics; the result does not depend on it."""
    num_images: int = 1_000
    """Images of each kind for the distances between sets of images; 0 leaves these and the perceptual ones out."""
    sample_images: int = 512
    """Of drawn faces: images of the model that the shipped MLLM reads, for the relations that they show; 0 for none."""
    network: str = "auto"
    """Network of these distances: ``inception`` (FID, KID), ``nano`` (the shipped MLLM's), or what can be had."""
    networks: str = ""
    """Folder with the official files of Inception and AlexNet; empty for the cache of torch.hub. Nothing is fetched."""

    def __post_init__(self) -> None:
        one_of("evaluate.images", self.images, ("all", "held_out"))
        one_of("evaluate.network", self.network, ("auto", "inception", "nano"))
        for name in self.codes:
            one_of("evaluate.codes", name, CODE_SETS)
        for name in ("num_train", "num_test"):
            check(
                getattr(self, name) >= 100, f"evaluate.{name}={getattr(self, name)} is too few to learn from; give 100"
            )
        check(self.bins >= 2, f"evaluate.bins={self.bins} must be at least 2")
        check(
            self.most_values >= self.bins, f"evaluate.most_values={self.most_values} is below evaluate.bins={self.bins}"
        )
        check(
            self.sample_images == 0 or self.sample_images >= 50,
            f"evaluate.sample_images={self.sample_images} shows no relation; give at least 50, or 0 for none",
        )
        check(self.seed >= 0, f"evaluate.seed={self.seed} must not be negative")
        check(self.workers >= 1, f"evaluate.workers={self.workers} must be at least 1")
        check(
            self.num_images == 0 or self.num_images >= 50,
            f"evaluate.num_images={self.num_images} is too few for a distance; give at least 50, or 0 for none",
        )
