"""A DisGraph as one line of strict JSON, floats to the last bit, and back with every type checked."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from typing import TYPE_CHECKING

from gem_ray.errors import GraphError
from gem_ray.graph.encoding import decode_array, encode_array
from gem_ray.graph.layers import Layer
from gem_ray.graph.legacy import layers_of_schema_1
from gem_ray.messages.graph import EvidenceKind, ScoresRef
from gem_ray.typed_json import parse_json, typed

if TYPE_CHECKING:
    from gem_ray.graph.disgraph import DisGraph

SCHEMA = 2


def encode_graph(graph: DisGraph) -> str:
    """See ``DisGraph.to_json``."""
    content = {
        "schema": SCHEMA,
        "attributes": graph.attributes,
        "version": graph.version,
        "strength": encode_array(graph.strength),
        "layers": {kind.value: graph.layers[kind].to_content() for kind in EvidenceKind},
        "scores": None if graph.scores is None else asdict(graph.scores),
    }
    return json.dumps(content, allow_nan=False, separators=(",", ":"))


def decode_graph(text: str, build: Callable[..., DisGraph]) -> DisGraph:
    """See ``DisGraph.from_json``.

    Args:
        build: makes the graph of its fields

    Raises:
        GraphError: not the text of a graph, or values that break its rules
    """
    try:
        content = parse_json(text)
        schema = content.pop("schema")
        if schema == 1:
            content["layers"] = layers_of_schema_1(content)
        elif schema == SCHEMA:
            layers = content["layers"].items()
            content["layers"] = {EvidenceKind(kind): Layer.from_content(layer) for kind, layer in layers}
        else:
            raise ValueError(f"it is of schema {schema!r}, this program reads 1 and {SCHEMA}")
        content["strength"] = decode_array(content["strength"])
        content["attributes"] = typed(tuple[str, ...], content["attributes"], "attributes")
        content["scores"] = typed(ScoresRef | None, content["scores"], "scores")  # type: ignore[arg-type]
        return build(**content)
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError) as error:
        raise GraphError(f"not the text of a DisGraph: {type(error).__name__}: {error}") from error
