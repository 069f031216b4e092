"""`rowcast prepare` at real size, on random weights: it ends, and a light client is served.

`make parity` prints the figures.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from min_dalle.models import VQGanDetokenizer
from rowcast.cli import main
from rowcast_bench.engine.random_model import MINI, PIECES, write_weights

from tests.support.decoders import lively
from tests.support.janus_files import janus, transformers_folder
from tests.support.servers import running_server
from tests.support.tiny_model import tiny_model

pytestmark = [pytest.mark.parity, pytest.mark.timeout(3_600)]
BOUNDS = ("--grids", "8", "--steps", "4", "--precision", "fp32,int8")


def random_mini(folder: Path) -> list[str]:
    """DALL·E Mini in min-dalle's own files, its detokenizer among them."""
    folder.mkdir()
    write_weights(folder, MINI)
    vocabulary = {piece: index for index, piece in enumerate(PIECES)}
    (folder / "vocab.json").write_text(json.dumps(vocabulary), "utf-8")
    (folder / "merges.txt").write_text("#version: 0.2\n", "utf-8")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        detokenizer = VQGanDetokenizer().eval()
    lively(detokenizer)
    torch.save(detokenizer.state_dict(), folder / "detoker.pt")
    return [str(folder)]


def janus_decoder(folder: Path) -> list[str]:
    """Janus' decoder, 24x24 tokens of 16,384 codes, out of a whole checkpoint of transformers';
    the transformer that draws is small."""
    tiny_model(folder, rows=24, cols=24, codebook_size=16_384)
    settings = json.loads((folder / "model.json").read_text("utf-8"))
    del settings["pixels_per_token"]
    (folder / "model.json").write_text(json.dumps(settings), "utf-8")
    peer = janus(grid=24, codes=16_384, base_channels=128, blocks=2, latent_channels=256)
    vqgan = transformers_folder(folder.with_name("janus"), peer)
    return [str(folder), "--detokenizer", str(vqgan)]


@pytest.mark.parametrize("write", [random_mini, janus_decoder])
def test_it_ends_and_serves_light_clients(
    write: Callable[[Path], list[str]], tmp_path: Path
) -> None:
    words = write(tmp_path / "source")
    model, begun = tmp_path / "model", time.perf_counter()
    command = [sys.executable, "-m", "rowcast", "prepare", *words, "-o", str(model), *BOUNDS]
    done = subprocess.run(command, capture_output=True, text=True, timeout=3_000)
    assert done.returncode == 0, done.stderr
    print(json.dumps({"seconds": round(time.perf_counter() - begun), "of": write.__name__}))
    print(done.stderr.splitlines()[-1])
    with running_server(model) as server:
        drawn = [server.ws_url, "a red boat", "--quality", "preview", "--format", "png"]
        assert main(["generate", *drawn, "--out", str(tmp_path / "drawn")]) == 0
    assert (tmp_path / "drawn/image-0.png").is_file()
