"""The store against a plain model, over sequences that Hypothesis finds: what was acknowledged is there, once.

The model is written without the store's code: dictionaries of floats, one a version. Its precision-weighted mean is the
textbook's formula, so strengths are compared to 1e-12 and everything else exactly.
"""

from __future__ import annotations

import copy
import math
import shutil
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from gem_ray.config import GraphConfig, StorageConfig
from gem_ray.errors import GemRayError, NotKeptError
from gem_ray.graph.actor import GraphStore
from gem_ray.graph.disgraph import DisGraph
from gem_ray.graph.journal import FileJournal, ObjectJournal
from gem_ray.messages.graph import EdgeUpdate, EvidenceKind, Push, Refusal
from gem_ray.storage import Storage

ATTRIBUTES = ("male", "beard", "bald")
CONFIG = GraphConfig(snapshot_every_pushes=3, max_staleness=4, keep_versions=7, max_change=0.5)
FOLLOWED = (EvidenceKind.SCORES, EvidenceKind.JUDGEMENTS)
PAIRS = [(a, b) for a in ATTRIBUTES for b in ATTRIBUTES if a != b]
SETTINGS = settings(
    derandomize=True,
    deadline=None,
    max_examples=5,
    stateful_step_count=20,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
values = st.floats(-1, 1)
errors = st.one_of(st.just(math.inf), st.just(0.0), st.floats(1e-3, 2))


def edge(pair: tuple[str, str], strength: float = 0.1, error: float = 0.1, count: int = 1) -> EdgeUpdate:
    return EdgeUpdate(source=pair[0], target=pair[1], strength=strength, standard_error=error, num_observations=count)


edges = st.lists(st.builds(edge, st.sampled_from(PAIRS), values, errors, st.integers(0, 9)), min_size=1, max_size=4)
REFUSED = [
    ((), Refusal.EMPTY),
    ((edge(("male", "male")),), Refusal.SELF_LOOP),
    ((edge(("male", "wings")),), Refusal.UNKNOWN_ATTRIBUTE),
    ((edge(("male", "bald"), math.nan),), Refusal.NOT_FINITE),
    ((edge(("male", "bald"), -math.inf),), Refusal.NOT_FINITE),
    ((edge(("male", "bald"), 0.1, math.nan),), Refusal.NOT_FINITE),
    ((edge(("male", "bald"), 1.5),), Refusal.OUT_OF_RANGE),
    ((edge(("male", "bald"), 0.1, -1.0),), Refusal.OUT_OF_RANGE),
    ((edge(("male", "bald"), 0.1, 0.1, -1),), Refusal.OUT_OF_RANGE),
    ((edge(("male", "bald")), edge(("male", "bald"))), Refusal.DUPLICATE_EDGE),
]


@dataclass
class Version:
    """What a version of the graph holds: strengths by pair, and value, error and evidence by kind and pair."""

    strength: dict[tuple[str, str], float] = field(default_factory=lambda: dict.fromkeys(PAIRS, 0.0))
    evidence: dict[tuple[EvidenceKind, str, str], tuple[float, float, str]] = field(default_factory=dict)


def wanted(version: Version, pair: tuple[str, str]) -> float:
    """Mean of scores and judgements by precision; one that has no finite error counts only where no other is there."""
    known = [version.evidence[kind, *pair][:2] for kind in reversed(FOLLOWED) if (kind, *pair) in version.evidence]
    exact = [value for value, error in known if error == 0.0]
    finite = [(value, error) for value, error in known if math.isfinite(error)]
    if exact:
        return sum(exact) / len(exact)
    if finite:
        weights = [1 / error**2 for _, error in finite]
        return sum(weight * value for weight, (value, _) in zip(weights, finite)) / sum(weights)
    return known[0][0] if known else 0.0


class StoreMachine(RuleBasedStateMachine):
    """Pushes, retries, nonsense, rollbacks, ends and restarts, in any order."""

    @initialize()
    def start(self) -> None:
        self.folder = Path(tempfile.mkdtemp())
        self.versions = [Version()]
        self.accepted: dict[str, tuple[int, Push]] = {}
        self.count = 0
        self.open()

    def open(self) -> None:
        self.store = GraphStore(Storage(str(self.folder), StorageConfig()), "run", ATTRIBUTES, CONFIG)

    @property
    def newest(self) -> int:
        return len(self.versions) - 1

    def make_push(self, content, kind, base_version) -> Push:
        self.count += 1
        name = f"p{self.count}"
        return Push(
            push_id=name, base_version=base_version, kind=kind, edges=tuple(content), evidence_id=f"{name}.json", step=1
        )

    @rule(content=edges, kind=st.sampled_from(EvidenceKind), lag=st.integers(0, 6))
    def push(self, content, kind, lag) -> None:
        content = list({(e.source, e.target): e for e in content}.values())
        push = self.make_push(content, kind, max(0, self.newest - lag))
        reply = self.store.push(push)
        if self.newest - push.base_version > CONFIG.max_staleness:
            assert (reply.applied, reply.refusal, reply.version) == (False, Refusal.STALE, self.newest)
            return
        version = copy.deepcopy(self.versions[-1])
        for e in content:
            pair = (e.source, e.target)
            version.evidence[kind, *pair] = (e.strength, e.standard_error, push.evidence_id)
            if kind in FOLLOWED:
                before = version.strength[pair]
                change = max(-CONFIG.max_change, min(CONFIG.max_change, wanted(version, pair) - before))
                version.strength[pair] = before + change
        self.versions.append(version)
        self.accepted[push.push_id] = (self.newest, push)
        assert (reply.applied, reply.duplicate, reply.version) == (True, False, self.newest)

    @rule(case=st.sampled_from(REFUSED), kind=st.sampled_from(EvidenceKind))
    def push_nonsense(self, case, kind) -> None:
        content, refusal = case
        reply = self.store.push(self.make_push(content, kind, self.newest))
        assert (reply.applied, reply.refusal, reply.version) == (False, refusal, self.newest)

    @rule(ahead=st.integers(1, 3))
    def push_on_a_version_that_is_not_there_yet(self, ahead) -> None:
        reply = self.store.push(self.make_push([edge(("male", "bald"))], EvidenceKind.SCORES, self.newest + ahead))
        assert (reply.applied, reply.refusal) == (False, Refusal.STALE)

    @precondition(lambda self: self.accepted)
    @rule(data=st.data())
    def push_again_what_was_accepted(self, data) -> None:
        version, push = self.accepted[data.draw(st.sampled_from(sorted(self.accepted)))]
        reply = self.store.push(push)
        if self.newest - version < CONFIG.keep_versions:
            assert (reply.applied, reply.duplicate, reply.version) == (True, True, version)
        else:  # its id may be forgotten, but then it is too old to be taken
            assert reply.duplicate or reply.refusal is Refusal.STALE

    @rule(back=st.integers(0, 12))
    def roll_back(self, back) -> None:
        self.count += 1
        version = max(0, self.newest - back)
        try:
            reply = self.store.rollback(f"r{self.count}", version)
        except NotKeptError:
            assert back >= CONFIG.keep_versions
            return
        self.versions.append(copy.deepcopy(self.versions[version]))
        assert (reply.applied, reply.version) == (True, self.newest)

    @rule()
    def be_killed(self) -> None:
        self.store._ready()
        self.store._journal.close()  # files are let go without a last snapshot, as the kernel does
        self.open()

    @rule()
    def end(self) -> None:
        self.store.close()
        self.open()

    @rule(back=st.integers(0, CONFIG.keep_versions - 1))
    def look_back(self, back) -> None:
        version = max(0, self.newest - back)
        self.agrees(self.store.at(version), version)

    @rule(back=st.integers(1, CONFIG.keep_versions - 1))
    def compare(self, back) -> None:
        version = max(0, self.newest - back)
        found = {(c.source, c.target) for c in self.store.diff(version, self.newest)}
        before, after = self.versions[version], self.versions[-1]
        kept = {kind: {k[1:]: v[0] for k, v in after.evidence.items() if k[0] is kind} for kind in EvidenceKind}
        lost = {kind: {k[1:]: v[0] for k, v in before.evidence.items() if k[0] is kind} for kind in EvidenceKind}
        differs = {pair for pair in PAIRS if any(kept[k].get(pair) != lost[k].get(pair) for k in EvidenceKind)}
        moved = {pair for pair in PAIRS if abs(before.strength[pair] - after.strength[pair]) > 1e-9}
        assert differs | moved <= found
        unmoved = {pair for pair in PAIRS if before.strength[pair] == after.strength[pair]} - differs
        assert not any(
            abs(c.strength_before - c.strength_after) > 1e-12
            for c in self.store.diff(version, self.newest)
            if (c.source, c.target) in unmoved
        )

    @rule(known=st.integers(0, 12))
    def ask_for_news(self, known) -> None:
        graph = self.store.snapshot(known)
        assert (graph is not None) == (self.newest > known)

    @invariant()
    def holds_what_was_acknowledged(self) -> None:
        if hasattr(self, "store"):
            self.agrees(self.store.snapshot(None), self.newest)

    def agrees(self, graph, version) -> None:
        model = self.versions[version]
        assert graph.version == version
        for source, target in PAIRS:
            i, j = graph.index(source), graph.index(target)
            assert graph.strength[i, j] == pytest.approx(model.strength[source, target], abs=1e-12)
            for kind, layer in graph.layers.items():
                value, error, evidence = model.evidence.get((kind, source, target), (math.nan, math.inf, ""))
                assert layer.value[i, j] == pytest.approx(value, abs=0, nan_ok=True)
                assert (layer.standard_error[i, j], layer.evidence[i][j]) == (error, evidence)

    def teardown(self) -> None:
        if hasattr(self, "store"):
            self.store.close()
            shutil.rmtree(self.folder)


@pytest.mark.parametrize("journal", ["files", "objects"])
def test_the_store_agrees_with_a_plain_model_over_any_sequence(journal, monkeypatch):
    if journal == "objects":
        monkeypatch.setattr("gem_ray.graph.actor.open_journal", ObjectJournal)
    run_state_machine_as_test(StoreMachine, settings=SETTINGS)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("journal", ["files", "objects"])
def test_the_store_agrees_with_a_plain_model_over_many_long_sequences(journal, monkeypatch):
    if journal == "objects":
        monkeypatch.setattr("gem_ray.graph.actor.open_journal", ObjectJournal)
    run_state_machine_as_test(StoreMachine, settings=settings(SETTINGS, max_examples=100, stateful_step_count=50))


@pytest.mark.parametrize("fault", ["forgets ids", "loses the last record", "does not clamp"])
def test_control_the_machine_finds_a_store_that(fault, monkeypatch):
    if fault == "forgets ids":
        accept = GraphStore._accept
        monkeypatch.setattr(GraphStore, "_accept", lambda self, *a: (accept(self, *a), self._applied.clear()))
    elif fault == "loses the last record":
        read = FileJournal.read
        monkeypatch.setattr(FileJournal, "read", lambda self, after: read(self, after)[:-1])
    else:
        apply = DisGraph.apply
        monkeypatch.setattr(DisGraph, "apply", lambda self, push, max_change: apply(self, push, 2.0))
    with pytest.raises((AssertionError, GemRayError)):
        run_state_machine_as_test(StoreMachine, settings=settings(SETTINGS, phases=[Phase.generate], max_examples=50))
