import hashlib
import http.client
import importlib
import json
import os
import pathlib
import re
import struct
import subprocess
import sys

import numpy as np
import pytest

import ipcq

BINDINGS = pathlib.Path(__file__).parent.parent
ROOT = BINDINGS.parent.parent
EXAMPLES = BINDINGS / "examples"


def run(example, *args):
    """The lines that an example in Python prints."""
    command = [sys.executable, BINDINGS / "examples" / example, *map(str, args)]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=120)
    assert done.stderr == ""
    return done.stdout.splitlines()


def test_producer_and_consumer():
    consumer = subprocess.Popen(
        [sys.executable, EXAMPLES / "consumer.py", "t"], stdout=subprocess.PIPE, text=True
    )
    try:
        pushed = subprocess.run(
            [sys.executable, EXAMPLES / "producer.py", "t", "100"],
            check=True,
            capture_output=True,
            text=True,
        )
        assert pushed.stdout == "pushed 100 ticks, the next one is 100\n"
        lines = consumer.communicate(timeout=60)[0].splitlines()
    finally:
        consumer.kill()
        consumer.wait()
    assert lines[-1] == "received 100, lost 0"
    assert [int(line.split()[0]) for line in lines[:-1]] == list(range(100))
    assert all(re.fullmatch(r" *\d+ \d+\.\d{6} +\d+\.\d{3} +\d+", line) for line in lines[:-1])


def test_fan_in():
    merge = subprocess.Popen(
        [sys.executable, BINDINGS / "examples" / "fan_in.py", "a", "b", "c"],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        for name in "abc":
            subprocess.run(
                [sys.executable, EXAMPLES / "producer.py", name, "100"],
                check=True,
                capture_output=True,
            )
        lines = merge.communicate(timeout=60)[0].splitlines()
    finally:
        merge.kill()
        merge.wait()
    assert lines[-1] == "received 300, lost 0"
    assert sorted(lines[:-1]) == [f"{name} 24 bytes" for name in "abc" for _ in range(100)]


def test_live_plot():
    machine = [ROOT / "target/examples/machine", "m", "0.5", "100"]
    plot = subprocess.Popen(
        [sys.executable, BINDINGS / "examples" / "live_plot.py", "m"],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"COLUMNS": "60"},
    )
    try:
        subprocess.run(machine, check=True, timeout=60)
        *lines, figures = plot.communicate(timeout=60)[0].splitlines()
    finally:
        plot.kill()
        plot.wait()
    assert figures == "received 50, lost 0"
    assert len(lines) == 2 * (6 + 2)
    assert re.search(r"processors, % busy: \d+\.\d", lines[0])
    assert re.search(r"context switches a second: \d+\.\d", lines[8])
    # The greatest value so far has a bar of the full height.
    assert all("█" in line for line in lines[9:15])


def test_vwap(monkeypatch):
    count = 100_000
    monkeypatch.syspath_prepend(BINDINGS / "examples")
    ticks = importlib.import_module("vwap").market(count)
    expected = np.average(ticks["price"], weights=ticks["quantity"])
    received, vwap = run("vwap.py", count)
    assert re.fullmatch(rf"{count} ticks in \d+\.\d\d s, 0 lost", received)
    assert vwap == f"VWAP {expected:.6f}"


def test_workers(tmp_path):
    content = os.urandom(5_000_000)
    file = tmp_path / "content"
    file.write_bytes(content)
    blocks = (content[i : i + 65536] for i in range(0, len(content), 65536))
    assert run("workers.py", file, 3) == [hashlib.sha256(b).hexdigest() for b in blocks]
    assert os.listdir(tmp_path) == ["content"]


@pytest.fixture
def fan_out():
    """A queue, the web address, and the producer."""
    with ipcq.Producer("ticks", capacity=4096, message_size=24) as out:
        server = subprocess.Popen(
            [sys.executable, BINDINGS / "examples" / "fan_out.py", "ticks", "0"],
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            yield out, int(server.stdout.readline().rpartition(":")[2].strip("/\n"))
        finally:
            server.kill()
            server.communicate()


def test_fan_out(fan_out):
    out, port = fan_out
    clients = []
    for _ in range(5):
        client = http.client.HTTPConnection("localhost", port, timeout=60)
        client.request("GET", "/")
        clients.append(client.getresponse())  # its consumer is attached now
    ticks = [(n * 1_000_000_000, 100 + n / 8, n) for n in range(1000)]
    for tick in ticks:
        out.push(struct.pack("<QdII", *tick, 0))
    out.close()
    for client in clients:
        *events, end, nothing = client.read().decode().split("\n\n")
        assert (end, nothing) == ("event: closed\ndata:", "")
        received = [json.loads(event.removeprefix("data: ")) for event in events]
        assert [(e["time"] * 1e9, e["price"], e["quantity"]) for e in received] == ticks
        client.close()
