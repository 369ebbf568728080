"""Every option of every job, as dataclasses: the one place where a default stands.

Nothing heavy is imported here, so that ``--help`` answers at once. ``configs/*.yaml`` hold values only; Hydra composes
them in ``jobs/`` and ``OmegaConf.to_object`` turns the result into these types once. Impossible settings fail in
``__post_init__``, naming the fields.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from gem_ray.errors import ConfigError

RUN_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
LOOPBACK_HOSTS = ("127.0.0.1", "::1", "localhost")
PAPER_ATTRIBUTES = ("bangs", "bald", "male", "beard", "blond", "makeup")


def _check(condition: bool, message: str) -> None:
    if not condition:
        raise ConfigError(message)


def _one_of(name: str, value: str, allowed: tuple[str, ...]) -> None:
    _check(value in allowed, f"{name}={value!r} is not known; choose one of {', '.join(allowed)}")


@dataclass(kw_only=True)
class StorageConfig:
    """How object storage is reached. Credentials come from the environment or the instance, never from here."""

    endpoint_url: str | None = None
    """S3 endpoint, for servers other than AWS; None uses AWS."""
    region: str | None = None
    """S3 region; None takes it from the environment."""
    anonymous: bool = False
    """Read a public bucket without credentials."""
    attempts: int = 5
    """Tries of one read or write before a storage fault is an error."""

    def __post_init__(self) -> None:
        _check(self.attempts >= 1, f"storage.attempts={self.attempts} must be at least 1")


@dataclass(kw_only=True)
class PrepareConfig:
    """``jobs.prepare``: images of any source to fixed-size shards with a manifest."""

    source: str = "faces"
    """``faces``, ``pendulum`` or ``flow`` (drawn here), or a folder, zip, tar, npz or fsspec URI of images."""
    image_size: int = 64
    """Side of the stored square images in pixels."""
    crop: int = 0
    """Side of the centre crop before resizing, in source pixels; 0 takes the largest centre square."""
    num_images: int = 20_000
    """How many images to draw; with other sources an upper bound, 0 for all."""
    seed: int = 0
    """Seed of drawn images and of the order in which images go to shards."""
    shard_mb: int = 64
    """Upper bound of pixels in one shard, in MB (10^6 bytes)."""
    max_bad_share: float = 0.01
    """Share of undecodable images over which the job fails."""
    max_pixels: int = 16_000_000
    """Images of more pixels are refused by their header, before decoding."""
    concurrency: int = 2
    """Ray Data tasks that decode at the same time."""

    def __post_init__(self) -> None:
        _check(self.image_size >= 8, f"prepare.image_size={self.image_size} must be at least 8")
        _check(0 <= self.max_bad_share <= 1, f"prepare.max_bad_share={self.max_bad_share} must lie in [0, 1]")
        _check(self.crop >= 0, f"prepare.crop={self.crop} must not be negative; 0 takes the largest square")
        _check(self.num_images >= 0, f"prepare.num_images={self.num_images} must not be negative; 0 takes all")
        _check(self.concurrency >= 1, f"prepare.concurrency={self.concurrency} must be at least 1")
        _check(self.max_pixels >= 64, f"prepare.max_pixels={self.max_pixels} refuses every image; raise it")
        _check(self.shard_mb >= 1, f"prepare.shard_mb={self.shard_mb} must be at least 1")


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
        _one_of("data.ingest", self.ingest, ("auto", "memory", "stream"))
        _check(self.batch_size >= 1, f"data.batch_size={self.batch_size} must be positive")
        _check(self.window_shards >= 1, f"data.window_shards={self.window_shards} must be at least 1")
        _check(self.holdout >= 1, f"data.holdout={self.holdout} must be positive: the report needs unseen images")


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

    def __post_init__(self) -> None:
        _one_of("model.network", self.network, ("locatello", "burgess"))
        _check(len(self.attributes) >= 2, f"model.attributes={self.attributes}: a relation needs at least two")
        for name in ("node_dim", "width", "gnn_layers", "gnn_hidden"):
            _check(getattr(self, name) >= 1, f"model.{name}={getattr(self, name)} must be at least 1")
        _check(self.residual_dim >= 0, f"model.residual_dim={self.residual_dim} must not be negative")

    @property
    def num_nodes(self) -> int:
        """Attributes in the graph."""
        return len(self.attributes)


@dataclass(kw_only=True)
class ObjectiveConfig:
    """Weights of the loss terms (method.md section 2)."""

    reconstruction: str = "bernoulli"
    """Reconstruction term, summed over pixels: ``bernoulli``, ``gaussian`` or ``l1``."""
    reconstruction_weight: float = 1.0
    """l_rec."""
    kl: str = "beta"
    """``beta``: the KL term times beta; ``capacity``: gamma |KL - C(t)| (AnnealedVAE, Burgess et al. 2018)."""
    beta: float = 1.0
    """Weight of KL(q(z|x) || N(0, I))."""
    kl_warmup_steps: int = 500
    """Steps over which beta rises linearly from 0."""
    capacity_nats: float = 25.0
    """With ``kl=capacity``: C at the end of its rise."""
    capacity_steps: int = 3_000
    """With ``kl=capacity``: steps over which C rises linearly from 0."""
    capacity_weight: float = 1_000.0
    """With ``kl=capacity``: gamma."""
    total_correlation: str = "none"
    """How TC(z) is had: ``none``, from the minibatch ``weighted`` or ``stratified`` (beta-TCVAE), or from a ``critic``
    (FactorVAE)."""
    total_correlation_weight: float = 5.0
    """Weight of TC(z): beta - 1 of beta-TCVAE, gamma of FactorVAE."""
    latent_critic_width: int = 1_000
    """With ``total_correlation=critic``: width of its six layers."""
    covariance: str = "none"
    """Covariance pulled to the identity: ``none``, of ``mu`` (DIP-VAE-I) or of ``z`` (DIP-VAE-II)."""
    covariance_off_diagonal: float = 10.0
    """lambda_od of DIP-VAE."""
    covariance_diagonal: float = 10.0
    """lambda_d of DIP-VAE: 10 lambda_od is usual for the first kind, lambda_od for the second."""
    graph_weight: float = 50.0
    """l_graph: pull of the refined adjacency to the DisGraph, by confidence."""
    align_weight: float = 200.0
    """l_align: pull of each node to the MLLM's score on the scored images; 0 turns it off."""
    align_on: str = "z"
    """Which code is aligned: ``z`` or ``z_rel``."""
    align_batch: int = 64
    """Scored images of one step over all workers."""
    adversarial_weight: float = 0.0
    """l_gem: joint-KL term from the discriminator on (x, z_rel); 0 turns it off."""
    importance_clamp: bool = False
    """Weight the decoder's samples by clamp(exp(D), 0.5, 2), as DEAR does."""

    def __post_init__(self) -> None:
        _one_of("objective.reconstruction", self.reconstruction, ("bernoulli", "gaussian", "l1"))
        _one_of("objective.align_on", self.align_on, ("z", "z_rel"))
        _one_of("objective.kl", self.kl, ("beta", "capacity"))
        _one_of("objective.total_correlation", self.total_correlation, ("none", "weighted", "stratified", "critic"))
        _one_of("objective.covariance", self.covariance, ("none", "mu", "z"))
        weights = ("reconstruction_weight", "beta", "graph_weight", "align_weight", "adversarial_weight")
        further = ("total_correlation_weight", "covariance_off_diagonal", "covariance_diagonal", "capacity_weight")
        for name in (*weights, *further, "capacity_nats"):
            _check(getattr(self, name) >= 0, f"objective.{name}={getattr(self, name)} must not be negative")
        _check(self.kl_warmup_steps >= 0, f"objective.kl_warmup_steps={self.kl_warmup_steps} must not be negative")
        for name in ("align_batch", "capacity_steps", "latent_critic_width"):
            _check(getattr(self, name) >= 1, f"objective.{name}={getattr(self, name)} must be at least 1")


