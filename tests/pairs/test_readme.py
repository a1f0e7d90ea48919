"""The programs of README.md: "Any of these senders works with any of these receivers"."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from sybil import Sybil
from sybil.parsers.markdown import CodeBlockParser

ROOT = Path(__file__).resolve().parent.parent.parent
RECEIVED = "9.50 x 3, 0 lost before\n"


def blocks(language):
    """The sender and the receiver."""
    parser = CodeBlockParser(language, evaluator=lambda example: None)
    found = [example.parsed for example in Sybil([parser]).parse(ROOT / "README.md").examples()]
    return dict(zip(["send", "receive"], found, strict=False))


def python(folder):
    for side, source in blocks("python").items():
        (folder / f"{side}.py").write_text(source)
        yield side, [sys.executable, folder / f"{side}.py"]


def c(folder):
    library = ROOT / "target/release"
    flags = ["-std=c11", "-Wall", "-Wextra", "-Wpedantic", "-Werror", f"-I{ROOT / 'include'}"]
    link = [f"-L{library}", "-lipcq", f"-Wl,-rpath,{library}"]
    for side, source in blocks("c").items():
        (folder / f"{side}.c").write_text(source)
        compiler = [os.environ.get("CC", "cc"), *flags, f"{side}.c", "-o", side, *link]
        subprocess.run(compiler, check=True, cwd=folder)
        yield side, [folder / side]


def rust(folder):
    """A crate with the versions of Cargo.lock, built in target/ as everything is."""
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
    for side, source in blocks("rust").items():
        (folder / f"src/bin/{side}.rs").write_text(source)
    target = ROOT / "target/readme"
    subprocess.run(
        ["cargo", "build", "--quiet", "--target-dir", target], check=True, cwd=folder, timeout=600
    )
    for side in "send", "receive":
        yield side, [target / "debug" / side]


LANGUAGES = {"C": c, "Python": python, "Rust": rust}


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
