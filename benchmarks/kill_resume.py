"""Kills a real training at random moments, resumes it, and compares it with the one that was left alone, bit for bit.

`python benchmarks/kill_resume.py --kills 100`. Each trial starts `labctl run train_in_situ` in a process of its own and
kills it the hard way: half of them after a random time, half while a file is being replaced (a header, a checkpoint,
weights or a summary). The run is resumed, in one trial of three killed once more on the way, until it completes.
"""

import argparse
import json
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import zarr

from labctl.recorder import read_checkpoint, read_records, read_weights

SMALL_BENCH = Path(__file__).parents[1] / "tests" / "benches" / "small_cell.yaml"
SETTINGS = (
    *("data=sample", "hidden=[8]", "train_samples=400", "test_samples=32", "batch_size=16", "epochs=2"),
    *("agreement_every=8", "checkpoint_every=7", "initial_sd=0.5", "optical_depth=4", "keep=sampled"),
)
KILLED_AGAIN = 1 / 3
LABCTL = (sys.executable, "-m", "labctl.cli.main")


def training(bench: Path, out: Path) -> list[str]:
    """Return the command that trains into a folder below `out`."""
    settings = [part for one in SETTINGS for part in ("--set", one)]
    return [
        *LABCTL,
        "run",
        "train_in_situ",
        "--bench",
        str(bench),
        "--simulate",
        *settings,
        "--out",
        str(out),
        "--json",
    ]


def resuming(out: Path, start: Sequence[str]) -> list[str]:
    """Return the command that resumes the run below `out`, or `start` where the run was killed before it had begun."""
    runs = [path.parent for path in out.glob("*/*/run.yaml")]
    return [*LABCTL, "resume", str(runs[0]), "--json"] if runs else list(start)


def killed(command: Sequence[str], out: Path, after_s: float, *, at_a_file: bool) -> str | None:
    """Start a command and kill it; return when that was, or None where it had ended before.

    Args:
        command: What to start.
        out: Folder it writes to.
        after_s: Seconds to let it run.
        at_a_file: Wait from then on for a file that is being replaced.
    """
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    end_s = time.monotonic() + after_s
    while process.poll() is None and time.monotonic() < end_s:
        time.sleep(0.001)
    found: list[Path] = []
    while at_a_file and process.poll() is None and not found:
        found = list(out.glob("*/*/*.part"))
    hit = process.poll() is None
    process.kill()
    process.wait()
    return (f"replacing {found[0].stem}" if found else _phase(out)) if hit else None


def _phase(out: Path) -> str:
    """Return what the run below `out` was doing, told by what is there."""
    lines = [path.read_bytes() for path in out.glob("*/*/steps.jsonl")]
    if not lines:
        return "starting"
    return "setting up" if b'"step"' not in lines[0] else "finishing" if b'"weights"' in lines[0] else "training"


def contents(out: Path) -> dict[str, Any]:
    """Return everything the only run below `out` left behind that does not depend on the wall clock."""
    (run,) = (path.parent for path in out.glob("*/*/run.yaml"))
    records = [{key: one for key, one in record.items() if key != "wall_time"} for record in read_records(run)]
    about, arrays = read_checkpoint(run)
    summary = json.loads((run / "summary.json").read_bytes())
    return {
        "records": repr(records),
        "rows": dict(_rows(run, records)),
        "weights": read_weights(run),
        "checkpoint": {**arrays, "about": repr({key: one for key, one in about.items() if key != "bytes"})},
        "summary": repr({key: one for key, one in summary.items() if key != "wall_s"}),
    }


def _rows(run: Path, records: list[dict[str, Any]]) -> Iterator[tuple[str, Any]]:
    group = zarr.open_group(run / "arrays.zarr", mode="r")
    for record in records:
        for name, row in record["arrays"].items():
            path = f"{record['kind']}/{name}"
            yield f"{path}/{row}", np.asarray(group[path])[row]


def differences(one: Any, other: Any, where: str = "run") -> list[str]:
    """Return where two trees of texts and arrays differ."""
    if isinstance(one, dict) and isinstance(other, dict):
        missing = [f"{where}/{name}: only in one" for name in one.keys() ^ other.keys()]
        both = [name for name in one if name in other]
        return missing + [found for name in both for found in differences(one[name], other[name], f"{where}/{name}")]
    if isinstance(one, np.ndarray):
        same = one.dtype == other.dtype and one.shape == other.shape and one.tobytes() == other.tobytes()
    else:
        same = one == other
    return [] if same else [where]


def trial(bench: Path, folder: Path, whole_s: float, draw: random.Random) -> list[str]:
    """Kill and resume one run below `folder` until it completes; return when it was killed.

    Raises:
        RuntimeError: A resumed run did not complete.
    """
    start, moments = training(bench, folder), []
    while not moments:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        moments += filter(None, [killed(start, folder, draw.uniform(0, whole_s), at_a_file=draw.random() < 0.5)])
    if draw.random() < KILLED_AGAIN:
        again = killed(resuming(folder, start), folder, draw.uniform(0, whole_s), at_a_file=draw.random() < 0.5)
        moments += [f"again {again}"] if again else []
    ended = subprocess.run(resuming(folder, start), capture_output=True, text=True, check=False)
    if ended.returncode != 0:
        raise RuntimeError(f"killed {', '.join(moments)}; resume ended with {ended.returncode}: {ended.stderr[-2000:]}")
    return moments


def main() -> None:
    """Kill, resume, compare, and say how often they were equal."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--bench", type=Path, default=SMALL_BENCH)
    options = parser.parse_args()
    draw, equal, phases = random.Random(options.seed), 0, Counter[str]()
    with tempfile.TemporaryDirectory() as scratch:
        alone, folder = Path(scratch, "alone"), Path(scratch, "killed")
        began_s = time.monotonic()
        subprocess.run(training(options.bench, alone), check=True, capture_output=True)
        whole_s, expected = time.monotonic() - began_s, contents(alone)
        sys.stdout.write(f"left alone it takes {whole_s:.1f} s\n")
        for number in range(1, options.kills + 1):
            moments = trial(options.bench, folder, whole_s, draw)
            found = differences(expected, contents(folder))
            equal += not found
            phases.update(moments)
            verdict = "equal" if not found else f"differs in {', '.join(found)}"
            sys.stdout.write(f"{number}: killed {', '.join(moments)}: {verdict}; {equal} of {number} equal\n")
            sys.stdout.flush()
    for phase, count in phases.most_common():
        sys.stdout.write(f"{count:4} {phase}\n")
    sys.exit(equal != options.kills)


if __name__ == "__main__":
    main()
