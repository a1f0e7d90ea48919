import os
import subprocess
import sys
import time

import pytest

import ipcq


@pytest.fixture(autouse=True)
def _own_directory(tmp_path, monkeypatch):
    monkeypatch.setenv("IPCQ_DIR", str(tmp_path))


@pytest.fixture
def pair():
    """A producer and a consumer of a queue of 8-byte messages."""
    with ipcq.Producer("pair", capacity=64, message_size=8) as out, ipcq.Consumer("pair") as q:
        yield out, q


@pytest.fixture
def words():
    """A producer and a consumer of a queue of messages of any length."""
    with ipcq.Producer("words", capacity=4096) as out, ipcq.Consumer("words") as q:
        yield out, q


class Child:
    """Another Python process that runs a piece of code."""

    def __init__(self, code, *args):
        self.process = subprocess.Popen(
            [sys.executable, "-u", "-c", code, *map(str, args)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ.copy(),
        )

    @property
    def pid(self):
        return self.process.pid

    def line(self):
        """Waits for a line of its output."""
        return self.process.stdout.readline().strip()

    def end(self, code=0, timeout=60):
        out, err = self.process.communicate(timeout=timeout)
        assert self.process.returncode == code, err
        return out


@pytest.fixture
def child():
    children = []

    def start(code, *args):
        children.append(Child(code, *args))
        return children[-1]

    yield start
    for c in children:
        if c.process.poll() is None:
            c.process.kill()
            c.process.wait()
        for pipe in (c.process.stdin, c.process.stdout, c.process.stderr):
            pipe.close()


@pytest.fixture
def until():
    def wait(condition, seconds=30):
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, "the condition did not become true"
            time.sleep(0.001)

    return wait
