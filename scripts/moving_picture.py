"""Records the moving picture of the README, docs/images/restart.svg.

A C producer (c-examples/producer.c) and a Python consumer run in two real terminals. The producer
is killed with kill -9 and started again. The output of the terminals is recorded with its times and
written as an animated SVG. Run it after `make examples`, with an interpreter that has ipcq:

    .venv/bin/python scripts/moving_picture.py
"""

import os
import pty
import re
import select
import subprocess
import sys
import tempfile
import threading
import time
from html import escape
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PICTURE = ROOT / "docs/images/restart.svg"
CONSUMER = """\
import ipcq, struct

with ipcq.Consumer("ticks") as q:
    for m in q.messages():
        _, price, *_ = struct.unpack("<QdII", m.data)
        print(f"{m.sequence:3} {price:.2f}  {m.lost} lost")
    print(q.stats.received, "received,", q.stats.lost, "lost")
"""
ROWS, COLUMNS, LINE, CHARACTER = 16, 62, 18, 8.1
HOLD = 3.0  # seconds for which the last picture is shown
STYLE = """
  text { font: 13.5px ui-monospace, Menlo, Consolas, "DejaVu Sans Mono", monospace }
  text { white-space: pre; fill: #d6deeb } .pane { fill: #011627 } .bar { fill: #1d3b53 }
  .head { fill: #a7b8c8 } .end { fill: #8fd16f; font-weight: 700 } .kill { fill: #ff6b5e }"""


class Terminal:
    """A shell in a separate terminal. Stores its output with the times."""

    def __init__(self, folder, began):
        self.began, self.chunks = began, []
        self.master, terminal = pty.openpty()
        environment = os.environ | {"PS1": "$ ", "TERM": "dumb", "IPCQ_DIR": folder}
        environment["PATH"] = f"{Path(sys.executable).parent}:{environment['PATH']}"
        self.shell = subprocess.Popen(
            ["bash", "--norc", "--noprofile", "-i"],
            stdin=terminal,
            stdout=terminal,
            stderr=terminal,
            cwd=folder,
            env=environment,
            start_new_session=True,
            preexec_fn=self.take,
        )
        os.close(terminal)
        self.reader = threading.Thread(target=self.read)
        self.reader.start()
        self.wait_for("$ ")

    @staticmethod
    def take():
        """Makes the terminal the controlling terminal of the shell, so that Ctrl-C works."""
        import fcntl
        import termios

        fcntl.ioctl(0, termios.TIOCSCTTY, 0)

    def read(self):
        while True:
            try:
                select.select([self.master], [], [])
                data = os.read(self.master, 4096)
            except OSError:  # the shell has ended
                return
            self.chunks.append((time.monotonic() - self.began, data.decode()))

    def text(self):
        return "".join(data for _, data in self.chunks)

    def wait_for(self, end):
        limit = time.monotonic() + 20
        while not self.text().endswith(end):
            if time.monotonic() > limit:
                raise RuntimeError(f"the terminal shows {self.text()!r} and not {end!r}")
            time.sleep(0.01)

    def type(self, line):
        for character in line:
            os.write(self.master, character.encode())
            time.sleep(0.03)
        os.write(self.master, b"\n")

    def key(self, character):
        os.write(self.master, character)

    def close(self):
        self.type("exit")
        self.shell.wait(timeout=10)
        os.close(self.master)
        self.reader.join()


def record(folder):
    """Plays the scene. Returns the output of the two terminals, with the times."""
    (Path(folder) / "watch.py").write_text(CONSUMER)
    (Path(folder) / "producer").symlink_to(ROOT / "target/examples/producer")
    began = time.monotonic()
    left, right = Terminal(folder, began), Terminal(folder, began)
    right.type("cat watch.py")
    right.wait_for("$ ")
    left.type("./producer ticks &")
    time.sleep(0.4)
    right.type("python watch.py")
    time.sleep(1.8)
    left.type("kill -9 %1")
    time.sleep(0.3)
    left.key(b"\n")  # the shell now says that the job was killed
    time.sleep(1.2)
    left.type("./producer ticks")
    time.sleep(2)
    left.key(b"\x03")
    left.wait_for("$ ")
    right.wait_for("$ ")
    shown = [list(left.chunks), list(right.chunks)]
    left.close()
    right.close()
    return shown