@dataclass(kw_only=True)
class TrainConfig:
    """``jobs.train``: workers, steps, precision, checkpoints."""

    steps: int = 3_500
    """Optimiser steps in all."""
    num_workers: int = 2
    """Ray Train workers; each holds the model and a part of every batch."""
    use_gpu: bool = False
    """One GPU a worker with nccl; otherwise CPU workers with gloo."""
    cpus_per_worker: float = 1.0
    """Logical CPUs reserved for one worker; its torch threads are as many, at least one."""
    learning_rate: float = 1e-3
    """Adam, for encoder, decoder, graph network and adjacency."""
    discriminator_learning_rate: float = 1e-4
    """Adam, for the discriminator."""
    precision: str = "auto"
    """Autocast of the networks: ``bf16``, ``fp32``, or ``auto`` (bf16 where the hardware has it). Losses are fp32."""
    compile: bool = False
    """Run the model through torch.compile."""
    channels_last: bool = True
    """Lay out images and weights channels-last, which convolutions on CPU and GPU prefer."""
    fused_adam: bool = True
    """Update all parameters in one fused kernel."""
    seed: int = 0
    """Seed of initial weights, sample order and noise."""
    checkpoint_every_steps: int = 500
    """Steps between checkpoints; after a kill at most two intervals are redone."""
    keep_checkpoints: int = 3
    """Complete checkpoints that are kept."""
    log_every_s: float = 5.0
    """Seconds between two progress lines."""
    log_every_steps: int = 20
    """Steps between two lines of metrics.jsonl and TensorBoard."""
    max_failures: int = 8
    """Worker deaths that are recovered from before the run gives up."""

    def __post_init__(self) -> None:
        _one_of("train.precision", self.precision, ("auto", "bf16", "fp32"))
        for name in ("steps", "num_workers", "checkpoint_every_steps", "keep_checkpoints", "log_every_steps"):
            _check(getattr(self, name) >= 1, f"train.{name}={getattr(self, name)} must be at least 1")
        for name in ("learning_rate", "discriminator_learning_rate"):
            _check(getattr(self, name) > 0, f"train.{name}={getattr(self, name)} must be positive")


