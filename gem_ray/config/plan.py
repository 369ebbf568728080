"""What a job needs of a cluster, reckoned before anything starts."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from gem_ray.config.checks import check

PRICE = re.compile(r"[^:\s]+:\d+(\.\d+)?")


@dataclass(kw_only=True)
class PlanConfig:
    """``jobs.plan``: which part runs where, whether it fits, how long it takes and what it costs."""

    cluster_file: str = ""
    """Launcher file or KubeRay manifest of the cluster; empty plans for this machine."""
    num_images: int = 0
    """Images to train on; 0 takes those prepared at ``data.uri``, else ``prepare.num_images``."""
    images_per_second_per_worker: float | None = None
    """Training rate of one worker; None takes it from the run, else from the newest one in ``run.uri``."""
    measure: bool = False
    """Where no rate is known, time training steps of this model on this machine, for some seconds."""
    questions_per_second_per_replica: float | None = None
    """Rate of one replica of the MLLM; None takes it from the same run, where it asked the same model."""
    prices: list[str] = field(default_factory=list)
    """Prices of an hour, as TYPE:PRICE with the instance type, or the node type where the file names no instance;
    TYPE/spot:PRICE is for spot nodes."""
    prices_as_of: str = ""
    """Day on which somebody last looked the prices up."""
    price_per_tb_month: float = 0.0
    """Price of a TB (10^12 bytes) of object storage for a month, in the same currency."""
    currency: str = "USD"
    """Currency of the prices."""

    def __post_init__(self) -> None:
        check(self.num_images >= 0, f"plan.num_images={self.num_images} must not be negative; 0 looks at the data")
        for name in ("images_per_second_per_worker", "questions_per_second_per_replica"):
            value = getattr(self, name)
            check(value is None or value > 0, f"plan.{name}={value} must be positive, or null")
        wrong = [price for price in self.prices if not PRICE.fullmatch(price)]
        check(not wrong, f"plan.prices={wrong}: a price is TYPE:PRICE, as in g6.xlarge:0.80")
        check(self.price_per_tb_month >= 0, f"plan.price_per_tb_month={self.price_per_tb_month} must not be negative")
