"""``jobs.check_mllm`` as a person runs it, and the nano model's relations, both through a real vLLM engine."""

from __future__ import annotations

import asyncio
import io
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gem_ray.config import StorageConfig
from gem_ray.data.faces import ATTRIBUTES, face
from gem_ray.evaluation.relations import agreement
from gem_ray.graph.relations import relations_from_scores, relations_from_values
from gem_ray.scoring.asking.model_files import unfit_for
from gem_ray.scoring.asking.prompts import NUM_DIGITS
from gem_ray.scoring.asking.questions import Questioner
from gem_ray.scoring.asking.vllm_scorer import VLLMScorer
from gem_ray.scoring.checking.checks import read_checks
from gem_ray.storage import Storage

ROOT = Path(__file__).parents[2]
SEED = 990_021  # no lesson and no default data set uses it


def make_labelled_faces(folder: Path, count: int) -> None:
    """Drawn faces in CelebA's layout: true labels of makeup, random ones of everything else that is asked about."""
    (folder / "img_align_celeba").mkdir(parents=True)
    rng = np.random.default_rng(SEED)
    lines = [str(count), "Heavy_Makeup Male"]
    for index in range(count):
        image, attributes = face(SEED, index, 80)
        Image.fromarray(image).save(folder / "img_align_celeba" / f"{index:06d}.jpg", quality=95)
        made_up = attributes[ATTRIBUTES.index("makeup")] > 0
        lines.append(f"{index:06d}.jpg {1 if made_up else -1} {rng.choice([-1, 1])}")
    (folder / "list_attr_celeba.txt").write_text("\n".join(lines))


@pytest.mark.vllm
@pytest.mark.slow
@pytest.mark.timeout(400)
def test_a_model_that_tells_one_of_two_attributes_is_called_unfit_by_name(tmp_path: Path) -> None:
    make_labelled_faces(tmp_path / "photos", 80)
    options = [
        f"check.source={tmp_path / 'photos'}",
        f"check.output={tmp_path / 'checks'}",
        "check.attributes=[makeup,male:Male]",
    ]
    job = subprocess.run(
        [sys.executable, "-m", "jobs.check_mllm", *options], cwd=ROOT, capture_output=True, text=True, timeout=380
    )
    assert job.returncode == 2, job.stderr
    assert "it tells male no better than by chance" in job.stderr
    assert "male *" in job.stdout
    assert "makeup *" not in job.stdout

    folder = Storage(str(tmp_path / "checks"), StorageConfig())
    (check,) = read_checks(folder)
    assert check.at_chance == ("male",)
    assert (check.num_questions, check.image_size) == (160, 64)
    (plot,) = (name for name in folder.list() if name.endswith(".png"))
    assert Image.open(io.BytesIO(folder.read_bytes(plot))).size[0] > 1000
    warning = unfit_for("nano", str(tmp_path / "photos" / "img_align_celeba"), ["male", "makeup"], folder)
    assert warning is not None
    assert "told male no better" in warning
    assert unfit_for("nano", str(tmp_path / "photos"), ["makeup"], folder) is None


@pytest.mark.vllm
@pytest.mark.slow
@pytest.mark.timeout(900)
def test_relations_of_the_nano_models_answers_are_those_of_the_faces() -> None:
    faces = [face(SEED, index) for index in range(1_500)]
    images, values = np.stack([image for image, _ in faces]), np.stack([attributes for _, attributes in faces])

    async def ask() -> np.ndarray:
        scorer = VLLMScorer("nano", min_digit_mass=0.5, deadline_s=300.0)
        try:
            questioner = Questioner(scorer, batch_questions=48, max_in_flight=4)
            answers = await questioner.ask(images, ATTRIBUTES)
        finally:
            scorer.shutdown()
        rows = [answer.probabilities or (np.nan,) * NUM_DIGITS for answer in answers]
        return np.array(rows).reshape(len(images), len(ATTRIBUTES), NUM_DIGITS)

    strength = relations_from_scores(asyncio.run(ask()), "expected_table").strength
    found = agreement(strength, relations_from_values(values).strength)
    assert found.mean_absolute_difference is not None
    assert found.mean_absolute_difference <= 0.02
    assert found.sign_agreement == 1.0
    assert found.direction_agreement == 1.0
