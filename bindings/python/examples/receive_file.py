"""Receives the file that c-examples/send_file.c sends: python receive_file.py [queue].

Prints the SHA-256 of the bytes. The queue is lossless, so the sender waits for this receiver.
"""

import hashlib
import sys
import time

import ipcq


def receive(name: str) -> tuple[str, ipcq.Stats, float]:
    """Receives until the sender closes. Returns the SHA-256, the figures, and the seconds."""
    digest = hashlib.sha256()
    with ipcq.Consumer(name, open_timeout=60) as q:
        begin = time.monotonic()
        for message in q:
            digest.update(message)
        return digest.hexdigest(), q.stats, time.monotonic() - begin


def main() -> None:
    name = sys.argv[1] if len(sys.argv) > 1 else "file"
    digest, stats, seconds = receive(name)
    print(f"{digest}  {stats.received} messages in {seconds:.2f} s, {stats.lost} lost")


if __name__ == "__main__":
    main()
