"""Every option of every job, as dataclasses: the one place where a default stands.

Nothing heavy is imported here, so that ``--help`` answers at once. ``configs/*.yaml`` hold values only; Hydra composes
them in ``jobs/`` and ``OmegaConf.to_object`` turns the result into these types once. Impossible settings fail in
``__post_init__``, naming the fields.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from gem_ray.config.checks import check
from gem_ray.config.data import DataConfig, PrepareConfig
from gem_ray.config.evaluate import EvaluateConfig
from gem_ray.config.gateway import LOOPBACK_HOSTS, GatewayConfig
from gem_ray.config.inference import (
    EditConfig,
    EncodeConfig,
    ExportConfig,
    ReconstructConfig,
    SampleConfig,
    TraverseConfig,
)
from gem_ray.config.mllm_jobs import CheckConfig, NamingConfig, PretrainConfig, ScanConfig
from gem_ray.config.model import PAPER_ATTRIBUTES, ModelConfig
from gem_ray.config.objective import ObjectiveConfig
from gem_ray.config.placement import PlacementConfig
from gem_ray.config.plan import PlanConfig
from gem_ray.config.rollback import RollbackConfig
from gem_ray.config.scoring import ScoringConfig
from gem_ray.config.storage import RUN_NAME, RunConfig, StorageConfig
from gem_ray.config.submit import SubmitConfig
from gem_ray.config.table import TableConfig
from gem_ray.config.train import GraphConfig, TrainConfig

__all__ = [
    "LOOPBACK_HOSTS",
    "PAPER_ATTRIBUTES",
    "RUN_NAME",
    "CheckConfig",
    "DataConfig",
    "EditConfig",
    "EncodeConfig",
    "EvaluateConfig",
    "ExportConfig",
    "GatewayConfig",
    "GemConfig",
    "GraphConfig",
    "ModelConfig",
    "NamingConfig",
    "ObjectiveConfig",
    "PlacementConfig",
    "PlanConfig",
    "PrepareConfig",
    "PretrainConfig",
    "ReconstructConfig",
    "RollbackConfig",
    "RunConfig",
    "SampleConfig",
    "ScanConfig",
    "ScoringConfig",
    "StorageConfig",
    "SubmitConfig",
    "TableConfig",
    "TrainConfig",
    "TraverseConfig",
]


@dataclass(kw_only=True)
class GemConfig:
    """The whole configuration of a job."""

    run: RunConfig = field(default_factory=RunConfig)
    storage: StorageConfig = field(default_factory=StorageConfig)
    prepare: PrepareConfig = field(default_factory=PrepareConfig)
    data: DataConfig = field(default_factory=DataConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    objective: ObjectiveConfig = field(default_factory=ObjectiveConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    graph: GraphConfig = field(default_factory=GraphConfig)
    scoring: ScoringConfig = field(default_factory=ScoringConfig)
    pretrain: PretrainConfig = field(default_factory=PretrainConfig)
    check: CheckConfig = field(default_factory=CheckConfig)
    scan: ScanConfig = field(default_factory=ScanConfig)
    naming: NamingConfig = field(default_factory=NamingConfig)
    gateway: GatewayConfig = field(default_factory=GatewayConfig)
    evaluate: EvaluateConfig = field(default_factory=EvaluateConfig)
    table: TableConfig = field(default_factory=TableConfig)
    edit: EditConfig = field(default_factory=EditConfig)
    reconstruct: ReconstructConfig = field(default_factory=ReconstructConfig)
    traverse: TraverseConfig = field(default_factory=TraverseConfig)
    sample: SampleConfig = field(default_factory=SampleConfig)
    encode: EncodeConfig = field(default_factory=EncodeConfig)
    export: ExportConfig = field(default_factory=ExportConfig)
    placement: PlacementConfig = field(default_factory=PlacementConfig)
    rollback: RollbackConfig = field(default_factory=RollbackConfig)
    submit: SubmitConfig = field(default_factory=SubmitConfig)
    plan: PlanConfig = field(default_factory=PlanConfig)

    def __post_init__(self) -> None:
        check(
            self.data.batch_size % self.train.num_workers == 0,
            f"data.batch_size={self.data.batch_size} must be a multiple of train.num_workers={self.train.num_workers}",
        )
        check(
            self.objective.align_batch % self.train.num_workers == 0,
            f"objective.align_batch={self.objective.align_batch} must be a multiple of "
            f"train.num_workers={self.train.num_workers}",
        )
        check(
            self.model.graph == "refined"
            or (self.objective.contrastive_weight == 0 and self.objective.anchor == "prior"),
            f"objective.anchor={self.objective.anchor} and objective.contrastive_weight="
            f"{self.objective.contrastive_weight} act on what is learned about the graph, and nothing is with "
            f"model.graph={self.model.graph}: set model.graph=refined, or anchor=prior and contrastive_weight=0",
        )
