"""The Python side of a pair: as tests/c/peer.c."""

import sys

import ipcq

FIXED, LONGEST = 24, 300


def content(n: int, variable: bool) -> bytes:
    length = n * 7919 % (LONGEST + 1) if variable else FIXED
    return bytes((n * 31 + i * 7) & 255 for i in range(length))


def main() -> None:
    role, name, framing, *count = sys.argv[1:]
    variable = framing == "variable"
    if role == "push":
        capacity = 4 << 20 if variable else 1 << 16
        with ipcq.Producer(name, message_size=0 if variable else FIXED, capacity=capacity) as out:
            for n in range(int(count[0])):
                out.push(content(n, variable))
        return
    with ipcq.Consumer(name, open_timeout=30) as q:
        for message in q:
            if message != content(q.last.sequence, variable):
                sys.exit(f"message {q.last.sequence} is wrong")
        print(q.stats.received, q.stats.lost, q.stats.pushed)


if __name__ == "__main__":
    main()
