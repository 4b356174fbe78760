"""Image files of every number of channels and depth, and hostile ones."""

from __future__ import annotations

import random
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as np_st
from PIL import Image

from evaluators.data import pillow_images
from evaluators.data.images import RGB, PixelForm, fit_pixels, read_header, read_image
from evaluators.evaluator import DataError

RNG = np.random.default_rng(0)
COLOURS = RNG.integers(0, 256, (20, 30, 3), np.uint8)
SIX = RNG.integers(0, 65536, (20, 30, 6), np.uint16)


@given(
    np_st.arrays(
        np.uint8, np_st.array_shapes(min_dims=3, max_dims=3, min_side=3, max_side=40).map(lambda s: (*s[:2], 3))
    ),
    st.integers(16, 40),
)
def test_planes_are_resized_as_an_image_of_colours(pixels: Any, size: int) -> None:
    as_colours = np.asarray(Image.fromarray(pixels).resize((size, size), Image.Resampling.BILINEAR)).transpose(2, 0, 1)
    assert np.array_equal(fit_pixels(pixels, size, RGB, ""), as_colours)


def test_sixteen_bits_are_resized_as_eight() -> None:
    eight = fit_pixels(COLOURS, 16, RGB, "").astype(np.float64)
    sixteen = fit_pixels(COLOURS.astype(np.uint16) * 257, 16, PixelForm(3, "uint16"), "") / 257
    assert abs(eight - sixteen).max() <= 1  # 8 bits are rounded once across and once down


def saved(folder: Path, name: str, mode: str) -> Path:
    grey = Image.fromarray(COLOURS[..., 0])
    image = {
        "1": lambda: grey.convert("1"),
        "L": lambda: grey,
        "LA": lambda: grey.convert("LA"),
        "P": lambda: Image.fromarray(COLOURS).quantize(16),
        "RGB": lambda: Image.fromarray(COLOURS),
        "RGBA": lambda: Image.fromarray(np.dstack([COLOURS, COLOURS[..., :1]])),
        "I;16": lambda: Image.fromarray(SIX[..., 0]),
    }[mode]()
    image.save(folder / name)
    return folder / name


@pytest.mark.parametrize(
    ("name", "mode", "channels", "depth"),
    [
        ("a.png", "1", 1, "uint8"),
        ("a.png", "L", 1, "uint8"),
        ("a.png", "LA", 1, "uint8"),
        ("a.jpg", "L", 1, "uint8"),
        ("a.png", "P", 3, "uint8"),
        ("a.png", "RGB", 3, "uint8"),
        ("a.png", "RGBA", 3, "uint8"),
        ("a.bmp", "RGB", 3, "uint8"),
        ("a.webp", "RGB", 3, "uint8"),
        ("a.png", "I;16", 1, "uint16"),
        ("a.tif", "L", 1, "uint8"),
        ("a.tif", "1", 1, "uint8"),
        ("a.tif", "P", 3, "uint8"),
        ("a.tiff", "RGBA", 3, "uint8"),
        ("a.TIF", "I;16", 1, "uint16"),
    ],
)
def test_channels_and_depth_are_read_from_the_head(
    tmp_path: Path, name: str, mode: str, channels: int, depth: Any
) -> None:
    path = saved(tmp_path, name, mode)
    header = read_header(path)
    assert (header.width, header.height, header.channels, header.depth) == (30, 20, channels, depth)
    own, width, height = read_image(path, 16, PixelForm(channels, depth))
    assert (own.shape, own.dtype, width, height) == ((channels, 16, 16), depth, 30, 20)
    for form in (RGB, PixelForm(1, "uint8"), PixelForm(3, "uint16")):
        pixels, _, _ = read_image(path, 16, form)
        assert pixels.shape == (form.channels, 16, 16)
        assert str(pixels.dtype) == form.depth
        if channels == 1 and form.channels == 3:
            assert (pixels == pixels[0]).all()


def test_grey_of_colours_is_their_luminance(tmp_path: Path) -> None:
    Image.new("RGB", (20, 20), (100, 200, 50)).save(tmp_path / "a.png")
    for depth, scale in (("uint8", 1), ("uint16", 257)):
        pixels, _, _ = read_image(tmp_path / "a.png", 16, PixelForm(1, depth))  # type: ignore[arg-type]
        assert abs(pixels / scale - (0.299 * 100 + 0.587 * 200 + 0.114 * 50)).max() <= 1


