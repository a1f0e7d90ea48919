#!/bin/sh
# Installs a wheel or a source distribution in an empty environment and uses it there.
#
#   scripts/test-wheel.sh PYTHON FILE
#
# A wheel is installed without a compiler and without network access.
set -eu
python=$1 file=$(realpath "$2")
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"$python" -m venv "$folder/venv"
install="$folder/venv/bin/python -m pip --disable-pip-version-check install --quiet"
case $file in
*.whl) PATH=$folder/venv/bin $install --no-index "$file" ;;
*) env -u CARGO_TARGET_DIR $install "$file" ;;
esac

cd "$folder"
IPCQ_DIR=$folder PATH=$folder/venv/bin python -I - <<'END'
import subprocess
import sys
from importlib.metadata import metadata
from pathlib import Path

import ipcq

installed = metadata("ipcq")
assert installed["Version"] == ipcq.__version__, installed["Version"]
assert sorted(installed.get_all("License-File")) == ["LICENSE-APACHE", "LICENSE-MIT"], installed
files = {path.name for path in Path(ipcq.__file__).parent.iterdir()}
assert {"py.typed", "_ipcq.pyi"} <= files, files
assert "numpy" not in sys.modules
assert not hasattr(ipcq._ipcq, "_panic"), "the wheel has the hooks of the tests"

receive = "import ipcq\nfor message in ipcq.Consumer('wheel', open_timeout=60): print(message)"
other = subprocess.Popen([sys.executable, "-I", "-c", receive], stdout=subprocess.PIPE)
with ipcq.Producer("wheel", capacity=4096) as out:
    for n in range(100):
        out.push(b"%d" % n)
received = other.communicate(timeout=120)[0].decode().split()
assert other.returncode == 0 and received == [repr(b"%d" % n) for n in range(100)], received

# The interpreter ends daemon threads in the middle of their calls.
waits = """
import threading, time, ipcq
out = ipcq.Producer("full", delivery="lossless", capacity=64, message_size=8)
q = ipcq.Consumer("full")
begun = threading.Semaphore(0)

def feed():
    begun.release()
    while True:
        out.put(bytes(8))

for _ in range(3):
    threading.Thread(target=feed, daemon=True).start()
    begun.acquire()
while q.stats.lag < 64:
    time.sleep(0.001)
"""
ended = subprocess.run([sys.executable, "-I", "-c", waits], timeout=120, check=False)
assert ended.returncode == 0, ended
END
echo "test-wheel: $(basename "$file") passed"
