"""Images made to exhaust memory, decoded where there is none to spare: refused by the header, or a few megabytes.

The control decodes the same files as Pillow does without bounds, and runs out of memory.
"""

from __future__ import annotations

import gzip
import io
import json
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from kit.limits import run_with_memory

MEMORY = 1 << 30
MOST_MORE_MB = 64
SIDE = 20_000

DECODE = """
    import json, resource, sys
    from pathlib import Path
    from gem_ray.data.images import BadImageError, ImageShape, decode_image
    shape = ImageShape(size=64, crop=0, max_pixels=16_000_000)
    for path in sorted(Path({folder!r}).iterdir()):
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        try:
            said = str(decode_image(path.read_bytes(), shape).shape)
        except BadImageError as error:
            said = str(error.cause)
        more = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
        print(json.dumps([path.name, said, more]), flush=True)
"""
CONTROL = """
    from PIL import Image
    import numpy
    Image.MAX_IMAGE_PIXELS = None
    Image.open({path!r}).convert("RGB").resize((64, 64))
"""


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, *extra: bytes, pixels: bytes | None = None) -> bytes:
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    rows = zlib.compress(bytes((width + 1) * height)) if pixels is None else pixels
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(extra) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def real_bomb() -> bytes:
    """400 million pixels in half a megabyte."""
    packer, row = zlib.compressobj(9), bytes(SIDE + 1)
    rows = b"".join([packer.compress(row) for _ in range(SIDE)] + [packer.flush()])
    return png(SIDE, SIDE, pixels=rows)


def jpeg_of_claimed_size(width: int, height: int) -> bytes:
    data = saved(Image.new("RGB", (64, 64)), "JPEG")
    start = data.index(b"\xff\xc0")
    return data[: start + 5] + struct.pack(">HH", height, width) + data[start + 9 :]


def saved(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def bombs() -> dict[str, tuple[bytes, set[str]]]:
    """File by name, and what may be said of it."""
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8))
    zeros = zlib.compress(bytes(300_000_000), 9)
    frames = [Image.new("RGB", (1000, 1000), (number, 0, 0)) for number in range(40)]
    exif = b"Exif\0\0MM\0*\0\0\0\x08\xff\xff" + bytes(10_000_000)
    too_many, fine = {"too_many_pixels"}, {"(64, 64, 3)"}
    other = {"not_an_image"}
    return {
        "real.png": (real_bomb(), too_many),
        "claimed.png": (png(2**31 - 1, 2**31 - 1, pixels=b""), too_many | {"corrupt"}),
        "claimed.jpg": (jpeg_of_claimed_size(65_500, 65_500), too_many),
        "just_over.png": (png(4001, 4000), too_many),
        "text.png": (png(64, 64, chunk(b"zTXt", b"Comment\0\0" + zeros)), fine | {"corrupt"}),
        "profile.png": (png(64, 64, chunk(b"iCCP", b"icc\0\0" + zeros)), fine | {"corrupt"}),
        "exif.png": (png(64, 64, chunk(b"eXIf", exif[6:])), fine | {"corrupt"}),
        "longer_than_said.png": (png(64, 64, pixels=zeros), fine | {"corrupt"}),
        "frames.webp": (saved(frames[0], "WEBP", save_all=True, append_images=frames[1:]), fine),
        "frames.png": (saved(frames[0], "PNG", save_all=True, append_images=frames[1:]), fine),
        "really_gif.jpg": (saved(noise, "GIF"), other),
        "really_tiff.jpg": (saved(noise, "TIFF"), other),
        "really_ico.png": (saved(noise, "ICO"), other),
        "really_bmp.png": (saved(noise, "BMP"), other),
        "really_fits.jpg": (gzip.compress(b"SIMPLE  =                    T" + bytes(100_000_000)), other),
        "really_eps.jpg": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(x) run\n", other),
        "really_svg.png": (b'<svg xmlns="http://www.w3.org/2000/svg"><image href="http://127.0.0.1/"/></svg>', other),
        "honest.png": (saved(noise, "PNG"), fine),
    }


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bombs")
    for name, (data, _) in bombs().items():
        (folder / name).write_bytes(data)
    return folder


def test_no_image_takes_memory_that_an_honest_one_would_not(folder):
    done = run_with_memory(DECODE.format(folder=str(folder)), MEMORY)
    said = {name: (outcome, more) for name, outcome, more in map(json.loads, done.stdout.splitlines())}
    assert done.returncode == 0, f"{done.stderr[-2000:]} after {list(said)[-1:]}"
    wanted = {name: allowed for name, (_, allowed) in bombs().items()}
    assert said.keys() == wanted.keys()
    wrong = {name: outcome for name, outcome in said.items() if outcome[0] not in wanted[name]}
    assert not wrong
    greedy = {name: outcome for name, outcome in said.items() if outcome[1] > MOST_MORE_MB}
    assert not greedy


def test_control_without_bounds_a_bomb_takes_all_the_memory_there_is(folder):
    done = run_with_memory(CONTROL.format(path=str(folder / "real.png")), MEMORY)
    assert done.returncode != 0
    assert "MemoryError" in done.stderr
    assert run_with_memory(CONTROL.format(path=str(folder / "honest.png")), MEMORY).returncode == 0
