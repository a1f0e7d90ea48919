"""The programs of README.md: "Any sender works with any receiver"."""

import os
import re
import shutil
import struct
import subprocess
import sys
import time
from pathlib import Path

import pytest
from sybil import Sybil
from sybil.parsers.markdown import CodeBlockParser

import ipcq

ROOT = Path(__file__).resolve().parent.parent.parent
RECEIVED = "9.50 x 3, 0 lost\n"


def programs_in(language):
    """Returns sender and receiver, which one code block has, each after its file name."""
    parser = CodeBlockParser(language, evaluator=lambda example: None)
    (block,) = (example.parsed for example in Sybil([parser]).parse(ROOT / "README.md").examples())
    _, *found = re.split(r"^(?://|#) (send|receive)\.\w+.*$", block, flags=re.MULTILINE)
    return dict(zip(found[::2], found[1::2], strict=True))


def python(folder):
    for side, source in programs_in("python").items():
        (folder / f"{side}.py").write_text(source)
        yield side, [sys.executable, folder / f"{side}.py"]


def compiled(folder, language, compiler):
    library = ROOT / "target/release"
    flags = ["-Wall", "-Wextra", "-Wpedantic", "-Werror", f"-I{ROOT / 'include'}"]
    link = [f"-L{library}", "-lipcq", f"-Wl,-rpath,{library}"]
    for side, source in programs_in(language).items():
        (folder / f"{side}.{language}").write_text(source)
        command = [*compiler, *flags, f"{side}.{language}", "-o", side, *link]
        subprocess.run(command, check=True, cwd=folder)
        yield side, [folder / side]


def c(folder):
    return compiled(folder, "c", [os.environ.get("CC", "cc"), "-std=c11"])


def cpp(folder):
    return compiled(folder, "cpp", [os.environ.get("CXX", "c++"), "-std=c++17"])


def rust(folder):
    """Builds a crate with the versions of Cargo.lock in target/."""
    (folder / "Cargo.toml").write_text(
        f"""
        [package]
        name = "readme"
        edition = "2021"
        [dependencies]
        ipcq = {{ path = "{ROOT}", default-features = false, features = ["typed"] }}
        bytemuck = {{ version = "1", features = ["derive"] }}
        """
    )
    shutil.copy(ROOT / "Cargo.lock", folder)
    (folder / "src/bin").mkdir(parents=True)
    for side, source in programs_in("rust").items():
        (folder / f"src/bin/{side}.rs").write_text(source)
    target = ROOT / "target/readme"
    subprocess.run(
        ["cargo", "build", "--quiet", "--target-dir", target], check=True, cwd=folder, timeout=600
    )
    for side in "send", "receive":
        yield side, [target / "debug" / side]


LANGUAGES = {"C": c, "C++": cpp, "Python": python, "Rust": rust}


@pytest.fixture(scope="module")
def programs(tmp_path_factory):
    return {
        language: dict(build(tmp_path_factory.mktemp("readme")))
        for language, build in LANGUAGES.items()
    }


@pytest.mark.parametrize("receiver_first", [False, True])
@pytest.mark.parametrize("receiver", LANGUAGES)
@pytest.mark.parametrize("sender", LANGUAGES)
def test_any_sender_with_any_receiver(
    programs, tmp_path, monkeypatch, sender, receiver, receiver_first
):
    monkeypatch.setenv("IPCQ_DIR", str(tmp_path))
    if not receiver_first:
        subprocess.run(programs[sender]["send"], check=True, timeout=60)
    receive = programs[receiver]["receive"]
    with subprocess.Popen(receive, stdout=subprocess.PIPE, text=True) as process:
        try:
            if receiver_first:
                subprocess.run(programs[sender]["send"], check=True, timeout=60)
            received, _ = process.communicate(timeout=60)
        finally:
            process.kill()
    assert process.returncode == 0
    assert received == RECEIVED


@pytest.mark.parametrize("receiver", ["C", "C++", "Python"])
def test_a_harmless_signal_ends_no_receiver(programs, tmp_path, monkeypatch, receiver):
    monkeypatch.setenv("IPCQ_DIR", str(tmp_path))
    alarms, rung = tmp_path / "alarms.so", tmp_path / "rung"
    source = ROOT / "tests/c/alarms.c"
    compiler = [os.environ.get("CC", "cc"), "-D_GNU_SOURCE", "-shared", "-fPIC", source]
    subprocess.run([*compiler, "-o", alarms], check=True)
    rung.touch()

    def wait_for_more():
        enough = rung.stat().st_size + 20
        while rung.stat().st_size < enough:
            assert process.poll() is None
            time.sleep(0.001)

    environment = os.environ | {"LD_PRELOAD": str(alarms), "ALARMS": str(rung)}
    receive = programs[receiver]["receive"]
    with subprocess.Popen(receive, stdout=subprocess.PIPE, text=True, env=environment) as process:
        try:
            wait_for_more()  # while it waits for the queue
            with ipcq.Producer("ticks", capacity=64, message_size=24) as out:
                for _ in range(3):
                    wait_for_more()  # while it waits for a message
                    out.push(struct.pack("<QdII", 1700000000, 9.5, 3, 0))
            received, _ = process.communicate(timeout=60)
        finally:
            process.kill()
    assert process.returncode == 0
    assert received == RECEIVED * 3
