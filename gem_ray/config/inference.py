"""Using a trained model: editing, reconstructing, traversing, sampling, encoding, exporting."""

from __future__ import annotations

from dataclasses import dataclass, field

from gem_ray.config.checks import check


@dataclass(kw_only=True)
class EditConfig:
    """``jobs.edit``: some attributes of images moved, with and without what follows from it."""

    changes: list[str] = field(default_factory=list)
    """What to move, as ``[bangs:+1.5,male:-1]``: by standard deviations of that node's codes over training images."""
    image: str = ""
    """An image file or a folder of them, at a path or URI; empty takes held-out images of the run."""
    first: int = 0
    """Number of the first image that is taken."""
    count: int = 3
    """How many images."""
    output: str = ""
    """PNG to write, at a path or URI; empty writes ``figures/edit.png`` in the folder of the run."""

    def __post_init__(self) -> None:
        check(self.first >= 0, f"edit.first={self.first} must not be negative")
        check(self.count >= 1, f"edit.count={self.count} must be at least 1")


@dataclass(kw_only=True)
class ReconstructConfig:
    """``jobs.reconstruct``: images, and what the model makes of them."""

    image: str = ""
    """An image file or a folder of them, at a path or URI; empty takes held-out images of the run."""
    first: int = 0
    """Number of the first image that is taken."""
    count: int = 36
    """How many images, at most."""
    output: str = ""
    """PNG to write, at a path or URI; empty writes ``figures/reconstruct.png`` in the folder of the run."""

    def __post_init__(self) -> None:
        check(self.first >= 0, f"reconstruct.first={self.first} must not be negative")
        check(self.count >= 1, f"reconstruct.count={self.count} must be at least 1")


@dataclass(kw_only=True)
class TraverseConfig:
    """``jobs.traverse``: each attribute of one image moved over the range that real images take."""

    attributes: list[str] = field(default_factory=list)
    """Attributes to move, one row each; empty moves all."""
    image: str = ""
    """An image file, at a path or URI; empty takes a held-out image of the run."""
    first: int = 0
    """Number of the image that is taken."""
    positions: int = 9
    """Pictures in a row."""
    output: str = ""
    """PNG to write, at a path or URI; empty writes ``figures/traverse.png`` in the folder of the run."""

    def __post_init__(self) -> None:
        check(self.first >= 0, f"traverse.first={self.first} must not be negative")
        check(self.positions >= 2, f"traverse.positions={self.positions} must be at least 2")


@dataclass(kw_only=True)
class SampleConfig:
    """``jobs.sample``: random images of a model."""

    count: int = 36
    """How many."""
    seed: int = 0
    """The same seed gives the same images."""
    prior: bool = False
    """Draw codes from the standard normal prior, not each node from another real image."""
    output: str = ""
    """PNG to write, at a path or URI; empty writes ``figures/sample.png`` in the folder of the run."""

    def __post_init__(self) -> None:
        check(self.count >= 1, f"sample.count={self.count} must be at least 1")
        check(self.seed >= 0, f"sample.seed={self.seed} must not be negative")


@dataclass(kw_only=True)
class EncodeConfig:
    """``jobs.encode``: the codes of a whole data set, as Parquet."""

    source: str = ""
    """Prepared data, or a folder, zip or tar of image files, at a path or URI; empty takes the run's data."""
    images: int = 0
    """The first images of the source; 0 takes all."""
    part_images: int = 4096
    """Images of one Parquet file: what is lost, at most, by a kill of one worker."""
    workers: int = 1
    """Actors that encode at the same time, one CPU each."""
    use_gpu: bool = False
    """One GPU for each actor."""
    output: str = ""
    """Folder of the Parquet files, at a path or URI; empty writes to ``codes`` in the folder of the run."""

    def __post_init__(self) -> None:
        check(self.images >= 0, f"encode.images={self.images} must not be negative; 0 takes all")
        for name in ("part_images", "workers"):
            check(getattr(self, name) >= 1, f"encode.{name}={getattr(self, name)} must be at least 1")


@dataclass(kw_only=True)
class ExportConfig:
    """``jobs.export``: encoder, graph and decoder for programs that know nothing of gem_ray."""

    formats: list[str] = field(default_factory=lambda: ["onnx", "torch", "gem_ray"])
    """``onnx``, ``torch`` (torch.export, ``.pt2``) and ``gem_ray`` (what ``gem_ray.load`` reads without the run)."""
    output: str = ""
    """Local folder to write to; empty writes to ``export`` in the folder of the run."""
    max_difference: float = 1e-4
    """Largest difference to torch on trial images, of a code or a pixel in [0, 1], before the export is refused."""

    def __post_init__(self) -> None:
        known = ("onnx", "torch", "gem_ray")
        unknown = [name for name in self.formats if name not in known]
        check(bool(self.formats) and not unknown, f"export.formats={self.formats}: choose of {', '.join(known)}")
        check(self.max_difference > 0, f"export.max_difference={self.max_difference} must be positive")
