"""Writes the portraits of SFHQ-T2I (MIT licence) in CelebA's layout, for ``jobs.check_mllm``; not part of the package.

    python -m benchmarks.weak_labels FOLDER_OF_SFHQ_T2I OUTPUT_FOLDER

The set has no labels of its own, only the text query each picture was found by ("full beard", "long blond hair"). What
a query says of the paper's attributes stands in ``SAYS``; what it does not say is left unknown (0). Pictures that come
twice, under other queries or cut a little otherwise, get the labels of all of them and fall into one part.
"""

from __future__ import annotations

import csv
import hashlib
import io
import sys
import zipfile
from collections import defaultdict
from pathlib import Path

import numpy as np
from PIL import Image

from gem_ray.data.labelled import IMAGES, LABELS, PARTITION

ARCHIVE, QUERIES = "sfhq_t2i_montage_tiles_128.zip", "sfhq_t2i_labels.csv"
NAMES = ("Bald", "Male", "Beard", "Blond_Hair", "Heavy_Makeup")
MEN = ("male", "adult male", "elderly male", "middle-aged adult male", "teenage boy")
WOMEN = ("female", "adult female", "elderly female", "middle-aged adult female", "teenage girl")
BEARDS = ("full beard", "long white beard", "fashionable beard", "goatee")
FACIAL_HAIR = (*BEARDS, "mustache", "stubble", "shaved face", "sideburns")
BLOND = ("blonde hair", "yellow or blond hair", "long blond hair", "short blond hair")
COLOURED = (
    *("black hair", "blue hair", "brown hair", "gray hair", "green hair", "pink hair", "red hair"),
    *("purple or pink hair", "red or orange hair", "white or gray hair"),
    *(f"{length} {colour} hair" for length in ("long", "short") for colour in ("black", "red")),
)
CUTS = ("afro hairstyle", "bob-cut hairstyle", "curly hair", "high top hairstyle", "straight hair")
MADE_UP = ("heavy makeup", "lipstick", "red lipstick", "strong eyeliner", "traditional makeup")
SAYS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "Bald": (("bald",), (*BLOND, *COLOURED, *CUTS)),
    "Male": ((*MEN, *FACIAL_HAIR), (*WOMEN, *MADE_UP, "without makeup")),
    "Beard": (BEARDS, ("shaved face", *WOMEN, *MADE_UP, "without makeup")),
    "Blond_Hair": (BLOND, (*COLOURED, "bald")),
    "Heavy_Makeup": (MADE_UP, ("without makeup", *MEN, *FACIAL_HAIR)),
}
"""Queries that say an attribute is there, and those that say it is not."""
HASH_SIDE, ALIKE_BITS = 16, 20
TEST_SHARE = 0.5


def difference_hash(image: Image.Image) -> np.ndarray:
    """Which of neighbouring pixels of a small grey copy is brighter: bool [256], much the same for duplicates."""
    grey = np.asarray(image.convert("L").resize((HASH_SIDE + 1, HASH_SIDE), Image.Resampling.LANCZOS), np.int16)
    return (grey[:, 1:] > grey[:, :-1]).reshape(-1)


def near_duplicates(hashes: np.ndarray) -> np.ndarray:
    """Cluster of each picture, int [N]: pictures whose hashes differ in at most ``ALIKE_BITS`` bits belong together."""
    cluster = np.arange(len(hashes))
    for i in range(len(hashes)):
        for j in np.flatnonzero((hashes[i] != hashes[i + 1 :]).sum(axis=1) <= ALIKE_BITS) + i + 1:
            cluster[cluster == cluster[j]] = cluster[i]
    return cluster


def label(queries: set[str], name: str) -> int:
    """1, -1 or 0 of one attribute, from all queries a picture was found by; 0 too where they contradict each other."""
    there, absent = (bool(queries & set(said)) for said in SAYS[name])
    return int(there) - int(absent)


def write_layout(source: Path, target: Path) -> dict[str, tuple[int, int]]:
    """Write the folder; returns how many pictures show each attribute, and how many do not."""
    rows = list(csv.DictReader((source / QUERIES).open(newline="")))
    (target / IMAGES).mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(source / ARCHIVE) as archive:
        data = {row["file"]: archive.read(row["file"]) for row in rows}
    files = sorted(data)
    clusters = near_duplicates(np.stack([difference_hash(Image.open(io.BytesIO(data[file]))) for file in files]))
    cluster_of = dict(zip(files, clusters.tolist(), strict=True))
    queries: dict[int, set[str]] = defaultdict(set)
    first: dict[int, str] = {}
    for row in rows:
        cluster = cluster_of[row["file"]]
        queries[cluster].add(row["row_query"])
        first.setdefault(cluster, row["file"])
    lines: list[str] = []
    parts: list[str] = []
    counts = {name: [0, 0] for name in NAMES}
    for cluster, file in sorted(first.items()):
        labels = [label(queries[cluster], name) for name in NAMES]
        if not any(labels):
            continue
        name = f"{len(lines) + 1:06d}.jpg"
        (target / IMAGES / name).write_bytes(data[file])
        lines.append(f"{name} {' '.join(map(str, labels))}")
        # By the picture's bytes, so that no choice of ours decides which part a picture falls into.
        in_test = hashlib.sha256(data[file]).digest()[0] < 256 * TEST_SHARE
        parts.append(f"{name} {2 if in_test else 0}")
        for attribute, value in zip(NAMES, labels, strict=True):
            counts[attribute][0] += value > 0
            counts[attribute][1] += value < 0
    (target / LABELS).write_text("\n".join([str(len(lines)), " ".join(NAMES), *lines]) + "\n")
    (target / PARTITION).write_text("\n".join(parts) + "\n")
    return {name: (there, absent) for name, (there, absent) in counts.items()}


def main() -> None:
    """See the module's docstring."""
    source, target = (Path(argument) for argument in sys.argv[1:3])
    for name, (there, absent) in write_layout(source, target).items():
        print(f"{name}: {there} pictures show it, {absent} do not")


if __name__ == "__main__":
    main()
