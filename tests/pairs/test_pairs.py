"""Two processes, each in C or in Python, in all four directions, with every byte checked."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
SIDES = {
    "C": [str(ROOT / "target/pairs/peer")],
    "Python": [sys.executable, str(ROOT / "tests/pairs/peer.py")],
}
COUNT = 5000


def popping(side, *arguments):
    command = [*SIDES[side], "pop", *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def push(side, *arguments):
    subprocess.run([*SIDES[side], "push", *arguments], check=True, timeout=60)


@pytest.fixture
def queue(tmp_path, monkeypatch):
    monkeypatch.setenv("IPCQ_DIR", str(tmp_path))
    return "pair"


@pytest.mark.parametrize("consumer_first", [False, True])
@pytest.mark.parametrize("framing", ["fixed", "variable"])
@pytest.mark.parametrize("consumer", SIDES)
@pytest.mark.parametrize("producer", SIDES)
def test_pair(queue, producer, consumer, framing, consumer_first):
    if not consumer_first:
        push(producer, queue, framing, str(COUNT))
    with popping(consumer, queue, framing) as process:
        if consumer_first:
            push(producer, queue, framing, str(COUNT))
        figures, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    # The ring holds all messages, so that none is lost.
    assert figures.split() == [str(COUNT), "0", str(COUNT)]


@pytest.mark.parametrize(("framing", "capacity"), [("fixed", 64), ("variable", 16384)])
@pytest.mark.parametrize("consumer", SIDES)
@pytest.mark.parametrize("producer", SIDES)
def test_losses_are_counted(queue, producer, consumer, framing, capacity):
    """A consumer waits while a small ring is overwritten many times."""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    # The producer waits after ten messages, so that the consumer starts at the first message.
    push = [*SIDES[producer], "push", queue, framing, str(COUNT), str(capacity), "10"]
    pop = [*SIDES[consumer], "pop", queue, framing, "1"]
    with subprocess.Popen(push, **pipes) as source:
        assert source.stdout.readline() == "held\n"
        with subprocess.Popen(pop, **pipes) as sink:
            assert sink.stdout.readline() == "held\n"
            source.communicate(timeout=60)
            assert source.returncode == 0
            figures, _ = sink.communicate(timeout=60)
    assert sink.returncode == 0
    received, lost, pushed = map(int, figures.split())
    assert (received + lost, pushed) == (COUNT, COUNT)
    assert received > 10
    assert lost > COUNT / 2
