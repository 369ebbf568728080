"""The driver of a run: data, DisGraph store, scorer and rescorer, Ray Train, report. Everything it starts it ends."""

from __future__ import annotations

import time
from contextlib import ExitStack
from typing import Any

import pyarrow.fs
import ray.train
from ray.train.torch import TorchConfig

from gem_ray.absolute_paths import with_absolute_paths
from gem_ray.checkpoint import newest_whole_step
from gem_ray.config import GemConfig, ScoringConfig
from gem_ray.config_json import config_to_json
from gem_ray.data.drawn import DRAWN
from gem_ray.data.loader import build_datasets
from gem_ray.data.manifest import has_manifest, read_manifest
from gem_ray.data.prepare import prepare
from gem_ray.errors import DataError
from gem_ray.evaluation.facts import Summary
from gem_ray.graph.disgraph import DisGraph
from gem_ray.graph.store import StoreClient, start_store
from gem_ray.placement import label_selector
from gem_ray.scoring.asking.model_files import unfit_for
from gem_ray.scoring.asking.prompts import validate_attributes
from gem_ray.scoring.given import publish_given_scores
from gem_ray.storage import Storage
from gem_ray.structured_log import say
from gem_ray.train.elastic import ElasticTrainer
from gem_ray.train.failures import StopOnOwnErrors, StopOnRepeats, fit, interrupts_as_keyboard
from gem_ray.train.links import say_links
from gem_ray.train.ray_session import ray_session
from gem_ray.train.restarts import CountRestarts, EndFailedGroupsSoon
from gem_ray.train.run_lock import run_lock
from gem_ray.train.same_run import check_same_run
from gem_ray.train.worker import train_worker

COLLECTIVE_TIMEOUT_S = 120


def train(config: GemConfig, start_graph: DisGraph | None = None) -> Summary:
    """Run, or resume, the whole loop and write the report.

    Args:
        start_graph: the DisGraph a new run starts with; None starts without relations

    Raises:
        GemRayError: anything a person can mend, with cause, value and remedy
        KeyboardInterrupt: Ctrl-C, after everything that was started has ended
    """
    validate_attributes(config.model.attributes)  # before anything is written
    config = with_absolute_paths(config)
    run, data = run_storage(config), Storage(config.data.uri, config.storage)
    with run_lock(run):
        reach_last_step(config, run, data, start_graph)
        say("trained; measuring the model and writing its report")
        from gem_ray.evaluation.report import format_summary, write_report  # seconds that no start has to wait for

        summary = write_report(run, data, config)
    say(format_summary(summary))
    return summary


def reach_last_step(config: GemConfig, run: Storage, data: Storage, start_graph: DisGraph | None = None) -> None:
    """Train to ``train.steps`` from where the run is, without a report; the caller holds the run's lock.

    Args:
        config: with absolute paths

    Raises:
        as ``train``
    """
    validate_attributes(config.model.attributes)
    check_same_run(config, run, data)
    with ray_session(config):
        ensure_data(config, data)
        done = newest_whole_step(run) or 0
        if done >= config.train.steps:
            say(f"run {run.uri} is complete at step {done}; raise train.steps to go on")
        else:
            say(f"{'resuming from step ' + str(done) if done else 'starting'}: {run.uri}")
            say_links(config, run)
            run_training(config, run, data, start_graph)


def run_storage(config: GemConfig) -> Storage:
    """The folder of this run."""
    return Storage(f"{config.run.uri}/{config.run.name}", config.storage)


def ensure_data(config: GemConfig, data: Storage) -> None:
    """Draw the images where they are missing; other data must have been prepared.

    Raises:
        DataError: no manifest at ``data.uri``, or fewer images than one step needs
    """
    if not has_manifest(data):
        if config.prepare.source not in DRAWN:
            raise DataError(
                f"no prepared data at data.uri={config.data.uri}: "
                "run python -m jobs.prepare with the same options first"
            )
        say(f"drawing {config.prepare.num_images:,} images of {config.prepare.source} to {data.uri}")
        prepare(config)
    manifest = read_manifest(data)
    side = manifest.shape[0]
    say(f"data: {manifest.count:,} images of {side} x {side} from {manifest.source}, {config.data.holdout} held out")
    warning = doubt_about_mllm(config, manifest.source)
    if warning:
        say(f"WARNING: {warning}")