@dataclass(kw_only=True)
class GraphConfig:
    """The DisGraph's store and how training follows it."""

    poll_every_s: float = 1.0
    """Seconds between two looks of rank 0's background thread at the store."""
    refresh_every_steps: int = 10
    """Steps between two points where all ranks may change to a newer version together."""
    max_staleness: int = 50
    """A push based on a version older than this many versions is refused."""
    max_change: float = 1.0
    """Largest change of one edge's strength by one push; a larger one is clamped."""
    snapshot_every_pushes: int = 20
    """Pushes between two snapshots in storage."""
    keep_versions: int = 1_000
    """Newest versions whose history, diff and rollback stay available, and whose push ids are remembered."""

    def __post_init__(self) -> None:
        _check(self.poll_every_s > 0, f"graph.poll_every_s={self.poll_every_s} must be positive")
        _check(self.refresh_every_steps >= 1, f"graph.refresh_every_steps={self.refresh_every_steps} must be >= 1")
        _check(0 < self.max_change <= 2, f"graph.max_change={self.max_change} must lie in (0, 2]")
        _check(self.max_staleness >= 0, f"graph.max_staleness={self.max_staleness} must not be negative")
        _check(
            self.snapshot_every_pushes >= 1, f"graph.snapshot_every_pushes={self.snapshot_every_pushes} must be >= 1"
        )
        # A push that is so old that its id is forgotten must be refused as stale, or a late retry would apply it twice.
        _check(
            self.keep_versions > self.max_staleness,
            f"graph.keep_versions={self.keep_versions} must be more than graph.max_staleness={self.max_staleness}",
        )


