"""A well-behaved client in a process of its own: gets one resource again and again, until its input ends.

It prints the longest time, in ms, that a get took. `python bystander.py HOST:PORT PATH BODY`, the body in hex.
"""

from __future__ import annotations

import sys
import threading
import time

import grpc


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def wait_for_the_end(ended: threading.Event) -> None:
    sys.stdin.read()
    ended.set()


def main() -> None:
    address, path, body = sys.argv[1], sys.argv[2], bytes.fromhex(sys.argv[3])
    ended = threading.Event()
    threading.Thread(target=wait_for_the_end, args=(ended,), daemon=True).start()
    longest_s = 0.0
    with grpc.insecure_channel(address) as channel:
        get = channel.unary_unary(path, request_serializer=bytes, response_deserializer=bytes)
        get(body, timeout=60, wait_for_ready=True)
        say("ready")
        while not ended.wait(0.002):
            began = time.perf_counter()
            get(body, timeout=60)
            longest_s = max(longest_s, time.perf_counter() - began)
    say(str(longest_s * 1000))


if __name__ == "__main__":
    main()
