"""The peers, and the virtual environment they are installed into from PyPI, one after another. What cannot be installed
is reported with its reason; the others go on."""
from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).resolve().parent


@dataclass(frozen=True)
class Peer:
    name: str
    module: str  # what it imports
    packages: tuple[str, ...]
    minutes: int = 20  # limit of its installation
    environment: dict[str, str] = field(default_factory=dict)
    remark: str = ""

    @property
    def script(self) -> Path:
        return HERE / f"peer_{self.name}.py"


PEERS = (
    Peer("onnxruntime", "onnxruntime", ("onnxruntime", "onnx")),
    Peer("openvino", "openvino", ("openvino",)),
    Peer("torch", "torch", ("torch",), remark="where PyPI's wheel brings CUDA libraries, 2 GB of them; none is used"),
    Peer("ggml", "llama_cpp", ("llama-cpp-python",), minutes=60,
         environment={"CMAKE_ARGS": "-DGGML_NATIVE=ON", "CMAKE_BUILD_PARALLEL_LEVEL": str(os.cpu_count() or 1)},
         remark="built from source with cmake, about 10 core-minutes"),
)
COMMON = Peer("numpy and matplotlib", "matplotlib", ("numpy", "matplotlib"))


def python(venv: Path) -> Path:
    return venv / "bin" / "python"


def has(venv: Path, peer: Peer) -> bool:
    found = f"import importlib.util, sys; sys.exit(importlib.util.find_spec('{peer.module}') is None)"
    return subprocess.run([python(venv), "-c", found]).returncode == 0


def create(venv: Path) -> None:
    if python(venv).exists():
        return
    made = subprocess.run([sys.executable, "-m", "venv", str(venv)], capture_output=True, text=True)
    if made.returncode != 0:
        sys.exit(f"cannot make a virtual environment in {venv} (on Debian: apt-get install python3-venv)\n"
                 + made.stdout + made.stderr)


def install(venv: Path, peer: Peer) -> str:
    """Empty where the peer is now there, else why not. The whole output goes to install-NAME.log in the environment."""
    if has(venv, peer):
        return ""
    remark = f" ({peer.remark})" if peer.remark else ""
    print(f"installing {' '.join(peer.packages)}{remark}", flush=True)
    log = venv / f"install-{peer.name.replace(' ', '-')}.log"
    command = [python(venv), "-m", "pip", "install", *peer.packages]
    with log.open("w") as out:
        try:
            done = subprocess.run(command, stdout=out, stderr=subprocess.STDOUT, env={**os.environ, **peer.environment},
                                  timeout=60 * peer.minutes)
        except subprocess.TimeoutExpired:
            return f"not installed within {peer.minutes} minutes (log: {log})"
    if done.returncode != 0 or not has(venv, peer):
        lines = [line for line in log.read_text().splitlines() if "ERROR" in line or "error:" in line]
        return f"not installed: {lines[-1].strip()[:160] if lines else 'see the log'} (log: {log})"
    return ""


def prepare(venv: Path, wanted: list[Peer]) -> dict[str, str]:
    """Makes the environment; the peers that are missing from it, each with its reason."""
    create(venv)
    why = install(venv, COMMON)
    if why:
        sys.exit(f"numpy and matplotlib are needed: {why}")
    missing = {peer.name: install(venv, peer) for peer in wanted}
    return {name: why for name, why in missing.items() if why}
