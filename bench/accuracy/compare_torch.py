"""RMS error against float64, of this library and of PyTorch's scaled_dot_product_attention, on the same f32 inputs.

Needs numpy and torch (bench/peers/environment.py makes such an environment) and a C++ compiler. Exits with 1 where,
over all shapes, our geometric mean is above PyTorch's.
Usage: compare_torch.py [--compiler g++] [--eigen /usr/include/eigen3]
"""
from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "peers"))
from data import attention  # noqa: E402  the float64 answer


@dataclass(frozen=True)
class Shape:
    name: str
    q_heads: int
    kv_heads: int
    head_dim: int
    q_len: int
    kv_len: int
    amplitude: float = 1.0  # of q: how far apart the scores lie

    @property
    def causal(self) -> bool:
        return self.q_len == self.kv_len


SHAPES = (
    Shape("decode", 32, 8, 128, 1, 1024),
    Shape("decode, long", 32, 8, 128, 1, 16384),
    Shape("decode, one KV head", 16, 1, 64, 1, 4096),
    Shape("decode, scores far apart", 32, 8, 128, 1, 4096, 8.0),
    Shape("a few queries", 8, 2, 80, 16, 777),
    Shape("prefill", 8, 2, 64, 512, 512),
    Shape("prefill, head_dim 128", 8, 8, 128, 1024, 1024),
    Shape("prefill, scores far apart", 8, 2, 64, 512, 512, 8.0),
)


def inputs(shape: Shape) -> dict[str, np.ndarray]:
    random = np.random.default_rng(2305_13245)
    kv = (shape.kv_len, shape.kv_heads, shape.head_dim)
    sizes = {"q": (shape.q_len, shape.q_heads, shape.head_dim), "k": kv, "v": kv}
    tensors = {name: random.standard_normal(size, np.float32) for name, size in sizes.items()}
    tensors["q"] *= np.float32(shape.amplitude)
    return tensors


def ours(program: Path, shape: Shape, tensors: dict[str, np.ndarray], folder: Path) -> np.ndarray:
    for name, values in tensors.items():
        values.tofile(folder / f"{name}.bin")
    numbers = (shape.q_heads, shape.kv_heads, shape.head_dim, shape.q_len, shape.kv_len, int(shape.causal))
    subprocess.run([program, folder, *map(str, numbers)], check=True)
    return np.fromfile(folder / "out.bin", np.float32).reshape(tensors["q"].shape)


def theirs(shape: Shape, tensors: dict[str, np.ndarray]) -> np.ndarray:
    q, k, v = (torch.from_numpy(tensors[name]).unsqueeze(0).transpose(1, 2) for name in "qkv")
    with torch.inference_mode():
        out = F.scaled_dot_product_attention(q, k, v, is_causal=shape.causal, enable_gqa=True)
    return out[0].transpose(0, 1).numpy()


def rms(out: np.ndarray, exact: np.ndarray) -> float:
    return float(np.sqrt(np.mean((out.astype(np.float64) - exact) ** 2)))


def main() -> int:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--compiler", default="g++")
    arguments.add_argument("--eigen", default="/usr/include/eigen3", help="folder that holds Eigen/Core")
    given = arguments.parse_args()
    torch.set_num_threads(1)
    ratios = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        program = folder / "ours"
        subprocess.run([given.compiler, "-std=c++20", "-O2", "-I", HERE.parents[1] / "include", "-isystem", given.eigen,
                        HERE / "ours.cpp", "-o", program], check=True)
        print(f"RMS error against float64, f32, torch {torch.__version__}")
        print(f"{'':28} {'ours':>10} {'torch':>10} {'ours / torch':>13}")
        for shape in SHAPES:
            tensors = inputs(shape)
            exact = attention(**tensors, causal=shape.causal)
            our, their = rms(ours(program, shape, tensors, folder), exact), rms(theirs(shape, tensors), exact)
            ratios.append(our / their)
            print(f"{shape.name:28} {our:10.3e} {their:10.3e} {our / their:13.2f}", flush=True)
    mean = float(np.exp(np.mean(np.log(ratios))))
    print(f"{'geometric mean':28} {'':10} {'':10} {mean:13.2f}")
    return 0 if mean <= 1 else 1


if __name__ == "__main__":
    sys.exit(main())
