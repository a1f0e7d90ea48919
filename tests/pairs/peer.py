"""The Python side of a pair. It does the same as tests/c/peer.c."""

import sys

import ipcq

FIXED, LONGEST = 24, 300


def content(n: int, variable: bool) -> bytes:
    length = n * 7919 % (LONGEST + 1) if variable else FIXED
    return bytes((n * 31 + n // 256 + i * 7) & 255 for i in range(length))


def hold(count: int, limit: str) -> None:
    if str(count) == limit:
        print("held", flush=True)
        sys.stdin.read()


def main() -> None:
    role, name, framing, *rest = sys.argv[1:]
    variable = framing == "variable"
    if role == "push":
        count = int(rest[0])
        capacity = int(rest[1]) if rest[1:] else 4 << 20 if variable else 1 << 16
        limit = rest[2] if rest[2:] else ""
        with ipcq.Producer(name, message_size=0 if variable else FIXED, capacity=capacity) as out:
            for n in range(count):
                hold(n, limit)
                out.push(content(n, variable))
        return
    expected = received = 0
    with ipcq.Consumer(name, open_timeout=30) as q:
        for message in q.messages():
            expected += message.lost  # the sequence skips the lost messages
            if message.sequence != expected or message.data != content(expected, variable):
                sys.exit(f"message {message.sequence} is wrong")
            expected += 1
            received += 1
            hold(received, rest[0] if rest else "")
        print(q.stats.received, q.stats.lost, q.stats.pushed)


if __name__ == "__main__":
    main()
