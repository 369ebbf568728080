"""Decoding: good images of every kind become squares, bad ones are refused with their cause, bombs by their header."""

from __future__ import annotations

import resource
import struct
import subprocess
import sys
import textwrap
import zlib

import numpy as np
import pytest
from PIL import Image

from gem_ray.data.images import BadImageError, Cause, ImageShape, decode_image, fit_image

SHAPE = ImageShape(size=32, crop=0, max_pixels=1_000_000)


def png_of_claimed_size(width: int, height: int) -> bytes:
    """A PNG whose header promises more pixels than it holds."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b"\0" * 1000))
        + chunk(b"IEND", b"")
    )


def refusal(data: bytes, shape: ImageShape = SHAPE) -> BadImageError:
    with pytest.raises(BadImageError) as caught:
        decode_image(data, shape)
    return caught.value


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP"])
def test_every_format_becomes_the_same_square(format, picture, encoded):
    image = decode_image(encoded(picture(48, 80), format, quality=95), SHAPE)
    assert image.shape == (32, 32, 3)
    assert image.dtype == np.uint8
    # The centre square keeps the halves red and blue.
    assert image[:, :12, 0].mean() > 150 > 80 > image[:, 20:, 0].mean()
    assert image[:, 20:, 2].mean() > 150 > 80 > image[:, :12, 2].mean()
    assert (np.diff(image[..., 1].mean(axis=1)) > -1).all()


def test_the_crop_is_cut_from_the_centre(encoded):
    image = np.zeros((100, 120, 3), np.uint8)
    image[30:70, 40:80] = 255
    cropped = decode_image(encoded(image, "PNG"), ImageShape(size=20, crop=40, max_pixels=10**6))
    # The filter may look a pixel beyond the edge of the crop.
    assert (cropped[1:-1, 1:-1] == 255).all()
    assert cropped.min() > 200
    wider = decode_image(encoded(image, "PNG"), ImageShape(size=20, crop=80, max_pixels=10**6))
    assert wider[10, 10].tolist() == [255, 255, 255]
    assert wider[0].max() == 0


@pytest.mark.parametrize("crop", [0, 600])
def test_large_jpegs_decoded_at_reduced_scale_look_like_the_png(crop, picture, encoded):
    image, shape = picture(800, 900), ImageShape(size=32, crop=crop, max_pixels=10**6)
    difference = decode_image(encoded(image, "JPEG", quality=95), shape).astype(int) - decode_image(
        encoded(image, "PNG"), shape
    ).astype(int)
    # The hard edge between the halves may move by a fraction of a pixel.
    assert np.abs(difference).mean() < 3


@pytest.mark.parametrize(("orientation", "turned"), [(3, 2), (6, 3), (8, 1)])
def test_exif_orientation_turns_the_picture_upright(orientation, turned, picture, encoded):
    upright = picture(64, 64)
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = np.rot90(upright, -turned % 4)
    image = decode_image(encoded(np.ascontiguousarray(stored), "JPEG", quality=95, exif=exif.tobytes()), SHAPE)
    expected = decode_image(encoded(upright, "JPEG", quality=95), SHAPE)
    assert np.abs(image.astype(int) - expected.astype(int)).mean() < 4


def test_cmyk_jpegs_become_rgb(picture, encoded):
    image = decode_image(encoded(Image.fromarray(picture(64, 64)).convert("CMYK"), "JPEG", quality=95), SHAPE)
    assert image[:, :12, 0].mean() > 150 > 100 > image[:, 20:, 0].mean()


def test_16_bit_grey_is_scaled_and_not_clipped(encoded):
    ramp = np.tile(np.linspace(0, 65535, 64).astype(np.uint16), (64, 1))
    image = decode_image(encoded(Image.fromarray(ramp), "PNG"), SHAPE)
    assert image[0, :, 0] == pytest.approx(np.linspace(0, 255, 32), abs=6)
    assert (image[..., 0] == image[..., 1]).all()


def test_transparency_is_laid_over_white(encoded):
    transparent = np.zeros((40, 40, 4), np.uint8)
    assert (decode_image(encoded(Image.fromarray(transparent), "PNG"), SHAPE) == 255).all()


@pytest.mark.parametrize("mode", ["L", "P", "1", "LA"])
def test_other_modes_become_rgb(mode, picture, encoded):
    image = Image.fromarray(picture(64, 64)).convert("L").convert(mode)
    assert decode_image(encoded(image, "PNG"), SHAPE).shape == (32, 32, 3)


def test_no_bytes_are_refused_as_empty():
    assert refusal(b"").cause == Cause.EMPTY


@pytest.mark.parametrize("format", ["BMP", "GIF", "TIFF", "PPM", "ICO", "JPEG2000"])
def test_no_other_parser_is_tried(format, picture, encoded):
    error = refusal(encoded(picture(64, 64), format))
    assert error.cause == Cause.NOT_AN_IMAGE
    assert "not JPEG, PNG, WEBP" in error.detail


def test_text_is_refused_as_no_image():
    assert refusal(b"<html>not found</html>" * 20).cause == Cause.NOT_AN_IMAGE


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("share", [0.3, 0.6, 0.95])
def test_truncated_files_are_corrupt(format, share, encoded):
    noise = np.random.default_rng(0).integers(0, 256, (96, 96, 3), dtype=np.uint8)
    data = encoded(noise, format)
    assert refusal(data[: int(len(data) * share)]).cause == Cause.CORRUPT


def test_a_png_with_a_damaged_chunk_is_corrupt(encoded):
    noise = np.random.default_rng(0).integers(0, 256, (96, 96, 3), dtype=np.uint8)
    data = bytearray(encoded(noise, "PNG"))
    data[len(data) // 2] ^= 0xFF
    assert refusal(bytes(data)).cause == Cause.CORRUPT


@pytest.mark.parametrize(("width", "height"), [(1, 1), (7, 200)])
def test_tiny_images_are_refused(width, height, picture, encoded):
    error = refusal(encoded(picture(height, width), "PNG"))
    assert error.cause == Cause.TOO_SMALL
    assert f"{width} x {height}" in error.detail


def test_an_image_smaller_than_the_crop_is_refused(picture, encoded):
    shape = ImageShape(size=32, crop=100, max_pixels=10**6)
    assert refusal(encoded(picture(99, 200), "PNG"), shape).cause == Cause.TOO_SMALL


@pytest.mark.parametrize(("width", "height"), [(1001, 1000), (20_000, 20_000), (2**31 - 1, 2**31 - 1)])
def test_bombs_are_refused_by_their_header(width, height):
    assert refusal(png_of_claimed_size(width, height)).cause == Cause.TOO_MANY_PIXELS


def test_a_real_bomb_is_refused_without_its_memory(tmp_path, encoded):
    """400 million pixels in a file of half a megabyte, in a process that may not have them."""
    bomb = tmp_path / "bomb.png"
    bomb.write_bytes(encoded(Image.new("L", (20_000, 20_000)), "PNG"))
    program = f"""
        import resource
        from gem_ray.data.images import BadImageError, ImageShape, decode_image
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        try:
            decode_image(open({str(bomb)!r}, "rb").read(), ImageShape(size=64, crop=0, max_pixels=16_000_000))
        except BadImageError as error:
            print(error.cause, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
    """
    assert resource.RUSAGE_SELF == 0
    output = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True, check=True
    ).stdout.split()
    assert output[0] == Cause.TOO_MANY_PIXELS
    assert int(output[1]) < 64 * 1024, f"{output[1]} KiB more than before"


def test_arrays_are_fitted_like_files(picture):
    assert np.array_equal(fit_image(picture(32, 32), SHAPE), picture(32, 32))
    assert fit_image(picture(40, 64), SHAPE).shape == (32, 32, 3)
    with pytest.raises(BadImageError):
        fit_image(picture(4, 4), SHAPE)


def test_refusals_keep_cause_and_detail_when_raised(encoded, picture):
    error = refusal(encoded(picture(2, 2), "PNG"))
    assert isinstance(error, BadImageError)
    assert error.args == (error.cause, error.detail)
