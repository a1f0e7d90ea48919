import pathlib
import re
import subprocess
import sys

EXAMPLES = pathlib.Path(__file__).parent.parent.parent.parent / "c-examples"


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
