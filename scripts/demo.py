"""The main job: a C process feeds a Python process with real data.

First the C process sends the counters of this machine for five seconds. Then it sends the built
library, repeated to 1 GiB, as fast as it can through a lossless queue. The SHA-256 of the received
bytes is compared with that of the file. The exit status is 0 if nothing was lost and everything
arrived unchanged.
"""

import hashlib
import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "bindings/python/examples"))

import receive_file  # noqa: E402
import watch_machine  # noqa: E402

SECONDS, RATE = 5, 200
TOTAL = 1 << 30


def start(example: str, *arguments: str) -> "subprocess.Popen[bytes]":
    return subprocess.Popen([str(ROOT / "target/examples" / example), *arguments])


def expected_digest(file: Path, total: int) -> str:
    """The SHA-256 of a file that is repeated up to a total number of bytes."""
    content = file.read_bytes()
    digest = hashlib.sha256()
    while total >= len(content):
        digest.update(content)
        total -= len(content)
    digest.update(content[:total])
    return digest.hexdigest()


def main() -> int:
    wrong = []
    library = ROOT / "target/release/libipcq.so"

    print("1. live: machine.c samples this machine, and Python shows the samples\n")
    producer = start("machine", "machine", str(SECONDS), str(RATE))
    live, live_bytes, live_seconds = watch_machine.watch("machine")
    if producer.wait() != 0 or live.received != SECONDS * RATE or live.pushed != live.received:
        wrong.append(f"live: {live} from a producer that ended with {producer.returncode}")

    print(f"\n2. bulk: send_file.c sends {library.name}, repeated to 1 GiB, and Python checks it\n")
    sender = start("send_file", str(library), "file", str(TOTAL))
    digest, bulk, bulk_seconds = receive_file.receive("file")
    expected = expected_digest(library, TOTAL)
    print(f"SHA-256 received  {digest}\n        expected  {expected}\n")
    if sender.wait() != 0 or bulk.pushed != bulk.received:
        wrong.append(f"bulk: {bulk} from a sender that ended with {sender.returncode}")
    if digest != expected:
        wrong.append("bulk: the received bytes differ from the file")
    if live.lost or bulk.lost:
        wrong.append("messages were lost")

    print("          messages         bytes    seconds           rate   lost")
    for name, stats, length, seconds in [
        ("live", live, live_bytes, live_seconds),
        ("bulk", bulk, TOTAL, bulk_seconds),
    ]:
        print(
            f"{name}  {stats.received:12} {length:13} {seconds:10.2f}"
            f" {length / seconds / 1e6:9.2f} MB/s {stats.lost:6}"
        )
    for what in wrong:
        print(f"demo: {what}", file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    # A directory of its own for the queues, in shared memory if that has room.
    shm = Path("/dev/shm")
    parent = shm if os.access(shm, os.W_OK) and os.statvfs(shm).f_bavail > 1 << 14 else None
    with tempfile.TemporaryDirectory(prefix="ipcq-demo.", dir=parent) as directory:
        os.environ["IPCQ_DIR"] = directory
        sys.exit(main())