def doubt_about_mllm(config: GemConfig, data_source: str) -> str | None:
    """Why the MLLM that was chosen will tell nothing about these data; None where nothing is known against it."""
    model = config.scoring.model
    if config.scoring.scorer == "vllm":
        checks = Storage(config.check.output, config.storage)
        return unfit_for(model, data_source, config.model.attributes, checks)
    if model != ScoringConfig.model:
        return (
            f"scoring.model={model} will be asked nothing, since scoring.scorer={config.scoring.scorer}; "
            "set scoring.scorer=vllm"
        )
    return None


def run_training(config: GemConfig, run: Storage, data: Storage, start_graph: DisGraph | None) -> None:
    """Start store, scorer and rescorer, train, and end them."""
    attributes = tuple(config.model.attributes)
    with ExitStack() as services:
        store = start_store(run, config.run.name, attributes, config.graph, config.placement.coordinators)
        services.callback(store.stop)
        if config.scoring.scorer == "vllm":
            # Here, for Ray Serve reads its environment as it is imported, see ``ray_environment``.
            from gem_ray.scoring.serving.service import scoring_service

            services.enter_context(scoring_service(config, run, data))
        elif config.scoring.scorer != "none":
            publish_given_scores(config, run, data, store)
        graph = start_graph or newest_graph(store, attributes)
        # More than once only where workers left behind a notice that Ray Train's controller had not seen yet.
        while (newest_whole_step(run) or 0) < config.train.steps:
            with interrupts_as_keyboard():
                fit(build_trainer(config, run, data, graph))


def build_trainer(config: GemConfig, run: Storage, data: Storage, graph: DisGraph) -> ElasticTrainer:
    """Ray Train's driver of the workers.

    Raises:
        DataError: damaged data, or fewer images than one batch
    """
    callbacks: list[Any] = [
        StopOnOwnErrors(),
        StopOnRepeats(config.train.max_failures),
        CountRestarts(config.run.name),
        EndFailedGroupsSoon(),
    ]
    return ElasticTrainer(
        train_worker,
        train_loop_config={"config": config_to_json(config), "graph": graph.to_json()},
        scaling_config=scaling(config),
        torch_config=TorchConfig(timeout_s=COLLECTIVE_TIMEOUT_S),
        run_config=ray.train.RunConfig(  # the stubs know Ray Train's first version only
            name=f"{config.run.name}-{int(time.time())}",
            storage_path=run.child("ray").root,
            storage_filesystem=pyarrow.fs.PyFileSystem(pyarrow.fs.FSSpecHandler(run.fs)),
            failure_config=ray.train.FailureConfig(max_failures=-1),  # StopOnRepeats counts
            callbacks=callbacks,
            logging_config=ray.train.LoggingConfig(log_level="WARNING"),  # type: ignore[call-arg]
        ),
        datasets=build_datasets(data, read_manifest(data), config),
        dataset_config=ray.train.DataConfig(datasets_to_split=[]),
    )


def newest_graph(store: StoreClient, attributes: tuple[str, ...]) -> DisGraph:
    """What the store holds already (a resumed run), else a graph without edges."""
    return store.snapshot(newer_than=None, deadline_s=30.0) or DisGraph.empty(attributes)


def scaling(config: GemConfig) -> ray.train.ScalingConfig:
    """Workers, what each reserves, and on which nodes."""
    resources = {"CPU": config.train.cpus_per_worker} | ({"GPU": 1.0} if config.train.use_gpu else {})
    low, high = config.train.min_workers or config.train.num_workers, config.train.num_workers
    options: dict[str, Any] = {  # the stubs know Ray Train's first version only
        "num_workers": high if low == high else (low, high),
        "label_selector": label_selector(config.placement.training),
        "elastic_resize_monitor_interval_s": config.train.grow_every_s,
    }
    return ray.train.ScalingConfig(use_gpu=config.train.use_gpu, resources_per_worker=resources, **options)
