"""What ``jobs.check_mllm`` found out about an MLLM, as it is kept: JSON by model and by the images it was asked about.

Checks of a model lie in the folder ``check.output``, and in a folder ``checks`` inside the model's own where it is
shipped with some. A model is fit for relations on such images where every attribute is told better than by chance.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from gem_ray.config import StorageConfig
from gem_ray.errors import DataError
from gem_ray.scoring.checking.agreement import Bin, Interval
from gem_ray.storage import Storage
from gem_ray.strict_json import strict_json
from gem_ray.typed_json import parse_json

SCHEMA_VERSION = 1
DRAWN = "faces"
"""The source of faces that the project draws; every other one is photographs."""
SHIPPED = "checks"


@dataclass(frozen=True, kw_only=True)
class AttributeCheck:
    """What was found out about one attribute; NaN where the images could not tell.

    Args:
        num_images, num_present: images with an answer and a known truth, and those of them that show the attribute
        rank_correlation: Spearman's of score and truth; on drawn faces the attribute runs evenly over [0, 1]
        auroc: of presence, on images in which the attribute occurs as often as it does
        accuracy_mid, accuracy_best: share rightly called present or absent at a score of 2.5, and at
            ``best_threshold``, which was chosen on the same images
        calibration_error: expected calibration error in digits, see ``agreement.calibration_error``
        mean_error: mean |score - truth| in digits, NaN where the truth is not graded
        zero_rate, failure_rate: see ``scoring.checking.rates``
        digit_mass: mean probability on the digits over all its questions
        reliability: what ``calibration_error`` sums up
    """

    name: str
    num_images: int
    num_present: int
    rank_correlation: Interval
    auroc: Interval
    accuracy_mid: float
    accuracy_best: float
    best_threshold: float
    calibration_error: float
    mean_error: float
    zero_rate: float
    failure_rate: float
    digit_mass: float
    reliability: tuple[Bin, ...]

    @property
    def at_chance(self) -> bool:
        """Whether the scores are not shown to be better than chance: an interval reaches .5, or 0, or is not known."""
        return not (self.auroc.low > 0.5 and self.rank_correlation.low > 0.0)


@dataclass(frozen=True, kw_only=True)
class Check:
    """One check of one model on one set of images.

    Args:
        model: as the option names it
        fingerprint: see ``model_files.model_fingerprint``
        source: ``faces``, or where the labelled photographs lie
        protocol: how was asked (prompt version, wordings, calibration)
        image_size: side of the images as they were shown, in pixels
        num_questions, questions_per_s: asked in all, and how fast
    """

    model: str
    fingerprint: str
    source: str
    protocol: str
    image_size: int
    num_questions: int
    questions_per_s: float
    attributes: tuple[AttributeCheck, ...]

    @property
    def at_chance(self) -> tuple[str, ...]:
        """Names of the attributes that the model cannot tell."""
        return tuple(attribute.name for attribute in self.attributes if attribute.at_chance)

    @property
    def file_name(self) -> str:
        """Where it is kept: by model and source."""
        readable = re.sub(r"[^A-Za-z0-9]+", "-", f"{self.model}-{self.source}".casefold()).strip("-")[-48:].strip("-")
        digest = hashlib.sha256(f"{self.fingerprint} {self.source}".encode()).hexdigest()[:8]
        return f"{readable}-{digest}.json"

    def to_json(self) -> str:
        """As it is kept; what is not known becomes null."""
        content = {"schema_version": SCHEMA_VERSION, "at_chance": list(self.at_chance), **asdict(self)}
        return strict_json(content, indent=1)

    @staticmethod
    def from_json(text: str | bytes, where: str) -> Check:
        """The inverse of ``to_json``.

        Raises:
            DataError: it is no check, or one of another schema version
        """
        try:
            content = parse_json(text)
            version = content.pop("schema_version")
            if version != SCHEMA_VERSION:
                raise DataError(
                    f"{where} has schema version {version!r}, this program reads {SCHEMA_VERSION}; run "
                    "python -m jobs.check_mllm again"
                )
            content.pop("at_chance")
            attributes = tuple(_attribute(entry) for entry in content.pop("attributes"))
            return Check(attributes=attributes, **content)
        except (ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
            raise DataError(
                f"{where} is not a check of an MLLM ({type(error).__name__}: {error}); run python -m jobs.check_mllm "
                "again, or delete it"
            ) from error


def write_check(folder: Storage, check: Check) -> str:
    """Keep a check in place of an earlier one of the same model and source; returns its name in the folder."""
    folder.write_bytes(check.file_name, check.to_json().encode())
    return check.file_name


def read_checks(folder: Storage) -> list[Check]:
    """All checks in a folder; none where there is no such folder."""
    names = [name for name in folder.list() if name.endswith(".json") and "/" not in name]
    return [Check.from_json(folder.read_bytes(name), f"{folder.uri}/{name}") for name in names]


def checks_of(fingerprint: str, model_folder: Path | None, folder: Storage | None) -> list[Check]:
    """Checks of a model: those shipped with it and those in ``folder``, where a newer one counts in their place.

    Args:
        fingerprint: of the model; where that is a hub id, since no revision is known here, checks of any revision count
    """
    shipped = read_checks(Storage(str(model_folder / SHIPPED), StorageConfig())) if model_folder else []
    kept = read_checks(folder) if folder else []
    by_source = {check.source: check for check in (*shipped, *kept) if fingerprint in (check.fingerprint, check.model)}
    return list(by_source.values())


def warning_about(
    checks: Sequence[Check], model: str, data_source: str, attributes: Sequence[str] | None
) -> str | None:
    """Why relations of such data are not to be believed; None where nothing is known against the model.

    A check on these very images decides; without one, checks on other images of the kind (drawn, or photographs) do.

    Args:
        data_source: ``source`` of the data's manifest
        attributes: those that matter, None for all
    """
    exact = [check for check in checks if _within(data_source, check.source)]
    alike = [check for check in checks if (check.source == DRAWN) == (data_source == DRAWN)]
    for check in exact or alike:
        names = [name for name in check.at_chance if attributes is None or name in attributes]
        if not names:
            continue
        areas = ", ".join(f"{entry.name} {entry.auroc.value:.2f}" for entry in check.attributes if entry.name in names)
        elsewhere = "" if check in exact else f" It was not checked on {data_source} itself."
        return (
            f"the MLLM {model} is unfit for relations on such images: on {check.source} it told {', '.join(names)} no "
            f"better than by chance (area under the ROC curve {areas}), so these relations mean nothing: give "
            f"scoring.model= a capable model, or leave the attributes out.{elsewhere} python -m jobs.check_mllm checks "
            "a model on labelled images"
        )
    return None


def _within(data_source: str, checked: str) -> bool:
    return data_source == checked or data_source.startswith(checked.rstrip("/") + "/")


def _attribute(entry: dict[str, object]) -> AttributeCheck:
    values = {name: math.nan if value is None else value for name, value in entry.items()}
    for name in ("rank_correlation", "auroc"):
        values[name] = Interval(**{key: math.nan if v is None else v for key, v in dict(values[name]).items()})  # type: ignore[call-overload]
    values["reliability"] = tuple(Bin(**part) for part in values["reliability"])  # type: ignore[attr-defined]
    return AttributeCheck(**values)  # type: ignore[arg-type]