@dataclass(kw_only=True)
class ScoringConfig:
    """The MLLM in Ray Serve, and the rescorer that asks it."""

    scorer: str = "vllm"
    """``vllm`` (Serve), or ``none``: train on the graph the run starts with."""
    model: str = "nano"
    """``nano`` (shipped), a folder, or a hub id of a vision-language model that vLLM supports."""
    min_replicas: int = 1
    """Serve replicas that are always there, each with an engine of its own; 0 lets the model go when nobody asks."""
    max_replicas: int = 1
    """Replicas that autoscaling may add up to, by the number of requests under way."""
    target_ongoing_requests: float = 4.0
    """Requests under way for one replica at which autoscaling adds no further one."""
    upscale_delay_s: float = 10.0
    """Seconds of load before a replica is added."""
    downscale_delay_s: float = 120.0
    """Seconds without load before a replica is removed; loading a model costs more than keeping it a while."""
    tensor_parallel: int = 1
    """GPUs of one node over which one model is split; more than 1 needs ``num_gpus`` of the same number."""
    max_model_len: int = 0
    """Longest prompt in tokens that memory is kept for; 0 takes what fits."""
    num_cpus: float = 1.0
    """Logical CPUs of one replica."""
    num_gpus: float = 0.0
    """GPUs of one replica; 0 runs vLLM's CPU engine."""
    max_ongoing_requests: int = 8
    """Requests (batches of questions) one replica works on at a time."""
    max_queued_requests: int = 32
    """Requests a caller may have waiting; more are refused at once."""
    deadline_s: float = 60.0
    """Seconds after which a request without an answer has failed."""
    start_timeout_s: float = 600.0
    """Seconds the model may take to load before the run gives up."""
    batch_questions: int = 48
    """Questions of one request."""
    initial_images: int = 512
    """Images of the first scan (the paper: 1,500)."""
    estimator: str = "most_likely"
    """How scores become relations: Somers' D of the ``most_likely`` digit (the paper's), of the ``rounded`` expectation
    or of the ``expectation``, or the ``expected_table`` of the digit distributions, for a model that is seldom sure."""
    wordings: int = 1
    """Paraphrases of each question whose answers are averaged; the nano model knows one."""
    calibrate: bool = False
    """Divide answers by those about a grey image, and average over it (contextual calibration, Zhao et al. 2021)."""
    judgements: bool = False
    """Ask about directed pairs themselves too, as further evidence; for capable models only."""
    policy: str = "value"
    """What later rounds ask about: ``value`` (what matters most), ``round_robin``, ``uniform`` or ``everything``."""
    questions_per_minute: int = 0
    """Questions that later rounds may ask a minute; 0 sets no bound."""
    answers_bytes: int = 256_000_000
    """Size of the run's store of answers; the oldest are dropped first, and 0 keeps none."""
    price_per_million_tokens: float = 0.0
    """Price of a million prompt tokens, in any currency; 0 where they are free."""
    price_per_hour: float = 0.0
    """Price of an hour of one replica, in the same currency."""
    round_images: int = 128
    """New data images scored in one later round; 0 scores none after the first scan."""
    traversal_images: int = 16
    """Start images of the traversals scored in one later round; 0 looks at none."""
    sample_images: int = 128
    """Random images of the newest checkpoint scored in one later round; 0 looks at none."""
    traversal_steps: int = 5
    """Positions of a node in one traversal."""
    round_every_s: float = 20.0
    """Seconds between the starts of two rounds."""
    max_in_flight: int = 4
    """Requests the rescorer has under way at a time."""
    min_digit_mass: float = 0.5
    """An answer with less probability on the digits is missing."""

    def __post_init__(self) -> None:
        _one_of("scoring.scorer", self.scorer, ("vllm", "none"))
        _one_of("scoring.estimator", self.estimator, ("expected_table", "most_likely", "rounded", "expectation"))
        _one_of("scoring.policy", self.policy, ("value", "round_robin", "uniform", "everything"))
        counts = ("max_replicas", "max_ongoing_requests", "batch_questions", "initial_images", "max_in_flight")
        for name in (*counts, "wordings", "tensor_parallel"):
            _check(getattr(self, name) >= 1, f"scoring.{name}={getattr(self, name)} must be at least 1")
        for name in ("questions_per_minute", "answers_bytes", "price_per_million_tokens", "price_per_hour"):
            _check(getattr(self, name) >= 0, f"scoring.{name}={getattr(self, name)} must not be negative")
        for name in ("round_images", "traversal_images", "sample_images"):
            _check(getattr(self, name) >= 0, f"scoring.{name}={getattr(self, name)} must not be negative")
        _check(
            0 <= self.min_replicas <= self.max_replicas,
            f"scoring.min_replicas={self.min_replicas} must lie between 0 and scoring.max_replicas={self.max_replicas}",
        )
        _check(
            self.tensor_parallel in (1, self.num_gpus),
            f"scoring.tensor_parallel={self.tensor_parallel} must be scoring.num_gpus={self.num_gpus:g}, or 1",
        )
        _check(
            self.target_ongoing_requests > 0,
            f"scoring.target_ongoing_requests={self.target_ongoing_requests} must be positive",
        )
        for name in ("upscale_delay_s", "downscale_delay_s", "max_model_len"):
            _check(getattr(self, name) >= 0, f"scoring.{name}={getattr(self, name)} must not be negative")
        _check(self.traversal_steps >= 2, f"scoring.traversal_steps={self.traversal_steps} must be at least 2")
        _check(self.deadline_s > 0, f"scoring.deadline_s={self.deadline_s} must be positive")
        _check(0 <= self.min_digit_mass <= 1, f"scoring.min_digit_mass={self.min_digit_mass} must lie in [0, 1]")
        _check(
            self.max_in_flight <= self.max_ongoing_requests * self.max_replicas + self.max_queued_requests,
            f"scoring.max_in_flight={self.max_in_flight} is more than max_ongoing_requests * max_replicas + "
            f"max_queued_requests = {self.max_ongoing_requests * self.max_replicas + self.max_queued_requests}",
        )


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
            _check(getattr(self, name) >= 1, f"pretrain.{name}={getattr(self, name)} must be at least 1")
        _check(self.learning_rate > 0, f"pretrain.learning_rate={self.learning_rate} must be positive")


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
        _one_of("check.split", self.split, ("all", "train", "valid", "test"))
        _check(self.images >= 0, f"check.images={self.images} must not be negative; 0 takes all photographs")
        _check(
            self.images > 0 or self.source != "faces", "check.images=0 with check.source=faces: say how many to draw"
        )


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
        _check(self.images >= 0, f"scan.images={self.images} must not be negative; 0 takes all")
        for name in ("part_images", "workers"):
            _check(getattr(self, name) >= 1, f"scan.{name}={getattr(self, name)} must be at least 1")


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
        _check(self.images >= 2, f"naming.images={self.images} must be at least 2: one image has no standard error")
        _check(self.steps >= 3, f"naming.steps={self.steps} must be at least 3, or chance can do as well")
        _check(self.described >= 0, f"naming.described={self.described} must not be negative")


