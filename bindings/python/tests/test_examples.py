import pathlib
import re
import subprocess
import sys

BINDINGS = pathlib.Path(__file__).parent.parent
EXAMPLES = BINDINGS.parent.parent / "c-examples"


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
