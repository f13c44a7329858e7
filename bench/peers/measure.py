"""What every peer's process does around its own calls: read the job, time calls over rotating caches, check each
output, print one JSON object.

    {"version": "...", "note": "...", "variants": [
        {"variant": "...", "layout": "head_major", "as_called": true, "times": [seconds, ...], "median": ...,
         "max_error": ..., "relative_error": ..., "cpu_share": ...},
        {"variant": "...", "layout": "...", "cannot": "why"}]}
"""
from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

import data
from cells import Cell

WARM_UP_CALLS = 2


class Cannot(Exception):
    """The peer has no way to express the cell; the message says what it lacks."""


@dataclass
class Job:
    cell: Cell
    caches: int  # how many copies of the cache the calls rotate over
    seconds: float  # timed calls go on until both are reached
    min_calls: int
    quick: bool
    clock: Callable[[], float]  # what calls are timed by
    q: np.ndarray
    k: np.ndarray
    v: np.ndarray
    expected: np.ndarray

    def head_major(self, tokens: np.ndarray) -> np.ndarray:
        """[token][head][dim] as [1][head][token][dim], contiguous."""
        return np.ascontiguousarray(tokens.transpose(1, 0, 2))[None]


@dataclass
class Variant:
    """One way of asking a peer for the cell. Calls are timed, nothing else is."""
    call: Callable[[int], Any]  # computes over cache i
    output: Callable[[Any], np.ndarray]  # of what call returned: the answer as [query][head][dim]
    expected: Callable[[int], np.ndarray] | None = None  # the answer for cache i where calls change it, else the job's
    after: Callable[[int], None] | None = None  # puts cache i back where a call changed it
    max_calls: int = 10000


@dataclass
class Result:
    variant: str
    layout: str
    as_called: bool = False  # how the peer's users ask for grouped heads, without help by hand
    times: list[float] = field(default_factory=list)
    max_error: float = 0.0
    relative_error: float = 0.0  # max_error / the largest expected value
    cpu_share: float = 1.0  # CPU time / wall time: below 1 the machine was busy with something else
    cannot: str = ""

    def as_json(self) -> dict[str, Any]:
        if self.cannot:
            return {"variant": self.variant, "layout": self.layout, "as_called": self.as_called, "cannot": self.cannot}
        return {**self.__dict__, "median": statistics.median(self.times)}


def run(job: Job, result: Result, prepare: Callable[[], Variant]) -> Result:
    """Fills in `result`, or says why the peer cannot."""
    try:
        variant = prepare()
        for i in range(WARM_UP_CALLS):
            variant.call(i % job.caches)
            if variant.after:
                variant.after(i % job.caches)
        time_calls(job, variant, result)
    except Cannot as why:
        result.cannot = str(why)
    except Exception as error:  # a library refuses in many ways; the report names whichever it was
        result.cannot = f"{type(error).__name__}: {error}".splitlines()[0][:200]
    return result


def time_calls(job: Job, variant: Variant, result: Result) -> None:
    i = WARM_UP_CALLS % job.caches
    begin, cpu_begin = time.perf_counter(), time.process_time()
    while len(result.times) < job.min_calls or (time.perf_counter() - begin < job.seconds
                                                and len(result.times) < variant.max_calls):
        start = job.clock()
        returned = variant.call(i)
        result.times.append(job.clock() - start)
        check(variant.output(returned), variant.expected(i) if variant.expected else job.expected, result)
        if variant.after:
            variant.after(i)
        i = (i + 1) % job.caches
    result.cpu_share = (time.process_time() - cpu_begin) / (time.perf_counter() - begin)


def check(output: np.ndarray, expected: np.ndarray, result: Result) -> None:
    error = np.abs(np.asarray(output, np.float64).reshape(expected.shape) - expected).max()
    result.max_error = max(result.max_error, float(error) if np.isfinite(error) else sys.float_info.max)
    result.relative_error = result.max_error / float(np.abs(expected).max())


def read_job(path: Path) -> Job:
    text = json.loads(path.read_text())
    cell = Cell(**text["cell"])
    clock = time.process_time if text["clock"] == "cpu" else time.perf_counter
    return Job(cell, text["caches"], text["seconds"], text["min_calls"], text["quick"], clock,
               *data.read(cell, Path(text["data"])))


def main(version: Callable[[], str], measure: Callable[[Job], list[Result]]) -> None:
    job = read_job(Path(sys.argv[1]))
    results = measure(job)
    print(json.dumps({"version": version(), "variants": [r.as_json() for r in results]}))