@dataclass(kw_only=True)
class GatewayConfig:
    """``jobs.gateway``: scores and relations of a run over HTTP, for people outside the cluster."""

    host: str = "127.0.0.1"
    """Address to listen on; another than this machine's own needs a proxy with TLS before it."""
    port: int = 8700
    """Port to listen on; 0 takes a free one."""
    authentication: bool = True
    """Ask for a bearer token; false is refused where ``host`` is not this machine's own."""
    token_file: str | None = None
    """File of the token, made where it is missing; None takes one in the user's state folder. GEM_RAY_TOKEN wins."""
    requests_per_minute: int = 120
    """Requests one address may make a minute, on average and in a burst."""
    max_under_way: int = 16
    """Requests that are worked on at a time; more are refused with 503."""
    max_body_bytes: int = 16_000_000
    """A larger request is refused, before it is read to its end."""
    max_pixels: int = 16_000_000
    """An image of more pixels is refused by its header, before decoding."""
    max_images: int = 64
    """Images of one request."""
    max_attributes: int = 64
    """Attributes of one request."""

    def __post_init__(self) -> None:
        counts = ("requests_per_minute", "max_under_way", "max_body_bytes", "max_pixels", "max_attributes")
        for name in counts:
            _check(getattr(self, name) >= 1, f"gateway.{name}={getattr(self, name)} must be at least 1")
        _check(self.max_images >= 2, f"gateway.max_images={self.max_images} must be at least 2: a relation needs two")
        _check(0 <= self.port < 65_536, f"gateway.port={self.port} must lie between 0 and 65535")
        _check(
            self.authentication or self.host in LOOPBACK_HOSTS,
            f"gateway.authentication=false needs gateway.host to be one of {', '.join(LOOPBACK_HOSTS)}, not "
            f"{self.host!r}: others could reach it",
        )


@dataclass(kw_only=True)
class RunConfig:
    """Where a run lives, and the Ray it uses."""

    name: str = "faces"
    """Name of the run; the same name resumes it."""
    uri: str = "runs"
    """Folder of all runs: a path, ``file://`` or ``s3://``."""
    address: str | None = None
    """Ray cluster to join; None starts a local Ray, or uses RAY_ADDRESS."""

    def __post_init__(self) -> None:
        _check(
            RUN_NAME.fullmatch(self.name) is not None,
            f"run.name={self.name!r} must be 1-64 letters, digits, dots, dashes or underscores",
        )


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

    def __post_init__(self) -> None:
        _check(
            self.data.batch_size % self.train.num_workers == 0,
            f"data.batch_size={self.data.batch_size} must be a multiple of train.num_workers={self.train.num_workers}",
        )
        _check(
            self.objective.align_batch % self.train.num_workers == 0,
            f"objective.align_batch={self.objective.align_batch} must be a multiple of "
            f"train.num_workers={self.train.num_workers}",
        )
