"""A table of results: which methods on which data with which seeds, and where it goes."""

from __future__ import annotations

from dataclasses import dataclass, field

from gem_ray.config.checks import check


@dataclass(kw_only=True)
class TableConfig:
    """``jobs.table``: methods x data sets x seeds, one training run a cell, and what they amount to."""

    methods: list[str] = field(default_factory=lambda: ["vae", "beta_vae", "gem"])
    """Names for ``method=``; each is run with every data set and seed."""
    experiments: list[str] = field(default_factory=lambda: ["faces"])
    """Data sets: names for ``experiment=``."""
    seeds: list[int] = field(default_factory=lambda: [0, 1, 2])
    """Values of train.seed. Methods are compared within a seed: same initial weights where the networks are the same,
    same data order, same noise."""
    reference: str = "gem"
    """The method that the others are compared with; empty takes no differences."""
    output: str = "runs/table"
    """Folder of the table and of the runs of its cells: a path, ``file://`` or ``s3://``."""
    data_root: str = ""
    """Folder that relative ``data.uri`` of the cells lie in, a path or a storage address; empty takes the working
    directory. ``jobs.submit`` sets it by ``submit.storage``."""
    parallel: int = 0
    """Cells under way at the same time; 0 takes as many as the CPUs (and GPUs) that are there allow. Name a number on
    a cluster that grows: cells without room wait for its nodes."""
    share_scores: bool = True
    """Have the MLLM score each data set once and give every cell the same answers; otherwise each cell has an MLLM
    and a rescorer of its own."""

    def __post_init__(self) -> None:
        for name in ("methods", "experiments", "seeds"):
            values = getattr(self, name)
            check(len(values) >= 1, f"table.{name} is empty: a table needs at least one")
            check(len(set(values)) == len(values), f"table.{name}={values} names something twice")
        check(min(self.seeds) >= 0, f"table.seeds={self.seeds} must not be negative")
        check(self.parallel >= 0, f"table.parallel={self.parallel} must not be negative; 0 chooses by the cluster")
        check(
            self.reference in ("", *self.methods),
            f"table.reference={self.reference!r} is none of table.methods={self.methods}; add it, name another one, or "
            "leave it empty",
        )