def lines_of(chunks):
    """Returns the lines, each as a list of (time, column, text)."""
    lines, column = [[]], 0
    for when, data in chunks:
        for part in data.replace("\r", "").splitlines(keepends=True):
            text = part.rstrip("\n")
            if text:
                lines[-1].append((when, column, text))
                column += len(text)
            if part.endswith("\n"):
                lines.append([])
                column = 0
    return lines


def appears(when, total):
    """Returns an animation that shows an element from this time on, in each round."""
    return (
        '<animate attributeName="visibility" values="hidden;visible" calcMode="discrete"'
        f' keyTimes="0;{when / total:.4f}" dur="{total:.2f}s" repeatCount="indefinite"/>'
    )


def pane(x, title, lines, total):
    """Draws a terminal, which scrolls when it is full."""
    width, height = COLUMNS * CHARACTER, ROWS * LINE + 12
    yield f'<svg x="{x}" y="0" width="{width:.0f}" height="{height + 26}">'
    yield f'<rect class="pane" width="{width:.0f}" height="{height + 26}" rx="6"/>'
    yield f'<rect class="bar" width="{width:.0f}" height="24" rx="6"/>'
    yield f'<text class="head" x="10" y="17">{escape(title)}</text>'
    yield f'<svg y="26" width="{width:.0f}" height="{height}">'
    steps = [(0.0, 0)]
    for index, line in enumerate(lines[ROWS:], ROWS):
        if line:
            steps.append((line[0][0], (ROWS - 1 - index) * LINE))
    moves = ";".join(f"0 {offset}" for _, offset in steps)
    times = ";".join(f"{when / total:.4f}" for when, _ in steps)
    yield f'<g transform="translate(0 {steps[-1][1]})">'
    yield (
        f'<animateTransform attributeName="transform" type="translate" values="{moves}"'
        f' keyTimes="{times}" calcMode="discrete" dur="{total:.2f}s" repeatCount="indefinite"/>'
    )
    for index, line in enumerate(lines):
        for when, column, text in line:
            kind = ""
            whole = "".join(part[2] for part in line)
            if re.match(r"\d+ received", whole):
                kind = ' class="end"'
            elif "kill" in whole.lower():
                kind = ' class="kill"'
            place = f'x="{10 + column * CHARACTER:.1f}" y="{15 + index * LINE}"'
            yield f"<text {place}{kind}>{escape(text)}{appears(when, total)}</text>"
    yield "</g></svg></svg>"


def picture(shown):
    first = min(chunks[0][0] for chunks in shown)
    shown = [[(when - first, data) for when, data in chunks] for chunks in shown]
    total = max(chunks[-1][0] for chunks in shown) + HOLD
    width, height = COLUMNS * CHARACTER, ROWS * LINE + 38
    yield (
        '<svg xmlns="http://www.w3.org/2000/svg" role="img"'
        f' viewBox="0 0 {2 * width + 10:.0f} {height}">'
    )
    yield "<title>A C producer is killed and restarted; a Python consumer loses nothing</title>"
    yield f"<style>{STYLE}\n</style>"
    yield from pane(0, "C producer", lines_of(shown[0]), total)
    yield from pane(width + 10, "Python consumer", lines_of(shown[1]), total)
    yield "</svg>"


def main():
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        shown = record(folder)
    for chunks in shown:
        print("".join(data for _, data in chunks), end="\n\n")
    if " 0 lost" not in "".join(data for _, data in shown[1]).splitlines()[-2]:
        sys.exit("the consumer lost messages, or did not end")
    PICTURE.write_text("\n".join(picture(shown)) + "\n")
    print(f"wrote {PICTURE.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
