"""A conformance kit of rowcast.v1: scripted exchanges, run against any server or client.

It needs `msgpack` and `websockets` beside Python, and of this repository nothing but protocol.md
and tests/vectors. README.md says how it is run.
"""
