"""Run the tests on the lowest and the newest versions that pyproject.toml allows, and on every Python that is there.

Usage: python tools/compat.py [NAME ...]

A NAME is a Python version and which versions of the dependencies, such as 3.11-lowest or 3.13-newest; without one, all
run, one after another, each in a fresh virtual environment below .venv-compat. Those whose Python is not found are
passed over. uv resolves and installs. The exit status is 1 where the tests of one fail.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PLACE = ROOT / ".venv-compat"
UV = PLACE / "uv" / "bin" / "uv"
NAMES = ("3.11-lowest", "3.11-newest", "3.12-newest", "3.13-newest", "3.14-newest")


def main(names: list[str]) -> int:
    """Run the tests in each environment named, print one line each; answers the exit status."""
    install_uv()
    results = {name: outcome(name) for name in names or NAMES}
    print("", *(f"{name}: {result}" for name, result in results.items()), sep="\n")
    return any(result.startswith("failed") for result in results.values())


def install_uv() -> None:
    """Put uv into a virtual environment of its own, in the version of constraints.txt."""
    venv.create(PLACE / "uv", with_pip=True)
    pip = ("-m", "pip", "--quiet", "--disable-pip-version-check")
    run(PLACE / "uv" / "bin" / "python", *pip, "install", "--constraint", "constraints.txt", "uv")


def outcome(name: str) -> str:
    """Make the environment and run the tests in it: passed, failed, or why not run."""
    version, _, which = name.partition("-")
    interpreter = find(version)
    if interpreter is None:
        return f"not run: no Python {version} here"
    print(f"\n{name}: {interpreter}", flush=True)
    try:
        python = installed(name, interpreter, ["--constraint", lowest(name, interpreter)] if which == "lowest" else [])
    except subprocess.CalledProcessError:
        return "failed: the versions cannot be installed together"
    tests = subprocess.run([python, "-m", "pytest", "-q", "--maxfail=20"], cwd=ROOT, check=False)
    return "failed" if tests.returncode else "passed"


def installed(name: str, interpreter: str, bounds: list[str | Path]) -> Path:
    """Make the environment afresh; its interpreter. Raises CalledProcessError."""
    python = PLACE / name / "bin" / "python"
    run(UV, "venv", "--quiet", "--clear", "--python", interpreter, PLACE / name)
    run(UV, "pip", "install", "--quiet", "--python", python, *bounds, "--group", "dev", "--editable", ".[uvloop]")
    return python


def find(version: str) -> str | None:
    """An interpreter of that version: on the path, or of pyenv; None where there is none that runs."""
    pyenv = Path(os.environ.get("PYENV_ROOT", "~/.pyenv")).expanduser() / "versions"
    found = [shutil.which(f"python{version}"), *map(str, sorted(pyenv.glob(f"{version}.*/bin/python"), reverse=True))]
    return next((one for one in found if one and runs(one)), None)


def runs(interpreter: str) -> bool:
    """Whether it starts; pyenv puts a shim on the path for versions that are switched off."""
    return subprocess.run([interpreter, "-c", ""], capture_output=True, check=False).returncode == 0


def lowest(name: str, interpreter: str) -> Path:
    """Constraints that hold each runtime dependency to the lowest version that pyproject.toml allows."""
    file = PLACE / f"{name}.txt"
    resolve = ["--quiet", "--no-deps", "--resolution", "lowest", "--extra", "uvloop", "--python", interpreter]
    run(UV, "pip", "compile", *resolve, "--output-file", file, "pyproject.toml", stdout=subprocess.DEVNULL)
    return file


def run(*command: str | Path, stdout: int | None = None) -> None:
    """Run a command in the project's directory. Raises CalledProcessError."""
    subprocess.run(command, cwd=ROOT, check=True, stdout=stdout)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
