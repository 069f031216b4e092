"""A picture's ids with only `websockets` and `msgpack`, written from protocol.md.

usage: python raw_client.py ws://127.0.0.1:8765 "a red house at sunset"
"""

import os
import struct
import sys
import zlib

import msgpack
from websockets.sync.client import connect

HELLO, WELCOME, START, ACCEPTED, ROWS, DONE, ERROR = range(7)


def draw(url: str, prompt: str) -> list[tuple[int, ...]]:
    ids = b""
    with connect(url, subprotocols=["rowcast.v1"], compression=None, proxy=None) as socket:  # type: ignore[list-item]
        socket.send(msgpack.packb([HELLO, None, "raw_client"]))
        socket.send(msgpack.packb([START, 0, os.urandom(16), prompt, 1, []]))
        for frame in socket:
            tag, *fields = msgpack.unpackb(frame)
            if tag == ACCEPTED:
                cols, id_bytes = fields[6], fields[7]
                print(f"seed {fields[4]}, {fields[5]} rows of {cols}")
            elif tag == ROWS:
                ids += fields[2]
                print(f"row {fields[1]}: {len(frame)} bytes")
            elif tag == DONE:
                if zlib.crc32(ids) != fields[2]:
                    raise SystemExit("the checksum is wrong")
                return list(struct.iter_unpack(f"<{cols}{'H' if id_bytes == 2 else 'I'}", ids))
            elif tag == ERROR:
                raise SystemExit(f"refused: {fields[3]} [{fields[1]}]")
    raise SystemExit("the stream ended without an end: it has failed")


if __name__ == "__main__":
    if len(sys.argv) != 3:
        raise SystemExit(str(__doc__).splitlines()[-1])
    try:
        print(*draw(*sys.argv[1:]), sep="\n")
    except OSError as error:
        raise SystemExit(f"{sys.argv[1]} cannot be reached: {error}") from None
