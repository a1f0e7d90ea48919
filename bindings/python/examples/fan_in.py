"""Merges several queues until all producers have closed them: python fan_in.py NAME NAME ..."""

import sys

import ipcq

TURN = 32  # the most messages of one queue before the next queue is read


def merge(names: list[str]) -> tuple[int, int]:
    """Shows the messages of each queue. Returns how many were received and how many were lost."""
    queues = [ipcq.Consumer(name, open_timeout=60) for name in names]
    received = lost = 0
    while queues:
        # Sleeps until one queue has a message. Then each queue is read, to be fair.
        ipcq.wait_any(queues)
        for q in queues[:]:
            try:
                for message in q.pop_many(TURN):
                    print(q.name, len(message), "bytes")
            except ipcq.Closed:
                received += q.stats.received
                lost += q.stats.lost
                q.close()
                queues.remove(q)
    return received, lost


def main() -> None:
    received, lost = merge(sys.argv[1:])
    print(f"received {received}, lost {lost}")


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        pass
