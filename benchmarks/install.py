"""How large a fresh install is and how soon `--help` answers.

python benchmarks/install.py
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parent.parent


def main() -> None:
    """Install into a new virtual environment, weigh it, time `computewise --help` ten times."""
    with tempfile.TemporaryDirectory() as directory:
        environment = Path(directory) / "environment"
        subprocess.run([sys.executable, "-m", "venv", environment], check=True)
        empty = size(environment)
        subprocess.run([environment / "bin/pip", "install", "-q", "--no-compile", ROOT], check=True)
        installed = size(environment)
        command = environment / "bin/computewise"
        subprocess.run([command, "--help"], check=True, stdout=subprocess.DEVNULL)
        seconds = []
        for _ in range(10):
            started = time.perf_counter()
            subprocess.run([command, "--help"], check=True, stdout=subprocess.DEVNULL)
            seconds.append(time.perf_counter() - started)
    print(f"installed: {(installed - empty) / 2**20:.0f} MiB beside {empty / 2**20:.0f} MiB of the empty environment")
    print(f"computewise --help: median {statistics.median(seconds):.2f} s, slowest {max(seconds):.2f} s")


def size(directory: Path) -> int:
    """Bytes of all files."""
    return sum(path.stat().st_size for path in directory.rglob("*") if path.is_file() and not path.is_symlink())


if __name__ == "__main__":
    main()
