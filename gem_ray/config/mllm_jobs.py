"""Jobs around the MLLM: training the nano model, checking, scanning, naming."""

from __future__ import annotations

from dataclasses import dataclass, field

from gem_ray.config.checks import check, one_of


@dataclass(kw_only=True)
class PretrainConfig:
    """``jobs.pretrain_mllm``: how the shipped nano MLLM was trained."""

    steps: int = 2_400
    """Optimiser steps in all."""
    batch_images: int = 48
    """Faces of one step; each is asked about every attribute."""
    learning_rate: float = 1e-3
    """Peak of AdamW's rate, after a warm-up of 100 steps and before a cosine to 1 %."""
    seed: int = 20_407
    """Seed of initial weights, faces and questions."""
    output: str = "runs/nano/model"
    """Folder for model, tokenizer and processor; pass it as ``scoring.model`` to use it."""
    checkpoints: str = "runs/nano/checkpoints"
    """Folder of the training's own checkpoints; the same folder resumes it."""
    checkpoint_every_steps: int = 250
    """Steps between two checkpoints."""
    num_threads: int = 1
    """Torch threads; two threads on two cores that others use too are slower than one."""
    log_every_s: float = 10.0
    """Seconds between two progress lines."""

    def __post_init__(self) -> None:
        for name in ("steps", "batch_images", "checkpoint_every_steps", "num_threads"):
            check(getattr(self, name) >= 1, f"pretrain.{name}={getattr(self, name)} must be at least 1")
        check(self.seed >= 0, f"pretrain.seed={self.seed} must not be negative")
        check(self.log_every_s >= 0, f"pretrain.log_every_s={self.log_every_s} must not be negative")
        check(self.learning_rate > 0, f"pretrain.learning_rate={self.learning_rate} must be positive")


@dataclass(kw_only=True)
class CheckConfig:
    """``jobs.check_mllm``: whether the MLLM of ``scoring.model`` tells the attributes at all."""

    source: str = "faces"
    """``faces`` (drawn here), or a folder or fsspec URI of labelled photographs in CelebA's layout."""
    attributes: list[str] = field(default_factory=list)
    """Attributes to check, for labelled photographs also as ``name:Label`` (``name:-Label`` where the label says the
    opposite); empty takes model.attributes, by CelebA's names for them where they have others."""
    images: int = 500
    """Photographs to ask about (0 takes all), or drawn faces for each attribute and again for all of them."""
    split: str = "all"
    """Photographs of one part by the partition file: ``train``, ``valid`` or ``test``; or ``all``."""
    seed: int = 0
    """Seed of which photographs."""
    output: str = "runs/checks"
    """Folder of figures and plots; training looks here for a warning about its model."""

    def __post_init__(self) -> None:
        one_of("check.split", self.split, ("all", "train", "valid", "test"))
        check(self.seed >= 0, f"check.seed={self.seed} must not be negative")
        check(self.images >= 0, f"check.images={self.images} must not be negative; 0 takes all photographs")
        check(self.images > 0 or self.source != "faces", "check.images=0 with check.source=faces: say how many to draw")


@dataclass(kw_only=True)
class ScanConfig:
    """``jobs.scan``: the MLLM's scores of a whole data set."""

    images: int = 0
    """The first images of the data; 0 takes all."""
    part_images: int = 512
    """Images of one part: what is lost, at most, by a kill of one worker."""
    workers: int = 1
    """Actors that ask at the same time, each with at most scoring.max_in_flight requests under way."""

    def __post_init__(self) -> None:
        check(self.images >= 0, f"scan.images={self.images} must not be negative; 0 takes all")
        for name in ("part_images", "workers"):
            check(getattr(self, name) >= 1, f"scan.{name}={getattr(self, name)} must be at least 1")


@dataclass(kw_only=True)
class NamingConfig:
    """``jobs.name_attributes``: what each latent of a trained model changes, in words."""

    candidates: list[str] = field(default_factory=list)
    """Names to choose among, beside those that a capable model proposes; empty takes model.attributes of the run."""
    model: str | None = None
    """MLLM to ask, with the other scoring options of the command line; None asks the run's, with the run's options."""
    images: int = 8
    """Start images of the strips that are scored."""
    steps: int = 7
    """Positions of a latent in one strip."""
    described: int = 3
    """Strips of each latent that a capable model describes in open words; 0 takes the candidates alone."""

    def __post_init__(self) -> None:
        check(self.images >= 2, f"naming.images={self.images} must be at least 2: one image has no standard error")
        check(self.steps >= 3, f"naming.steps={self.steps} must be at least 3, or chance can do as well")
        check(self.described >= 0, f"naming.described={self.described} must not be negative")
