"""From images of any source to what training reads."""

from __future__ import annotations

from dataclasses import dataclass, field

from gem_ray.config.checks import check, one_of


@dataclass(kw_only=True)
class PrepareConfig:
    """``jobs.prepare``: images of any source to fixed-size shards with a manifest."""

    source: str = "faces"
    """``faces``, ``pendulum`` or ``flow`` (drawn here), or a path or fsspec URI: a folder, zip, tar, npz or h5 of
    images, or one of the official layouts of dSprites, Shapes3D, MPI3D, Cars3D, CelebA, LSUN and FFHQ."""
    split: str = "all"
    """``train``, ``valid`` or ``test`` of a source that has official splits; with ``all`` each stays apart and only
    train is trained on."""
    image_size: int = 64
    """Side of the stored square images in pixels."""
    crop: int = 0
    """Side of the centre crop before resizing, in source pixels; 0 takes the largest centre square."""
    num_images: int = 20_000
    """How many images to draw; with other sources an upper bound (of every split), 0 for all."""
    seed: int = 0
    """Seed of drawn images and of the order in which images go to shards."""
    factor_names: list[str] = field(default_factory=list)
    """Names of the true factors, where the source does not tell them."""
    factor_sizes: list[int] = field(default_factory=list)
    """Values of each factor, where the images are a full grid in order, the last factor fastest; empty with labels."""
    correlate: list[str] = field(default_factory=list)
    """Two factors [c1,c2] of a full grid, on [0, 1]: draw images with weights exp(-(c1 - slope c2)^2 / 2 width^2)."""
    correlation_slope: float = 1.0
    """Slope of that correlation."""
    correlation_width: float = 0.2
    """Width of that correlation; the smaller, the stronger."""
    shard_mb: int = 64
    """Upper bound of pixels in one shard, in MB (10^6 bytes)."""
    max_bad_share: float = 0.01
    """Share of undecodable images over which the job fails."""
    max_pixels: int = 16_000_000
    """Images of more pixels are refused by their header, before decoding."""
    concurrency: int = 2
    """Ray Data tasks that decode at the same time."""

    def __post_init__(self) -> None:
        check(self.image_size >= 8, f"prepare.image_size={self.image_size} must be at least 8")
        check(0 <= self.max_bad_share <= 1, f"prepare.max_bad_share={self.max_bad_share} must lie in [0, 1]")
        check(self.crop >= 0, f"prepare.crop={self.crop} must not be negative; 0 takes the largest square")
        check(self.num_images >= 0, f"prepare.num_images={self.num_images} must not be negative; 0 takes all")
        check(self.seed >= 0, f"prepare.seed={self.seed} must not be negative")
        check(self.concurrency >= 1, f"prepare.concurrency={self.concurrency} must be at least 1")
        check(self.max_pixels >= 64, f"prepare.max_pixels={self.max_pixels} refuses every image; raise it")
        check(self.shard_mb >= 1, f"prepare.shard_mb={self.shard_mb} must be at least 1")
        one_of("prepare.split", self.split, ("all", "train", "valid", "test"))
        check(
            len(set(self.factor_names)) == len(self.factor_names)
            and len(self.factor_sizes) in (0, len(self.factor_names)),
            f"prepare.factor_sizes={self.factor_sizes} must have one size for each of "
            f"prepare.factor_names={self.factor_names}, whose names must differ",
        )
        check(
            all(size >= 1 for size in self.factor_sizes),
            f"prepare.factor_sizes={self.factor_sizes} must be positive numbers",
        )
        check(
            len(self.correlate) in (0, 2) and len(set(self.correlate)) == len(self.correlate),
            f"prepare.correlate={self.correlate} must be two different factors, or empty",
        )
        check(
            not self.correlate or self.split == "all",
            f"prepare.correlate={self.correlate} draws images for training and hold-out itself; set prepare.split=all",
        )
        check(self.correlation_width > 0, f"prepare.correlation_width={self.correlation_width} must be positive")


@dataclass(kw_only=True)
class DataConfig:
    """What training reads."""

    uri: str = "data/faces"
    """Folder of shards and manifest: a path, ``file://`` or ``s3://``."""
    batch_size: int = 128
    """Images of one step over all workers."""
    ingest: str = "auto"
    """``memory`` (read once, global shuffle), ``stream`` (fixed windows), or ``auto`` by size."""
    memory_limit_gb: float = 4.0
    """With ``auto``: the largest data set, in GB per worker, that is held in memory."""
    window_shards: int = 4
    """With ``stream``: shards whose records are shuffled together."""
    holdout: int = 512
    """Images at the end of the data that are kept for evaluation and never trained on."""

    def __post_init__(self) -> None:
        one_of("data.ingest", self.ingest, ("auto", "memory", "stream"))
        check(self.batch_size >= 1, f"data.batch_size={self.batch_size} must be positive")
        check(self.window_shards >= 1, f"data.window_shards={self.window_shards} must be at least 1")
        check(self.holdout >= 1, f"data.holdout={self.holdout} must be positive: the report needs unseen images")
