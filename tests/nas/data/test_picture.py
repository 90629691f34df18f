"""What a picture says of itself is kept, and an odd one is a reason in words."""

import sys
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, UnidentifiedImageError

from nas.data.picture import PictureError, read_picture
from tests.nas.parts.pictures import encoded, picture


def saved(image: Image.Image, kind: str = "PNG", **how: object) -> bytes:
    stream = BytesIO()
    image.save(stream, kind, **how)
    return stream.getvalue()


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_the_turn_in_exif_data_is_applied(orientation: int, kind: str) -> None:
    upright = picture(0)
    # What a camera held that way has stored: the inverse of the turn, as EXIF numbers them.
    stored = {
        1: lambda x: x,
        2: lambda x: x[:, ::-1],
        3: lambda x: x[::-1, ::-1],
        4: lambda x: x[::-1],
        5: lambda x: x.transpose(1, 0, 2),
        6: lambda x: np.rot90(x),
        7: lambda x: np.rot90(x, 2).transpose(1, 0, 2),
        8: lambda x: np.rot90(x, -1),
    }[orientation](np.asarray(upright))
    exif = Image.Exif()
    exif[0x0112] = orientation

    pixels = read_picture(saved(Image.fromarray(stored.copy()), kind, exif=exif), 3)

    assert np.array_equal(pixels, np.asarray(upright))


@pytest.mark.parametrize("mode", ["RGBA", "LA", "PA", "P"])
@pytest.mark.parametrize("channels", [1, 3])
def test_transparency_is_composited_on_the_background(mode: str, channels: int) -> None:
    alpha = np.zeros((6, 5), np.uint8)
    alpha[:3] = 255
    image = Image.fromarray(np.full((6, 5), 40, np.uint8)).convert("RGB")
    image.putalpha(Image.fromarray(alpha))
    if mode == "P":  # a palette of which one colour is transparent
        indices = Image.fromarray((alpha == 0).astype(np.uint8))
        image = indices.convert("P")
        image.putpalette([40, 40, 40, 0, 0, 0])
        content = saved(image, transparency=1)
    else:
        content = saved(image.convert(mode), "TIFF" if mode == "PA" else "PNG")

    white = read_picture(content, channels)
    grey = read_picture(content, channels, background="#646464")

    assert np.unique(white[:3]).tolist() == [40]
    assert np.unique(white[3:]).tolist() == [255]
    assert np.unique(grey[3:]).tolist() == [100]


def test_half_transparent_is_mixed() -> None:
    image = Image.new("RGBA", (2, 2), (0, 0, 0, 128))

    assert np.unique(read_picture(saved(image), 3)).tolist() == [127]


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "PPM"])
def test_sixteen_bit_grey_is_divided_by_257(kind: str) -> None:
    values = np.array([[0, 256, 257], [25_700, 65_534, 65_535]], np.uint16)

    pixels = read_picture(saved(Image.fromarray(values), kind), 1)

    assert pixels[..., 0].tolist() == [[0, 0, 1], [100, 254, 255]]


def test_of_several_pages_the_first_is_the_picture(tmp_path: Path) -> None:
    pages = [picture(index) for index in range(2)]
    pages[0].save(tmp_path / "a.tiff", save_all=True, append_images=pages[1:])

    assert np.array_equal(read_picture(tmp_path / "a.tiff", 3), np.asarray(pages[0]))


@pytest.mark.parametrize("channels", [1, 3])
def test_fit_squashes_crops_or_pads(channels: int) -> None:
    left, right = np.zeros((10, 10), np.uint8), np.full((10, 10), 200, np.uint8)
    wide = encoded(Image.fromarray(np.hstack([left, left, right, right])))  # 10 high, 40 wide

    squashed = read_picture(wide, channels, (20, 20), "squash")[..., 0]
    cropped = read_picture(wide, channels, (20, 20), "crop")[..., 0]
    padded = read_picture(wide, channels, (20, 20), "pad", "#010101")[..., 0]

    for pixels in (squashed, cropped):
        assert pixels.shape == (20, 20)
        assert (pixels[:, :8] == 0).all()
        assert (pixels[:, 12:] == 200).all()
    assert (padded[:7] == 1).all()
    assert (padded[13:] == 1).all()
    assert (padded[8:12, 12:] == 200).all()


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "no image format that Pillow knows"),
        (b"\x89PNG\r\n\x1a\n", "no image format that Pillow knows"),
        (encoded(picture(0, (40, 40)))[:-200], "truncated|Truncated"),
        (saved(Image.fromarray(np.zeros((2, 2), np.float32)), "TIFF"), "pixels are floats"),
        (saved(Image.fromarray(np.full((2, 2), 70_000, np.int32)), "TIFF"), "more than 16 bits"),
    ],
)
def test_what_cannot_be_read_is_a_reason_in_words(content: bytes, reason: str) -> None:
    with pytest.raises(PictureError, match=reason):
        read_picture(content, 3)


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
def test_damaged_exif_data_turns_nothing() -> None:
    content = saved(picture(0), "JPEG", exif=b"Exif\0\0MM\0*\0\0\0\x08\xff\xff\x01\x12")

    assert read_picture(content, 3).shape == (6, 5, 3)


def test_the_heic_of_phones_is_read_where_its_package_is(monkeypatch: pytest.MonkeyPatch) -> None:
    pillow_heif = pytest.importorskip("pillow_heif")
    stream = BytesIO()
    pillow_heif.from_pillow(picture(0, (32, 48))).save(stream, quality=-1)

    assert read_picture(stream.getvalue(), 3).shape == (32, 48, 3)

    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    monkeypatch.setattr(Image, "open", unknown)
    with pytest.raises(PictureError, match=r"^HEIC; pip install pillow-heif, or convert it to J"):
        read_picture(stream.getvalue(), 3)


def unknown(*_: object) -> Image.Image:
    """Pillow's opening, as it is where nobody has taught it more formats."""
    raise UnidentifiedImageError
