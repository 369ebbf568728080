"""Where rank 0's poller gets its relations: the store's newest DisGraph and the score table it names."""

from __future__ import annotations

from gem_ray.config import GemConfig
from gem_ray.graph.disgraph import DisGraph
from gem_ray.graph.store import connect_store
from gem_ray.graph.variants import variant
from gem_ray.scoring.rescoring.rescorer_client import rescorer_status
from gem_ray.scoring.rescoring.scores import read_scores
from gem_ray.storage import Storage
from gem_ray.train.relation_feed import RelationPoller, Relations, standardize, without_scores

DEADLINE_S = 10.0


def load_relations(run: Storage, graph: DisGraph) -> Relations:
    """A graph with the standardised scores it names; without any where no scan stands behind it."""
    if graph.scores is None:
        return without_scores(graph)
    table = read_scores(run, graph.scores)
    return Relations(graph, table.index, standardize(table.expectations))


def start_poller(config: GemConfig, run: Storage, version: int) -> RelationPoller:
    """A poller of the run's store and rescorer, started on ``version``."""
    store = connect_store(config.run.name)

    def fetch(newer_than: int) -> Relations | None:
        graph = store.snapshot(newer_than=newer_than, deadline_s=DEADLINE_S)
        return None if graph is None else load_relations(run, variant(graph, config.graph.relations, config.train.seed))

    return RelationPoller(
        fetch,
        lambda: rescorer_status(config.run.name, DEADLINE_S) if config.scoring.scorer == "vllm" else None,
        version,
        config.graph.poll_every_s,
    )
