"""The MLLM in Ray Serve and the rescorer that asks it."""

from __future__ import annotations

from dataclasses import dataclass

from gem_ray.config.checks import check, one_of


@dataclass(kw_only=True)
class ScoringConfig:
    """The MLLM in Ray Serve, and the rescorer that asks it."""

    scorer: str = "vllm"
    """``vllm`` (Serve); ``stored``: the scores of ``scores_from``; ``labels``: the data's own, as digits, in place of
    an MLLM's (a supervised upper bound); or ``none``: train on the graph the run starts with."""
    scores_from: str = ""
    """With ``stored``: folder of a run whose MLLM has scored the same data, a path or a storage address."""
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
    wait_s: float = 60.0
    """Seconds a first step waits for the model once the workers are ready; then they train without it."""
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
    """Questions that later rounds may ask a minute; 0 sets no bound. One that is too small for any look at the model's
    own images is warned of."""
    answers_bytes: int = 256_000_000
    """Size of the run's store of answers; the oldest are dropped first, and 0 keeps none."""
    price_per_million_tokens: float = 0.0
    """Price of a million prompt tokens, in any currency; 0 where they are free."""
    price_per_hour: float = 0.0
    """Price of an hour of one replica, in the same currency."""
    round_images: int = 128
    """New data images scored in one later round; 0 scores none after the first scan."""
    traversal_images: int = 16
    """Start images of the traversals scored in one later round, fewer within a budget; 0 looks at none."""
    sample_images: int = 128
    """Random images of the newest checkpoint scored in one later round, fewer within a budget; 0 looks at none."""
    traversal_steps: int = 5
    """Positions of a node in one traversal."""
    round_every_s: float = 20.0
    """Seconds between the starts of two rounds."""
    max_in_flight: int = 4
    """Requests the rescorer has under way at a time."""
    min_digit_mass: float = 0.5
    """An answer with less probability on the digits is missing."""

    def __post_init__(self) -> None:
        one_of("scoring.scorer", self.scorer, ("vllm", "stored", "labels", "none"))
        check(
            (self.scorer == "stored") == bool(self.scores_from),
            f"scoring.scores_from={self.scores_from!r} goes with scoring.scorer=stored, which is {self.scorer!r}",
        )
        one_of("scoring.estimator", self.estimator, ("expected_table", "most_likely", "rounded", "expectation"))
        one_of("scoring.policy", self.policy, ("value", "round_robin", "uniform", "everything"))
        counts = ("max_replicas", "max_ongoing_requests", "batch_questions", "initial_images", "max_in_flight")
        for name in (*counts, "wordings", "tensor_parallel"):
            check(getattr(self, name) >= 1, f"scoring.{name}={getattr(self, name)} must be at least 1")
        for name in ("questions_per_minute", "answers_bytes", "price_per_million_tokens", "price_per_hour"):
            check(getattr(self, name) >= 0, f"scoring.{name}={getattr(self, name)} must not be negative")
        for name in ("round_images", "traversal_images", "sample_images"):
            check(getattr(self, name) >= 0, f"scoring.{name}={getattr(self, name)} must not be negative")
        check(
            0 <= self.min_replicas <= self.max_replicas,
            f"scoring.min_replicas={self.min_replicas} must lie between 0 and scoring.max_replicas={self.max_replicas}",
        )
        check(
            self.tensor_parallel in (1, self.num_gpus),
            f"scoring.tensor_parallel={self.tensor_parallel} must be scoring.num_gpus={self.num_gpus:g}, or 1",
        )
        check(
            self.target_ongoing_requests > 0,
            f"scoring.target_ongoing_requests={self.target_ongoing_requests} must be positive",
        )
        for name in ("upscale_delay_s", "downscale_delay_s", "max_model_len"):
            check(getattr(self, name) >= 0, f"scoring.{name}={getattr(self, name)} must not be negative")
        check(self.traversal_steps >= 2, f"scoring.traversal_steps={self.traversal_steps} must be at least 2")
        check(self.wait_s >= 0, f"scoring.wait_s={self.wait_s} must not be negative")
        check(self.deadline_s > 0, f"scoring.deadline_s={self.deadline_s} must be positive")
        check(0 <= self.min_digit_mass <= 1, f"scoring.min_digit_mass={self.min_digit_mass} must lie in [0, 1]")
        check(
            self.max_in_flight <= self.max_ongoing_requests * self.max_replicas + self.max_queued_requests,
            f"scoring.max_in_flight={self.max_in_flight} is more than max_ongoing_requests * max_replicas + "
            f"max_queued_requests = {self.max_ongoing_requests * self.max_replicas + self.max_queued_requests}",
        )

    @property
    def answerer(self) -> str:
        """Where scores come from, in words."""
        given = {"labels": "the data's own labels", "stored": f"the scores of {self.scores_from}", "none": "nobody"}
        return given.get(self.scorer, self.model)
