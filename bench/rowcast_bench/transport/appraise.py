"""Figures that need no link: the quality of each intermediate picture, what a decode takes, and the
bytes of pictures of other sizes."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Final

import numpy as np
from rowcast.messages import Rows, encode
from rowcast.pixels.detokenizer import GUESSED_ROWS, Detokenizer
from rowcast.pixels.palette import Palette, on_paper
from rowcast_server.models.client_files import read_detokenizer
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from .galleries import GRID, PHOTOGRAPHS, Gallery, photograph
from .sender import THREADS
from .ways import Pixels, Way, decoded, encoded

EXACT: Final = 120.0  # dB of equal pictures, as of `rowcast bench decode`
SIDES: Final = {"Mini": 16, "Mega": 16, "24x24": 24}  # rows and columns of grids
PIXELS: Final = 16  # a token, of all of these


def decode_costs(gallery: Gallery, advance: Callable[[], object]) -> list[dict[str, float]]:
    """Milliseconds and CPU milliseconds of full decodes of 1 to all rows, the first once before."""
    decoder = Detokenizer(gallery.full, THREADS)
    decoder.decode(gallery.ids[:1, :1])
    costs = []
    for held in range(1, gallery.rows + 1):
        begun, cpu = time.perf_counter(), time.process_time()
        decoder.decode(gallery.ids[:1, :held])
        took, used = time.perf_counter() - begun, time.process_time() - cpu
        costs.append({"rows": held, "ms": round(1e3 * took, 2), "cpu_ms": round(1e3 * used, 2)})
        advance()
    return costs


def server_decode_ms(
    way: Way, costs: Sequence[dict[str, float]], frames_seen: float, is_decoded: bool
) -> tuple[float, float]:
    """CPU milliseconds that a way's server spends on full decodes of a picture, and how many: of
    `rowcast openai` one, whose partial pictures are previews."""
    if way.is_from_tokens(is_decoded):
        whole = way.protocol != "tokens"
        return whole * costs[-1]["cpu_ms"], float(whole)
    rows = len(costs)
    if way.protocol == "poll":
        return frames_seen * costs[-1]["cpu_ms"], frames_seen
    held = way.held(rows)
    seen = [rows if way.whole_grid else min(each + GUESSED_ROWS, rows) for each in held]
    return sum(costs[each - 1]["cpu_ms"] for each in seen), len(held)


def qualities(
    gallery: Gallery, ways: Sequence[Way], pictures: int, advance: Callable[[], object]
) -> dict[str, list[dict[str, float]]]:
    """By way, of each picture that is shown: PSNR and SSIM against the final one, means.

    ``psnr_db`` and ``ssim`` are of the whole picture, with paper where nothing is yet;
    ``psnr_db_rows`` is of the rows that are there. Tokens of a gallery whose decoder has random
    weights have none.
    """
    decoder = Detokenizer(gallery.full, THREADS) if gallery.is_decoded else None
    found = {}
    for way in ways:
        paint = _painter(gallery, way, decoder)
        if paint is not None:
            held = (
                range(1, gallery.rows + 1) if way.protocol == "tokens" else way.held(gallery.rows)
            )
            seen = []
            for index in range(min(pictures, len(gallery.ids))):
                final = _final(gallery, index, decoder)
                paper = on_paper(final[:0], gallery.side).copy()
                each = []
                for rows in held:
                    pixels = paint(index, rows)
                    if way.strips:
                        last = rows * gallery.pixels_per_token
                        paper[last - len(pixels) : last] = pixels
                        pixels = paper
                    each.append(similarity(pixels, final, rows * gallery.pixels_per_token))
                seen.append(each)
            means = np.mean(seen, axis=0)
            found[way.name] = [
                {
                    "rows": rows,
                    "psnr_db": round(float(whole), 2),
                    "ssim": round(float(ssim), 4),
                    "psnr_db_rows": round(float(part), 2),
                }
                for rows, (whole, ssim, part) in zip(held, means, strict=True)
            ]
        advance()
    return found


def similarity(pixels: Pixels, final: Pixels, height: int) -> tuple[float, float, float]:
    """PSNR and SSIM of the whole picture, and PSNR of its first ``height`` lines."""
    ssim = float(structural_similarity(pixels, final, channel_axis=2, data_range=255))
    return _psnr(pixels, final), ssim, _psnr(pixels[:height], final[:height])


def _psnr(pixels: Pixels, final: Pixels) -> float:
    if np.array_equal(pixels, final):
        return EXACT
    return float(peak_signal_noise_ratio(final, pixels, data_range=255))


def _final(gallery: Gallery, index: int, decoder: Detokenizer | None) -> Pixels:
    if decoder is None:
        assert gallery.finals is not None
        final: Pixels = gallery.finals[index]
    else:
        final = decoder.decode(gallery.ids[index][None])[0]
    return final


def _painter(
    gallery: Gallery, way: Way, decoder: Detokenizer | None
) -> Callable[[int, int], Pixels] | None:
    """Pixels of picture and rows held as a viewer sees them; None where there is no telling."""
    if way.protocol == "poll":
        return None
    if not way.is_from_tokens(decoder is not None):
        return lambda index, held: decoded(encoded(gallery.state(index, held, way, decoder), way))
    if decoder is None:
        return None
    palette = Palette(
        gallery.full.with_name("palette.npy").read_bytes(),
        gallery.codebook_size,
        gallery.pixels_per_token,
    )
    files = read_detokenizer(gallery.full).files
    preview = Detokenizer(next(each.path for each in files if each.kind == "preview"))
    rows = gallery.rows

    def paint(index: int, held: int) -> Pixels:
        grid = gallery.ids[index, :held]
        if way.tier == "palette":
            return palette.paint(grid, rows)
        if way.tier == "full" and held == rows:
            return _final(gallery, index, decoder)
        return preview.paint(grid, rows)

    if way.protocol == "tokens":
        return paint
    return lambda index, held: decoded(encoded(paint(index, held), way))


def grid_sizes(eight: Way, end: Way, payload_bytes: int) -> dict[str, dict[str, int]]:
    """Bytes of pictures by the side of their grid: our frames, one JPEG, eight JPEGs; the means
    of the photographs. ``payload_bytes`` are of a whole picture of 16 x 16 tokens as measured:
    what is not rows is the same in all sizes."""
    rest = payload_bytes - GRID * _row_bytes(GRID)
    found = {}
    for name, side in SIDES.items():
        pixels = side * PIXELS
        photographs = [photograph(index, pixels) for index in range(len(PHOTOGRAPHS))]
        sizes = [
            [
                sum(
                    len(encoded(on_paper(each[: held * PIXELS], pixels), way))
                    for held in way.held(side)
                )
                for way in (end, eight)
            ]
            for each in photographs
        ]
        one, several = np.mean(sizes, axis=0)
        found[name] = {
            "side": side,
            "pixels": pixels,
            "tokens_bytes": rest + side * _row_bytes(side),
            "jpeg_bytes": round(float(one)),
            "eight_jpegs_bytes": round(float(several)),
        }
    return found


def _row_bytes(cols: int) -> int:
    return 2 + len(encode(Rows(0, 0, bytes(2 * cols))))
