"""Light through five phase plates, labctl beside its peers: `python benchmarks/diffraction.py [--quick] [PART ...]`.

The parts, all of them where none is named:

- `accuracy`: output field and phase gradient against torchoptics at its default padding.
- `step`: a training step (forward, cross-entropy on ten detectors, backward, Adam) on one thread; every code takes one
  step in turn, medians are compared, of the time that passed and of the processor's. `--quick` takes fewer rounds and
  leaves out torchoptics at its default padding.
- `memory`: how much a step raises the peak of resident memory, medians of processes of their own; allocators keep
  what they were given back, so that this varies far more than what is really in use.
- `cost`: labctl's step against plate size, batch and threads, also drawn into `benchmarks/results/diffraction.png`.

On a busy machine compare medians of one run only, rather the processor's time, and threads not at all.
"""

import argparse
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import psutil
import torch
from diffraction_peers import STACKS, Stack, labctl, torchoptics_stack
from matplotlib.figure import Figure
from rich.console import Console
from rich.table import Table
from torch import Tensor

from labctl.optics.free_space.threads import sharing

PARTS = ("accuracy", "step", "memory", "cost")
PICTURE = Path(__file__).parent / "results" / "diffraction.png"
SLOW = "torchoptics, its default padding"
OURS = "labctl"

# size, batch, rounds, and what labctl has to be faster by
STEPS: tuple[tuple[int, int, int, dict[str, float]], ...] = (
    (200, 8, 15, {SLOW: 25, "torchoptics, twice the grid": 4, "svetlanna": 1.3, "lightridge": 0.95}),
    (512, 4, 7, {"torchoptics, twice the grid": 5, "svetlanna": 1.3, "lightridge": 0.95}),
    (200, 64, 5, {"lightridge": 1.4}),
)
MEMORY_BAR = 4
PROCESSES = 3
THREADS_BAR = 1.6
ACCURACY_BAR = 2e-6

console = Console()


def squares(size: int) -> Tensor:
    """Return ten detectors as masks of the output plane, (N * N, 10): rows of three, four and three."""
    side, masks = size // 16, torch.zeros(10, size, size)
    number = 0
    for row, count in enumerate((3, 4, 3)):
        for column in range(count):
            top, left = (row + 1) * size // 4 - side // 2, (column + 1) * size // (count + 1) - side // 2
            masks[number, top : top + side, left : left + side] = 1
            number += 1
    return masks.reshape(10, -1).T.contiguous()


def training_step(stack: Stack, size: int, batch: int) -> Callable[[], None]:
    """Return one step of Adam on a fixed batch of random images."""
    generator = torch.Generator().manual_seed(1)
    amplitudes = torch.rand(batch, size, size, generator=generator)
    labels = torch.arange(batch) % 10
    optimiser = torch.optim.Adam(stack.phases, lr=1e-3)
    detectors = squares(size)

    def loss(field: Tensor, samples: slice) -> Tensor:
        energies = (field.real**2 + field.imag**2).flatten(1).float() @ detectors
        shares = 10 * energies / energies.sum(dim=1, keepdim=True)
        return torch.nn.functional.cross_entropy(shares, labels[samples], reduction="sum") / batch

    def step() -> None:
        optimiser.zero_grad()
        stack.gradient_of(amplitudes, loss)
        optimiser.step()

    return step


class Median(NamedTuple):
    """Median times of a step in seconds: what passed, and what the processor spent on it."""

    wall_s: float
    processor_s: float


def take_turns(steps: dict[str, Callable[[], None]], rounds: int) -> dict[str, Median]:
    """Return the medians of every step; each round takes all of them, in an order of its own."""
    order = list(steps)
    times: dict[str, list[Median]] = {name: [] for name in steps}
    for step in steps.values():
        step()
    for number in range(rounds):
        random.Random(number).shuffle(order)
        for name in order:
            wall, processor = time.perf_counter(), time.process_time()
            steps[name]()
            times[name].append(Median(time.perf_counter() - wall, time.process_time() - processor))
    return {name: Median(*map(statistics.median, zip(*taken, strict=True))) for name, taken in times.items()}


