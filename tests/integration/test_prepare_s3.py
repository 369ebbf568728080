"""``prepare`` from S3 to S3, over HTTP to a server on loopback, and what is said when S3 cannot be used."""

from __future__ import annotations

import io
import zipfile

import pytest
import s3fs
from PIL import Image

from gem_ray.config import DataConfig, GemConfig, PrepareConfig, StorageConfig
from gem_ray.data.manifest import read_manifest
from gem_ray.data.prepare import prepare
from gem_ray.data.shards import read_records
from gem_ray.errors import DataError, StorageError
from gem_ray.storage import Storage
from kit.proxy import fault_proxy

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("s3_credentials", "ray_4_cpus")]


def make_config(target: str, storage: StorageConfig, source: str = "faces", num_images: int = 16) -> GemConfig:
    wanted = PrepareConfig(source=source, num_images=num_images, image_size=16)
    return GemConfig(data=DataConfig(uri=target), prepare=wanted, storage=storage)


def images(count: int) -> dict[str, bytes]:
    made = {}
    for number in range(count):
        buffer = io.BytesIO()
        Image.new("RGB", (32, 32), (8 * number, 60, 90)).save(buffer, "PNG")
        made[f"{number:03d}.png"] = buffer.getvalue()
    return made


def test_a_folder_and_a_zip_in_s3_are_prepared_into_s3(s3_bucket):
    bucket, config = s3_bucket
    made = images(24)
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in made.items():
            archive.writestr(name, data)
            Storage(f"{bucket}/images", config).write_bytes(name, data)
    Storage(f"{bucket}/images", config).write_bytes("empty.jpg", b"")
    Storage(bucket, config).write_bytes("images.zip", packed.getvalue())

    with pytest.raises(DataError, match=r"1 of 25 images \(4\.0%\) cannot be used.*1 empty"):
        prepare(make_config(f"{bucket}/folder", config, source=f"{bucket}/images", num_images=0))
    Storage(f"{bucket}/images", config).delete("empty.jpg")
    Storage(bucket, config).delete("folder")

    folder = prepare(make_config(f"{bucket}/folder", config, source=f"{bucket}/images", num_images=0))
    zipped = prepare(make_config(f"{bucket}/zipped", config, source=f"{bucket}/images.zip", num_images=0))
    assert folder.manifest.count == zipped.manifest.count == 24
    assert [shard.sha256 for shard in folder.manifest.shards] == [shard.sha256 for shard in zipped.manifest.shards]

    target = Storage(f"{bucket}/folder", config)
    records = read_records(target, read_manifest(target), 0, 24)
    assert sorted(records.images[:, 0, 0, 0].tolist()) == [8 * number for number in range(24)]
    assert "progress" not in {name.split("/")[0] for name in target.list()}
    again = prepare(make_config(f"{bucket}/folder", config, source=f"{bucket}/images", num_images=0))
    assert str(again).startswith("already complete")


def test_a_server_with_faults_gives_the_same_data_and_no_bad_image(s3_bucket, s3_url):
    bucket, config = s3_bucket
    for name, data in images(40).items():
        Storage(f"{bucket}/images", config).write_bytes(name, data)
    clean = prepare(make_config(f"{bucket}/clean", config, source=f"{bucket}/images", num_images=0))
    with fault_proxy(s3_url, seed=1, slow_down=0.2, cut=0.25) as proxy:
        through = StorageConfig(endpoint_url=proxy.url, attempts=10)
        faulty = prepare(make_config(f"{bucket}/faulty", through, source=f"{bucket}/images", num_images=0))
        assert min(proxy.counts["slow_down"], proxy.counts["cut"]) > 3, f"too few faults: {proxy.counts}"
        assert faulty.manifest.num_skipped == 0
        assert faulty.manifest.shards == clean.manifest.shards
        target = Storage(f"{bucket}/faulty", through)
        assert read_records(target, read_manifest(target), 0, 40).images.shape == (40, 16, 16, 3)


@pytest.mark.parametrize("missing", ["source", "target"])
def test_a_missing_bucket_is_named_with_the_endpoint(s3_bucket, missing):
    bucket, config = s3_bucket
    target = "s3://no-such-bucket/data" if missing == "target" else f"{bucket}/data"
    source = "s3://no-such-bucket/images" if missing == "source" else "faces"
    with pytest.raises(StorageError, match=r"s3://no-such-bucket/.*no such bucket at endpoint http://127\.0\.0\.1"):
        prepare(make_config(target, config, source=source))


def test_missing_credentials_come_with_the_remedy(s3_bucket, monkeypatch, tmp_path):
    bucket, config = s3_bucket
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    s3fs.S3FileSystem.clear_instance_cache()
    with pytest.raises(StorageError, match=r"no credentials; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"):
        prepare(make_config(f"{bucket}/data", config))


def test_a_server_that_does_not_answer_is_named():
    config = StorageConfig(endpoint_url="http://127.0.0.1:9", anonymous=True, attempts=1)
    with pytest.raises(StorageError, match=r"try 1 of 1, endpoint http://127\.0\.0\.1:9.*check"):
        prepare(make_config("s3://bucket/data", config))