LAYOUTS: dict[str, dict[str, Any]] = {
    "pages": {"data": SIX.transpose(2, 0, 1), "photometric": "minisblack"},
    "planes": {"data": SIX.transpose(2, 0, 1), "photometric": "minisblack", "planarconfig": "separate"},
    "interleaved": {"data": SIX, "photometric": "minisblack", "planarconfig": "contig"},
    "plain": {"data": SIX},
    "tiles": {"data": SIX, "photometric": "minisblack", "planarconfig": "contig", "tile": (16, 16)},
    "deflated": {"data": SIX, "photometric": "minisblack", "planarconfig": "contig", "compression": "zlib"},
    "deflated pages": {"data": SIX.transpose(2, 0, 1), "compression": "zlib"},
    "big": {"data": SIX, "bigtiff": True},
    "motorola": {"data": SIX, "byteorder": ">"},
    "imagej": {"data": SIX.transpose(2, 0, 1), "imagej": True, "metadata": {"axes": "CYX"}},
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_six_channels_however_a_tiff_has_them(tmp_path: Path, layout: str) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, **LAYOUTS[layout])
    header = read_header(path)
    assert (header.width, header.height, header.channels, header.depth) == (30, 20, 6, "uint16")
    pixels, width, height = read_image(path, 20, PixelForm(6, "uint16"))
    assert (width, height) == (30, 20)
    assert np.array_equal(pixels, fit_pixels(SIX, 20, PixelForm(6, "uint16"), ""))


def test_other_tiffs(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, (SIX[..., :4] / 65535).astype(np.float32), photometric="rgb", extrasamples=["unassalpha"])
    assert (read_header(path).channels, read_header(path).depth) == (3, "float32")
    assert read_image(path, 20, PixelForm(3, "float32"))[0].max() <= 1
    tifffile.imwrite(path, SIX[..., :4], photometric="rgb", extrasamples=["unspecified"])
    assert read_header(path).channels == 4  # a fourth band, such as near infrared
    tifffile.imwrite(path, SIX[None, :, :, 0] % 2 == 1)
    assert read_image(path, 20, PixelForm(1, "uint8"))[0].max() == 255
    Image.fromarray(COLOURS).save(path, compression="tiff_lzw")
    assert read_image(path, 16)[0].shape == (3, 16, 16)
    tifffile.imwrite(path, np.zeros((2, 3, 20, 30), np.uint8), photometric="minisblack")
    with pytest.raises(DataError, match="an array of 2 x 3 x 20 x 30, which is no image with channels"):
        read_header(path)


def test_channels_that_cannot_be_made_into_others(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", SIX)
    with pytest.raises(DataError, match=r"a.tif: 6 channels, other images 3"):
        read_image(tmp_path / "a.tif", 16, PixelForm(3, "uint16"))
    tifffile.imwrite(tmp_path / "a.tif", SIX.astype(np.float32))
    with pytest.raises(DataError, match=r"a.tif: its pixels are float32, those of other images uint16"):
        read_image(tmp_path / "a.tif", 16, PixelForm(6, "uint16"))


def test_pixels_that_are_no_numbers(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", np.array([[0.5, np.nan] * 20] * 20, np.float32))
    with pytest.raises(DataError, match=r"a.tif: a pixel is not a finite number"):
        read_image(tmp_path / "a.tif", 16, PixelForm(1, "float32"))


# -- hostile files ----------------------------------------------------------------------------------------------------


def test_tiffs_that_unpack_to_too_much_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, SIX, photometric="minisblack", planarconfig="contig", compression="zlib")
    with tifffile.TiffFile(path) as file:
        (offset,), (length,) = file.pages[0].dataoffsets, file.pages[0].databytecounts
    content = bytearray(path.read_bytes())
    bomb = zlib.compress(bytes(3_000_000), 9)
    assert len(bomb) <= length
    content[offset : offset + len(bomb)] = bomb
    path.write_bytes(content)
    with pytest.raises(DataError, match="unpacks to more bytes than its pixels have"):
        read_image(path, 16, PixelForm(6, "uint16"))
    monkeypatch.setattr(pillow_images, "MAX_IMAGE_PIXELS", 500)
    with pytest.raises(DataError, match=r"30 x 20 px is over 500 px"):
        read_header(path)
    monkeypatch.setattr(pillow_images, "MAX_IMAGE_PIXELS", 1000)
    with pytest.raises(DataError, match="6 channels: "):
        read_header(path)


@pytest.mark.parametrize("layout", ["interleaved", "deflated", "pages", "plain"])
def test_broken_tiffs_are_data_errors(tmp_path: Path, layout: str) -> None:
    """Cut short, or with bytes changed: an image or a ``DataError``, nothing else."""
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, **LAYOUTS[layout])
    whole, rng = path.read_bytes(), random.Random(0)
    refused = 0
    for attempt in range(150):
        content = bytearray(whole)
        if attempt < 20:
            del content[rng.randrange(len(content)) :]
        for _ in range(rng.randrange(1, 6)):
            if content:
                content[rng.randrange(min(len(content), 400))] = rng.randrange(256)
        path.write_bytes(content)
        try:
            read_header(path)
            read_image(path, 16, PixelForm(6, "uint16"))
        except DataError as error:
            refused += str(path) in str(error)
    assert refused > 20


def test_what_is_named_as_an_image_and_is_none(tmp_path: Path) -> None:
    for name in ("a.tif", "a.png"):
        (tmp_path / name).write_bytes(b"GIF89a")
        with pytest.raises(DataError, match=rf"{name}: cannot be read"):
            read_header(tmp_path / name)
        with pytest.raises(DataError, match=rf"b{name}: cannot be read"):
            read_image(tmp_path / f"b{name}", 16)