def accuracy(size: int) -> None:
    """Print how far field and gradient are from torchoptics in double precision, with its default padding."""
    amplitudes = torch.rand(1, size, size, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    weights = squares(size).sum(dim=1).reshape(size, size).double()

    def field_and_gradient(stack: Stack) -> tuple[Tensor, Tensor]:
        field = stack.output(amplitudes)
        (weights * (field.real**2 + field.imag**2)).sum().backward()
        return field.detach().to(torch.complex128), _gradient(stack)

    def relative(one: Tensor, other: Tensor) -> str:
        return f"{float(torch.linalg.norm(one - other) / torch.linalg.norm(other)):.1e}"

    expected = field_and_gradient(torchoptics_stack(size))
    table = Table("labctl", "field", "phase gradient", title=f"relative error against torchoptics, 5 x {size}x{size}")
    for dtype in (torch.complex64, torch.complex128):
        found = field_and_gradient(labctl(size, dtype))
        table.add_row(str(dtype).removeprefix("torch."), *map(relative, found, expected))
    table.caption = f"bar {ACCURACY_BAR:.0e}"
    console.print(table)


def step_times(quick: bool) -> None:
    """Print a table for each size and batch: medians, and by what factor labctl is faster."""
    for size, batch, rounds, bars in STEPS:
        title = f"5 x {size}x{size}, batch {batch}"
        names = [OURS, "labctl, plain autograd", *(name for name in bars if not (quick and name == SLOW))]
        steps = {name: training_step(STACKS[name](size), size, batch) for name in names}
        _print_steps(take_turns({name: step for name, step in steps.items() if name != SLOW}, rounds), bars, title)
        if SLOW in steps:  # so slow that it takes its turns with labctl alone
            _print_steps(take_turns({name: steps[name] for name in (OURS, SLOW)}, 3), bars, title)


def _print_steps(medians: dict[str, Median], bars: dict[str, float], title: str) -> None:
    table = Table("code", "ms a step", "labctl is faster by", "bar", "processor ms", "by", title=title)
    ours = medians[OURS]
    for name, median in medians.items():
        wall, processor = median.wall_s / ours.wall_s, median.processor_s / ours.processor_s
        times = f"{median.wall_s * 1e3:.0f}", f"{wall:.2f}", str(bars.get(name, "")), f"{median.processor_s * 1e3:.0f}"
        table.add_row(name, *times, f"{processor:.2f}")
    console.print(table)


def memory(size: int, batch: int) -> None:
    """Print by how much one step raises the peak of resident memory, and labctl's share of the leanest peer's."""
    grown: dict[str, list[float]] = {name: [] for name in STACKS}
    for name in [*STACKS] * PROCESSES:
        command = [sys.executable, __file__, "--grow", name, "--size", str(size), "--batch", str(batch)]
        grown[name].append(float(subprocess.run(command, check=True, capture_output=True, text=True).stdout))
    medians = {name: statistics.median(values) for name, values in grown.items()}
    title = f"growth of resident memory, 5 x {size}x{size}, batch {batch}"
    table = Table("code", "MiB", "least to most", "over labctl's", title=title)
    for name, values in grown.items():
        spread = f"{min(values):.0f} to {max(values):.0f}"
        table.add_row(name, f"{medians[name]:.0f}", spread, f"{medians[name] / medians[OURS]:.1f}")
    leanest = min(value for name, value in medians.items() if not name.startswith(OURS))
    table.caption = f"leanest peer over labctl {leanest / medians[OURS]:.1f}, bar {MEMORY_BAR}"
    console.print(table)


def growth_mib(name: str, size: int, batch: int) -> float:
    """Return by how much one step raises this process's peak of resident memory, libraries being loaded."""
    training_step(STACKS[name](64), 64, 1)()
    step = training_step(STACKS[name](size), size, batch)
    before = psutil.Process().memory_info().rss
    step()
    return (_peak_bytes() - before) / 2**20


def cost(quick: bool) -> None:
    """Print and draw what a step of labctl costs against size, batch and threads."""
    sizes = (64, 128, 256, 512) if quick else (64, 128, 256, 384, 512, 768, 1024)
    batches = (1, 4, 16) if quick else (1, 2, 4, 8, 16, 32, 64)
    threads = range(1, (psutil.cpu_count(logical=False) or 1) + 1)
    rounds = 3 if quick else 5
    by_size = {size: _time_ours(size, 4, rounds) / 4 for size in sizes}
    by_batch = {batch: _time_ours(200, batch, rounds) / batch for batch in batches}
    turns = take_turns({str(count): _on_threads(count, 200, 8) for count in threads}, 3 * rounds)
    by_threads = {count: median.wall_s for count, median in turns.items()}
    _print_cost("N, batch 4", {str(size): value for size, value in by_size.items()})
    _print_cost("batch, N = 200", {str(batch): value for batch, value in by_batch.items()})
    _print_cost("threads, N = 200, batch 8", {count: value / 8 for count, value in by_threads.items()})
    if "2" in by_threads:
        console.print(f"two threads are {by_threads['1'] / by_threads['2']:.2f} times one, bar {THREADS_BAR}")
    figure = Figure(figsize=(11, 3.4), layout="constrained")
    size_axes, batch_axes, thread_axes = figure.subplots(1, 3)
    size_axes.loglog(list(by_size), [1e3 * value for value in by_size.values()], "o-")
    size_axes.set(xlabel="N (plates of N x N)", ylabel="ms a sample and step")
    batch_axes.semilogx(list(by_batch), [1e3 * value for value in by_batch.values()], "o-")
    batch_axes.set(xlabel="batch, N = 200", ylim=(0, None))
    thread_axes.plot(list(threads), [by_threads["1"] / value for value in by_threads.values()], "o-")
    thread_axes.plot(list(threads), list(threads), color="0.7")
    thread_axes.set(xlabel="threads, N = 200, batch 8", ylabel="times as fast as one", xticks=list(threads))
    figure.suptitle("Training step of five phase plates")
    figure.savefig(PICTURE, dpi=120)
    console.print(f"drawn: {PICTURE}")


def _time_ours(size: int, batch: int, rounds: int) -> float:
    """Return the processor's time for a step on one thread: the time that passes where nothing else runs."""
    return take_turns({OURS: training_step(labctl(size), size, batch)}, rounds)[OURS].processor_s


def _on_threads(threads: int, size: int, batch: int) -> Callable[[], None]:
    """Return labctl's step on so many threads."""
    step = training_step(labctl(size), size, batch)

    def limited() -> None:
        with sharing(threads):
            step()

    return limited


def _print_cost(what: str, seconds: dict[str, float]) -> None:
    table = Table(what, *seconds)
    table.add_row("ms a sample", *(f"{value * 1e3:.2f}" for value in seconds.values()))
    console.print(table)


def _gradient(stack: Stack) -> Tensor:
    """Return the gradient of all phases, (plates, N, N), whether a stack keeps them in one tensor or plate by plate."""
    grads = [phase.grad for phase in stack.phases if phase.grad is not None]
    return (grads[0] if grads[0].ndim == 3 else torch.stack(grads)).double()


def _peak_bytes() -> int:
    """Return the peak of this process's resident memory."""
    if sys.platform == "win32":
        return psutil.Process().memory_info().peak_wset
    if sys.platform == "linux":  # not getrusage: its peak includes the parent's memory at the fork
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
        return 1024 * int(next(line for line in lines if line.startswith("VmHWM")).split()[1])
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the parts asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="PART", help=", ".join(PARTS))
    parser.add_argument("--quick", action="store_true", help="fewer rounds, nothing that takes minutes")
    parser.add_argument("--grow", help=argparse.SUPPRESS)
    parser.add_argument("--size", type=int, default=200, help="samples N of a plate's side, for accuracy and memory")
    parser.add_argument("--batch", type=int, default=8, help="for memory")
    asked = parser.parse_args(arguments)
    if unknown := set(asked.parts) - set(PARTS):
        parser.error(f"no part {', '.join(sorted(unknown))}; choose from {', '.join(PARTS)}")
    torch.set_num_threads(1)
    if asked.grow:
        sys.stdout.write(f"{growth_mib(asked.grow, asked.size, asked.batch):.2f}\n")
        return
    parts: dict[str, Callable[[], None]] = {
        "accuracy": lambda: accuracy(asked.size),
        "step": lambda: step_times(asked.quick),
        "memory": lambda: memory(asked.size, asked.batch),
        "cost": lambda: cost(asked.quick),
    }
    for part in asked.parts or PARTS:
        parts[part]()


if __name__ == "__main__":
    main()
