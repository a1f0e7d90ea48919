"""Functions that several tests use."""


def word(n):
    """The message of eight bytes with this number."""
    return n.to_bytes(8, "little")


def is_asleep(process):
    """Whether a process, or a thread (`self/task/ID`), sleeps in the kernel."""
    with open(f"/proc/{process}/stat") as f:
        return f.read().rsplit(")", 1)[1].split()[0] == "S"
