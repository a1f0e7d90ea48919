#!/bin/sh
# Loads a wheel in every CPython from 3.11 on that it finds, and passes a message through a queue.
#
#   scripts/test-versions.sh WHEEL
#
# It searches the PATH and the versions of pyenv. The wheel does not support free-threaded
# interpreters.
set -eu
wheel=$(realpath "$1")
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cat >"$folder/try.py" <<'END'
import sys
import sysconfig
import zipfile

if sys.implementation.name != "cpython" or sysconfig.get_config_var("Py_GIL_DISABLED"):
    sys.exit()
sys.path.insert(0, sys.argv[2])
zipfile.ZipFile(sys.argv[1]).extractall(sys.argv[2])
import ipcq

memory = ipcq.SharedMemory("memory", create=True, size=8)
with ipcq.Producer("queue", capacity=4096) as out, ipcq.Consumer("queue") as q:
    out.push(memoryview(memory))
    assert q.pop() == bytes(8)
    out.push(b"alive at the end of the interpreter")
    kept = memoryview(q.view(timeout=0))
print(".".join(map(str, sys.version_info[:3])))
END
found=
for minor in 11 12 13 14 15; do
    for python in python3.$minor "${PYENV_ROOT:-$HOME/.pyenv}"/versions/3.$minor.*/bin/python3; do
        # pyenv has shims even for versions that are not active.
        "$python" -c '' 2>/dev/null || continue
        mkdir -p "$folder/$minor"
        version=$(IPCQ_DIR=$folder/$minor "$python" -I "$folder/try.py" "$wheel" "$folder/$minor") ||
            { echo "test-versions: $python failed" >&2; exit 1; }
        case " $found " in *" $version "*) ;; *) found="$found${found:+ }$version" ;; esac
        rm -rf "$folder/$minor"
    done
done
[ -n "$found" ] || { echo "test-versions: no CPython from 3.11 on was found" >&2; exit 1; }
echo "test-versions: $(basename "$wheel") passed in CPython $found"
