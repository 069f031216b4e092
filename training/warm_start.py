"""Warm start: training goes on from what is in the repository, without the runs that made it.

The package holds the transformer and the detokenizer; `training/weights` holds the rest, the image
encoder, which no client needs. This makes run folders of them:

    python -m training.warm_start                            # training/runs/shipped-…
    python -m training.tokenize_scenes --vqgan training/runs/shipped-vqgan
    python -m training.train_transformer --start-from training/runs/shipped-transformer
"""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from training.command_line import parse
from training.export_weights import PACKAGE
from training.loop import save_checkpoint
from training.train_vqgan import DEFAULT_RUN, Autoencoder, load_autoencoder
from training.transformer import CaptionToTokens

IMAGE_ENCODER = Path("training/weights/image_encoder.safetensors")
OPTIONS = {
    "runs": (Path("training/runs"), "where the run folders go"),
    "keep-encoder": (
        False,
        f"instead: keep the image encoder of {DEFAULT_RUN} in {IMAGE_ENCODER}",
    ),
}


def load_float(path: Path) -> dict[str, Tensor]:
    """Tensors of a safetensors file in float32."""
    return {name: value.float() for name, value in load_file(path).items()}


def save_image_encoder(run: Path, path: Path = IMAGE_ENCODER) -> None:
    """Keep the averaged image encoder of a run of train_vqgan, in half precision."""
    path.parent.mkdir(parents=True, exist_ok=True)
    state = load_autoencoder(run).encoder.state_dict()
    save_file({name: value.half().contiguous() for name, value in state.items()}, path)
    path.chmod(0o644)


def shipped_autoencoder() -> Autoencoder:
    """The image encoder of `training/weights` with the package's detokenizer."""
    model = Autoencoder()
    model.encoder.load_state_dict(load_float(IMAGE_ENCODER))
    model.detokenizer.load_state_dict(load_float(PACKAGE / "detokenizer.safetensors"))
    return model.eval()


def shipped_transformer() -> CaptionToTokens:
    """The package's transformer; its token tables become the free part, nothing is shared yet."""
    encoder = load_float(PACKAGE / "encoder.safetensors")
    decoder = load_float(PACKAGE / "decoder.safetensors")
    model = CaptionToTokens(len(encoder["embed_tokens.weight"]))
    model.encoder.load_state_dict(encoder)
    state = model.decoder.state_dict()
    for name in state:
        if name.endswith(".digits"):
            state[name] = torch.zeros_like(state[name])
        else:
            state[name] = decoder[name.replace("parametrizations.weight.original", "weight")]
    model.decoder.load_state_dict(state)
    return model.eval()


def main() -> None:
    """Write the run folders."""
    arguments = parse(__doc__, OPTIONS)
    if arguments.keep_encoder:
        save_image_encoder(DEFAULT_RUN)
        return
    transformer = shipped_transformer()
    save_checkpoint(
        arguments.runs / "shipped-vqgan" / "checkpoint.pt",
        average=shipped_autoencoder().state_dict(),
    )
    save_checkpoint(
        arguments.runs / "shipped-transformer" / "checkpoint.pt",
        average=transformer.state_dict(),
        vocabulary=transformer.encoder.shape.vocabulary,
    )


if __name__ == "__main__":
    main()
