"""Checks of an MLLM: how they are kept, and when they warn."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest

from gem_ray.config import StorageConfig
from gem_ray.errors import DataError
from gem_ray.scoring.checking.agreement import Bin, Interval
from gem_ray.scoring.checking.checks import AttributeCheck, Check, checks_of, read_checks, warning_about, write_check
from gem_ray.storage import Storage

GOOD, BAD = Interval(0.9, 0.8, 0.95), Interval(0.52, 0.4, 0.6)


def make_attribute(name: str, area: Interval = GOOD) -> AttributeCheck:
    return AttributeCheck(
        name=name,
        num_images=100,
        num_present=30,
        rank_correlation=GOOD,
        auroc=area,
        accuracy_mid=0.8,
        accuracy_best=0.9,
        best_threshold=1.5,
        calibration_error=0.3,
        mean_error=math.nan,
        zero_rate=0.6,
        failure_rate=0.0,
        digit_mass=0.99,
        reliability=(Bin(0.5, 0.4, 60), Bin(4.5, 4.0, 40)),
    )


def make_check(source: str = "photos", beard: Interval = BAD, fingerprint: str = "m-1") -> Check:
    return Check(
        model="org/m",
        fingerprint=fingerprint,
        source=source,
        protocol="score-1/1",
        image_size=64,
        num_questions=200,
        questions_per_s=50.0,
        attributes=(make_attribute("male"), make_attribute("beard", beard)),
    )


@pytest.fixture
def folder(tmp_path: Path) -> Storage:
    return Storage(str(tmp_path / "checks"), StorageConfig())


def test_a_check_reads_as_it_was_written_and_replaces_the_last_of_its_source(folder: Storage):
    write_check(folder, make_check())
    newer = replace(make_check(), num_questions=7)
    write_check(folder, newer)
    (found,) = read_checks(folder)
    assert found.to_json() == newer.to_json()
    assert found.at_chance == ("beard",)
    assert found.attributes[0].reliability == newer.attributes[0].reliability
    assert math.isnan(found.attributes[0].mean_error)


@pytest.mark.parametrize("text", [b"[]", b"{", b'{"schema_version": 1}', b'{"schema_version": 9}'])
def test_a_damaged_or_foreign_check_is_refused_by_name(folder: Storage, text: bytes):
    folder.write_bytes("odd.json", text)
    with pytest.raises(DataError, match=r"odd\.json"):
        read_checks(folder)


def test_only_the_models_own_checks_count_and_a_kept_one_replaces_the_shipped_one(tmp_path: Path, folder: Storage):
    shipped = Storage(str(tmp_path / "model" / "checks"), StorageConfig())
    write_check(shipped, make_check("photos"))
    write_check(shipped, make_check("faces", GOOD))
    write_check(folder, make_check("photos", GOOD))
    write_check(folder, make_check("photos", BAD, fingerprint="another"))
    found = {check.source: check for check in checks_of("m-1", tmp_path / "model", folder)}
    assert set(found) == {"photos", "faces"}
    assert found["photos"].at_chance == ()


def test_a_model_of_the_hub_whose_revision_is_not_known_here_has_the_checks_of_any(folder: Storage):
    write_check(folder, replace(make_check("photos", fingerprint="org/m-ffffffffffffffff"), model="org/m"))
    write_check(folder, replace(make_check("faces", fingerprint="org/other"), model="org/other"))
    assert [check.source for check in checks_of("org/m", None, folder)] == ["photos"]
    assert [check.source for check in checks_of("org/m-0000000000000000", None, folder)] == []


def test_a_check_of_these_very_images_decides():
    checks = [make_check("data/a", BAD), make_check("data/b", GOOD)]
    warning = warning_about(checks, "org/m", "data/a/img_align_celeba", None)
    assert warning is not None
    assert "beard" in warning
    assert "male" not in warning
    assert "not checked on" not in warning
    assert warning_about(checks, "org/m", "data/b", None) is None


def test_without_one_a_check_of_other_photographs_warns_and_says_so():
    warning = warning_about([make_check("data/a", BAD)], "org/m", "photos.zip", None)
    assert warning is not None
    assert "was not checked on photos.zip" in warning
    assert warning_about([make_check("data/a", GOOD)], "org/m", "photos.zip", None) is None


def test_drawn_faces_say_nothing_about_photographs_nor_the_other_way_round():
    assert warning_about([make_check("faces", BAD)], "org/m", "photos.zip", None) is None
    assert warning_about([make_check("photos", BAD)], "org/m", "faces", None) is None


def test_attributes_that_the_run_has_not_do_not_matter():
    assert warning_about([make_check("photos", BAD)], "org/m", "photos", ["male", "smiling"]) is None
    assert warning_about([make_check("photos", BAD)], "org/m", "photos", ["beard"]) is not None
