"""`rowcast serve` where it does not come to serving: what it says, and with which exit code."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.server.cli.test_running import ROWCAST, environment
from tests.support.raw_client import PATIENCE


def failing(model: Path | str, *options: str) -> str:
    """What it says on stderr, as a process that does not start."""
    ended = subprocess.run(
        [
            *ROWCAST,
            "serve",
            "--quiet",
            "--model",
            str(model),
            "--port=0",
            *options,
        ],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        env=environment(),
    )
    assert ended.returncode == 1, ended.stderr
    assert ended.stdout == ""
    return ended.stderr


def one_line(stderr: str) -> str:
    assert stderr.startswith("rowcast serve: ")
    assert stderr.endswith("\n")
    assert stderr.count("\n") == 1, stderr
    return stderr


class TestCannotStart:
    def test_a_file_without_a_token_would_admit_everybody(
        self, tiny_folder: Path, tmp_path: Path, refusal: Callable[..., str]
    ) -> None:
        for content in ("", "\n \n"):
            (tmp_path / "tokens").write_text(content)
            stderr = refusal(tiny_folder, "--token-file", str(tmp_path / "tokens"))
            assert "holds no token" in one_line(stderr)

    def test_a_remark_in_a_file_of_tokens_is_no_token(
        self, tiny_folder: Path, tmp_path: Path, refusal: Callable[..., str]
    ) -> None:
        (tmp_path / "tokens").write_text("first\n# for Anna\n")
        stderr = one_line(refusal(tiny_folder, "--token-file", str(tmp_path / "tokens")))
        assert f"line 2 of {tmp_path / 'tokens'} has more than one word" in stderr
        assert "Anna" not in stderr

    @pytest.mark.parametrize("tokens", ["", "   ", "\n\t"])
    def test_a_variable_without_a_token_would_admit_everybody(
        self,
        tiny_folder: Path,
        refusal: Callable[..., str],
        monkeypatch: pytest.MonkeyPatch,
        tokens: str,
    ) -> None:
        monkeypatch.setenv("ROWCAST_TOKENS", tokens)
        stderr = one_line(refusal(tiny_folder))
        assert "$ROWCAST_TOKENS holds no token" in stderr
        assert "unset it to admit every client" in stderr

    def test_a_file_that_cannot_be_read_is_named(
        self, tiny_folder: Path, tmp_path: Path, refusal: Callable[..., str]
    ) -> None:
        (tmp_path / "binary").write_bytes(b"\xff\xfe\x00token")
        for name in ("missing", ".", "binary"):
            path = tmp_path / name
            assert str(path) in one_line(refusal(tiny_folder, "--token-file", str(path)))

    @pytest.mark.parametrize("option", ["--port", "--http-port"])
    def test_a_port_in_use_is_one_clear_line(self, tiny_folder: Path, option: str) -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            stderr = one_line(failing(tiny_folder, f"{option}={port}"))
        assert f"port {port}" in stderr
        assert "cannot listen" in stderr
        assert stderr.endswith(f"is another server running? choose another port with {option}\n")

    @pytest.mark.parametrize("options", [[], ["--http-port=0"]])
    def test_a_port_in_use_is_told_before_a_model_is_loaded(
        self, tmp_path: Path, refusal: Callable[..., str], options: list[str]
    ) -> None:
        """Which may take minutes."""
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = f"--port={taken.getsockname()[1]}"
            stderr = one_line(refusal(tmp_path / "no-such-model", port, *options))
        assert "cannot listen" in stderr

    def test_to_let_everybody_draw_from_everywhere_has_to_be_said(
        self,
        tmp_path: Path,
        refusal: Callable[..., str],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.delenv("ROWCAST_TOKENS", raising=False)
        model = tmp_path / "no-such-model"
        stderr = one_line(refusal(model, "--host=0.0.0.0"))
        assert "--host 0.0.0.0 lets everybody draw who reaches this machine" in stderr
        assert "ask for a token by --token-file, or say --open" in stderr
        (tmp_path / "tokens").write_text("one")
        for enough in ("--open", f"--token-file={tmp_path / 'tokens'}"):
            assert "lets everybody" not in refusal(model, "--host=0.0.0.0", enough)

    def test_an_address_that_is_not_ours_is_one_clear_line(self, tiny_folder: Path) -> None:
        stderr = one_line(failing(tiny_folder, "--host=192.0.2.1"))
        assert "192.0.2.1" in stderr
        assert stderr.endswith("; --host must name an address of this machine\n")

    @pytest.mark.parametrize(
        ("options", "words"),
        [
            (["--device=cpu", "--dtype=float16"], "on the CPU take bfloat16"),
            (["--device=tpu"], "choose cpu, cuda, cuda:N, mps or auto"),
            (["--device=cuda:99"], "--device cuda:99: t"),  # torch sees none, or: there are fewer
        ],
    )
    def test_a_device_that_cannot_be_had_is_one_clear_line(
        self, tiny_folder: Path, options: list[str], words: str
    ) -> None:
        assert words in one_line(failing(tiny_folder, *options))

    def test_an_unknown_model_is_named(self, tmp_path: Path) -> None:
        stderr = one_line(failing(tmp_path / "no-such-model"))
        assert "\\n" not in stderr  # as a line feed within a message is shown
        assert "decoder.safetensors" in stderr
        assert stderr.startswith("rowcast serve: unknown model")
        assert "no-such-model" in stderr

    @pytest.mark.parametrize(
        "options",
        [
            ["--slots=0"],
            ["--port=65536"],
            ["--host="],
            ["--queue=-1"],
            ["--threads=x"],
            ["--threads=0"],
            ["--deadline=0"],
            ["--deadline=nan"],
            ["--grace=-1"],
            ["--keep=1e300"],
            ["--drain=inf"],
            ["--port=7000", "--http-port=7000"],
            ["--public-url=foo"],
            ["--public-url=ws://foo"],
            ["--public-url=//foo"],
            ["--public-url=https://"],
            ["--public-url=https://foo:x/"],
            ["--public-url=https://foo/?a=b"],
            ["--public-url=https://user:secret@foo"],
            ["--draft-window=17"],
            ["--cache=all"],
            ["--no-such"],
        ],
    )
    def test_a_wrong_option_is_a_usage_error(
        self, tiny_folder: Path, options: list[str], refusal: Callable[..., str]
    ) -> None:
        assert "usage: rowcast serve" in refusal(tiny_folder, *options, code=2)

    @pytest.mark.parametrize("option", ["--draft-window=4", "--cache=states"])
    def test_what_torch_cannot_do_is_refused(
        self, tiny_folder: Path, option: str, refusal: Callable[..., str]
    ) -> None:
        options = "--device=cpu", "--dtype=bfloat16", option
        assert "is for the CPU, in float32 or int8" in refusal(tiny_folder, *options, code=2)


def cut(path: Path, keep: float) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * keep)])


def settings(path: Path, **changes: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


DAMAGE: dict[str, tuple[str, Callable[[Path], object]]] = {
    "weights cut short": ("decoder.safetensors", lambda path: cut(path, 0.9)),
    "a header cut short": ("encoder.safetensors", lambda path: cut(path, 0.001)),
    "an empty file": ("decoder.safetensors", lambda path: cut(path, 0)),
    "no encoder": ("encoder.safetensors", Path.unlink),
    "no vocabulary": ("vocab.json", Path.unlink),
    "settings cut short": ("model.json", lambda path: cut(path, 0.5)),
    "a vocabulary cut short": ("vocab.json", lambda path: cut(path, 0.5)),
    "merges that are no text": ("merges.txt", lambda path: path.write_bytes(b"\xff\xfe\n")),
    "more rows than the weights have": ("model.json", lambda path: settings(path, rows=5)),
    "more codes than the weights have": (
        "model.json",
        lambda path: settings(path, codebook_size=98),
    ),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_model_folder_is_told_and_named(
    tiny_folder: Path, tmp_path: Path, damage: str, refusal: Callable[..., str]
) -> None:
    file, harm = DAMAGE[damage]
    folder = tmp_path / "model"
    shutil.copytree(tiny_folder, folder)
    harm(folder / file)
    stderr = refusal(folder, "--quiet")
    assert stderr.startswith("rowcast serve: ")
    assert str(folder) in stderr
