"""Reading whichever file describes a cluster."""

from __future__ import annotations

from pathlib import Path

import yaml

from gem_ray.errors import ConfigError
from gem_ray.planning.launcher_file import read_launcher
from gem_ray.planning.nodes import ClusterShape
from gem_ray.planning.ray_cluster_manifest import HOLDERS, read_manifest_of_cluster


def read_cluster_file(path: str) -> ClusterShape:
    """The cluster of a launcher file, or of the first RayCluster, RayJob or RayService in a file of manifests.

    Raises:
        ConfigError: a file that cannot be read or holds no cluster
    """
    try:
        documents = [part for part in yaml.safe_load_all(Path(path).read_text(encoding="utf-8")) if part]
    except (OSError, yaml.YAMLError) as error:
        raise ConfigError(f"plan.cluster_file={path} cannot be read: {error}") from error
    kinds = []
    for document in documents:
        if not isinstance(document, dict):
            continue
        try:
            if "available_node_types" in document:
                return read_launcher(document, path)
            if document.get("kind") in HOLDERS:
                return read_manifest_of_cluster(document, path)
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise ConfigError(
                f"plan.cluster_file={path} lacks or mistypes {error}: is it a whole cluster file?"
            ) from error
        kinds.append(str(document.get("kind", "a document without kind")))
    raise ConfigError(
        f"plan.cluster_file={path} holds {', '.join(kinds) or 'nothing'}; give a file of the Ray launcher "
        f"(available_node_types) or a manifest of kind {', '.join(HOLDERS)}"
    )
