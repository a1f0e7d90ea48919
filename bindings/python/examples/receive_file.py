"""Receives what c-examples/send_file.c sends: python receive_file.py [queue] [bytes].

Prints the SHA-256 of what arrived. Tells the sender by a second queue how far it is, so that
nothing is lost.
"""

import hashlib
import struct
import sys
import time

import ipcq

ACK_EVERY = 16  # messages


def receive(name: str, total: int) -> tuple[str, ipcq.Stats, float]:
    """Receives so many bytes; their SHA-256, the consumer's figures, and the seconds it took."""
    digest = hashlib.sha256()
    received = 0
    with (
        ipcq.Producer(f"{name}.ack", message_size=8, capacity=1024) as acks,
        ipcq.Consumer(name, open_timeout=60) as q,
    ):
        begin = time.monotonic()
        for count, message in enumerate(q, 1):
            digest.update(message)
            received += len(message)
            if count % ACK_EVERY == 0 or received == total:
                acks.push(struct.pack("<Q", received))
        return digest.hexdigest(), q.stats, time.monotonic() - begin


def main() -> None:
    name = sys.argv[1] if len(sys.argv) > 1 else "file"
    total = int(sys.argv[2]) if len(sys.argv) > 2 else 0
    digest, stats, seconds = receive(name, total)
    print(f"{digest}  {stats.received} messages in {seconds:.2f} s, {stats.lost} lost")


if __name__ == "__main__":
    main()
