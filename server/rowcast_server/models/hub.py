"""DALL-E Mini, Mega and Janus-Pro from the Hugging Face hub, through its own client and cache.

`huggingface_hub` shows progress, resumes interrupted downloads and works offline from its cache
(HF_HOME, HF_HUB_OFFLINE). A file just fetched is compared here with the SHA-256 that the hub
announced.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from rowcast.terminal.install_hints import install_hint

from ..errors import ModelError
from .client_files import file_sha256
from .sources import HUB_MINI, MIN_DALLE, ModelFiles

REPOSITORY: Final = "kuprel/min-dalle"
DETOKENIZER: Final = "detoker.pt"  # shared by both
FILES: Final = {"mini": HUB_MINI, "mega": MIN_DALLE}
# deepseek's own: what is opened first, the tokenizer last.
JANUS_FILES: Final = {
    "janus-pro-1b": ("deepseek-ai/Janus-Pro-1B", ("pytorch_model.bin", "tokenizer.json")),
    "janus-pro-7b": (
        "deepseek-ai/Janus-Pro-7B",
        (
            "pytorch_model.bin.index.json",
            "pytorch_model-00001-of-00002.bin",
            "pytorch_model-00002-of-00002.bin",
            "tokenizer.json",
        ),
    ),
}


def download(name: str, endpoint: str | None = None) -> ModelFiles:
    """The files of a model by its name, from the hub's cache or fetched. Raises ModelError.

    ``endpoint`` is another address of the hub (default: what huggingface_hub uses).
    """
    if name in JANUS_FILES:
        repository, files = JANUS_FILES[name]
        weights, *_, tokenizer = (_fetch(name, file, endpoint, repository) for file in files)
        return ModelFiles(name, weights, weights, tokenizer, tokenizer, None, weights)
    encoder, decoder, vocabulary, merges, detokenizer = (
        _fetch(name, file, endpoint) for file in (*FILES[name], DETOKENIZER)
    )
    return ModelFiles(name, encoder, decoder, vocabulary, merges, None, detokenizer)


def _fetch(name: str, file: str, endpoint: str | None, repository: str = REPOSITORY) -> Path:
    try:
        from huggingface_hub import hf_hub_download, try_to_load_from_cache
    except ModuleNotFoundError as error:
        raise ModelError(
            f"--model {name} is fetched with huggingface_hub, which is not installed: "
            f"{install_hint('hub')}; {_offline(name)}"
        ) from error
    held = try_to_load_from_cache(repository, file)
    if isinstance(held, str):  # the repository no longer changes; offline is no error then
        return Path(held)
    try:
        path = Path(hf_hub_download(repository, file, endpoint=endpoint))
    except Exception as error:  # its own errors and those of the HTTP library it uses
        if not isinstance(error, OSError) and not _is_http(error):
            raise
        raise ModelError(
            f"cannot fetch {file} of {repository} from the hub ({_reason(error)}); {_offline(name)}"
        ) from error
    _check(path)
    return path


def _is_http(error: Exception) -> bool:
    """True for an error of huggingface_hub or of its HTTP library, which has changed its name
    twice."""
    package = type(error).__module__.partition(".")[0]
    return package in ("huggingface_hub", "requests") or package.startswith("http")


def _check(path: Path) -> None:
    """Raises ModelError, having removed the file, unless it has the SHA-256 that names it in the
    cache."""
    stored = path.resolve()
    announced = stored.name
    if not re.fullmatch(r"[0-9a-f]{64}", announced):
        return  # a small file, kept under git's own hash
    found = file_sha256(stored).hex()
    if found != announced:
        stored.unlink()
        path.unlink(missing_ok=True)
        raise ModelError(
            f"{path.name} came from the hub damaged: sha256 {found}, announced {announced}; "
            "it was removed, try again"
        )


def _offline(name: str) -> str:
    if name in JANUS_FILES:
        files = ", ".join(JANUS_FILES[name][1])
        return f"without the hub, name a folder that holds {files} with --model"
    return (
        "without the hub, put encoder.pt, decoder.pt, vocab.json and merges.txt into "
        f"./pretrained/dalle_bart_{name} and detoker.pt into ./pretrained/vqgan, or name a folder "
        "with --model"
    )


def _reason(error: BaseException) -> str:
    """The first line of the first error in the chain: the advice around it is not about this
    program."""
    while error.__cause__ is not None:
        error = error.__cause__
    return (str(error).strip() or type(error).__name__).split("\n")[0].rstrip(".")[:200]
