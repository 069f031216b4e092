"""`rowcast models`: what a server has, for people and for programs."""

from __future__ import annotations

from msgspec.structs import replace
from rowcast_server.server import RowcastServer

from tests.support.client.commands import Captured, report, run
from tests.support.fake_server import MODEL, Peer, fake_server, welcome


def test_a_servers_models_for_programs(tiny_server: RowcastServer, capsys: Captured) -> None:
    assert run("models", tiny_server.ws_url, "--json") == 0
    answer = report(capsys)
    (model,) = answer["models"]
    assert (model["name"], model["rows"], model["cols"]) == ("tiny", 4, 4)
    assert model["codebook_size"] == 96
    assert set(model["sampling"]) == {"temperature", "top_k", "top_p", "guidance", "min_p"}
    assert model["sampling"]["temperature"] == {"default": 1.0, "low": 0.01, "high": 10.0}
    (file,) = model["files"]
    assert (file["kind"], file["precision"]) == ("full", "fp32")
    assert file["url"] == f"{tiny_server.http_url}/detokenizer/{file['sha256']}.onnx"
    assert len(bytes.fromhex(file["sha256"])) == 32
    assert answer["limits"]["images"] == 64


def test_a_servers_models_for_people(capsys: Captured) -> None:
    model = replace(
        MODEL,
        description="houses [/b] and \x1b[31mboats",
        examples=("a red house", "a [bold]boat"),
    )

    async def script(peer: Peer) -> None:
        await peer.receive()
        await peer.send(welcome(model))
        await peer.connection.wait_closed()

    with fake_server(script) as fake:
        assert run("models", fake.url) == 0
    assert capsys.readouterr().out.splitlines() == [
        "tiny, revision 7265766973696f6e",
        r"  draws       houses [/b] and \x1b[31mboats",
        "  such as     'a red house'",
        "              'a [bold]boat'",
        "  pictures    16 x 16 pixels: 4 rows of 4 tokens, each 4 x 4 pixels of 96 kinds",
        "  sampling    --temperature  0.01 to 10, else 1",
        "              --top-k        0 to 96, else 32",
        "              --top-p        0.01 to 1, else 1",
        "              --guidance     0 to 64, else 4",
        "",
        "a request: at most 64 pictures, a prompt of 2000 bytes; 256 pictures at once",
        "a picture is kept for 300 s after its end, and drawn on for 30 s after its client is gone",
    ]
