"""Pictures: decoded once to see that they are, made small for those who look at them and for models.

What is made from one holds its pixels only: the place where it was taken stays in the original.
"""

from io import BytesIO

from PIL import Image

from conversations.uploads.kinds import Found, UploadRefused

MAX_PIXELS = 40_000_000  # of one picture: 160 MB while it is decoded
MAX_WEBP_PIXELS = 16_000_000  # of a WebP, which takes four times as much
THUMBNAIL = 480  # pixels of the longer side
FOR_MODEL = 1024
FORMATS = {"JPEG": "image/jpeg", "MPO": "image/jpeg", "PNG": "image/png", "GIF": "image/gif", "WEBP": "image/webp"}
_ASKED_FOR = ("JPEG", "PNG", "GIF", "WEBP")  # MPO, several JPEGs in one, comes with JPEG
_BEGINNINGS = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF87a", b"GIF89a")
_SHRINKABLE = {"RGB", "RGBA", "L", "LA", "CMYK", "YCbCr"}
_ORIENTATION = 0x0112
_NONE = "must be a JPEG, PNG, GIF or WebP picture"


def looks_like_one(content: bytes) -> bool:
    """Tell whether a file begins as a picture does that is taken."""
    return content.startswith(_BEGINNINGS) or (content[:4] == b"RIFF" and content[8:12] == b"WEBP")


def examine(content: bytes) -> Found:
    """Return what a picture is; raise UploadRefused where it is none, is damaged or far too large."""
    try:
        image = _decoded(content)
        width, height = image.size
        if image.getexif().get(_ORIENTATION) in {5, 6, 7, 8}:
            width, height = height, width
        media_type = FORMATS[image.format or ""]
        thumbnail = _encoded(_shrunk(image, THUMBNAIL), "WEBP")
    except UploadRefused:
        raise
    except Exception as error:  # what is no picture fails in many ways
        refused = UploadRefused("is damaged", "damaged") if looks_like_one(content) else UploadRefused(_NONE)
        raise refused from error
    return Found("image", media_type, width, height, thumbnail)


def for_model(content: bytes) -> bytes:
    """Return a picture as a JPEG that is no larger than a model needs."""
    image = _shrunk(_decoded(content), FOR_MODEL)
    if image.mode != "RGB":
        ground = Image.new("RGB", image.size, "white")
        image = image.convert("RGBA")
        ground.paste(image, mask=image.getchannel("A"))
        image = ground
    return _encoded(image, "JPEG")


def _decoded(content: bytes) -> Image.Image:
    """Return the first picture of a file, all of it read; Pillow raises many kinds where that fails."""
    with Image.open(BytesIO(content), formats=_ASKED_FOR) as image:
        if image.width * image.height > (most := MAX_WEBP_PIXELS if image.format == "WEBP" else MAX_PIXELS):
            raise UploadRefused(f"has more than {most} pixels", "pixels")
        image.verify()
    image = Image.open(BytesIO(content), formats=_ASKED_FOR)
    image.load()
    return image


def _shrunk(image: Image.Image, longest: int) -> Image.Image:
    """Return a picture as it is shown, upright, with sides of at most `longest` pixels, and nothing but its pixels."""
    upright = image.getexif().get(_ORIENTATION)
    has_alpha = image.mode in {"RGBA", "LA", "PA", "La", "RGBa"} or "transparency" in image.info
    # Made small first where its mode can be: a copy of a large one is large.
    small = image if image.mode in _SHRINKABLE else image.convert("RGBA" if has_alpha else "RGB")
    small.thumbnail((longest, longest), reducing_gap=2.0)
    small = small.convert("RGBA" if has_alpha else "RGB")
    if upright in _TURNS:
        small = small.transpose(_TURNS[upright])
    small.info.clear()
    return small


def _encoded(image: Image.Image, form: str) -> bytes:
    out = BytesIO()
    image.save(out, form, quality=80)
    return out.getvalue()


_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
