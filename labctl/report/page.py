"""Writes the page of a run: one HTML file that needs nothing else, pictures included."""

import base64
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from matplotlib.figure import Figure

from labctl.errors import LabError
from labctl.files import replace_file
from labctl.forms import leaves
from labctl.report import figures, images
from labctl.report.readings import Readings, read_readings

NAME = "report.html"
UNKNOWN = "not recorded"
UNFINISHED = "not finished: still under way, or killed"

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #1c2430; background: #fff; max-width: 1080px; margin: 2em auto;
  padding: 0 1em }
h1 { font-size: 1.6em; margin-bottom: 0.2em }
h2 { font-size: 1.15em; margin-top: 2em; border-bottom: 1px solid #d5dbe1 }
table { border-collapse: collapse } td, th { text-align: left; vertical-align: top; padding: 0.2em 1.2em 0.2em 0;
  border-bottom: 1px solid #eef1f4; overflow-wrap: anywhere } th { font-weight: 600 }
img { max-width: 100%; height: auto } .note { color: #5b6673 } .bad { color: #a61b1b } .warning { color: #8a5a00 }
pre { font-size: 12px; overflow: auto; background: #f6f8fa; padding: 1em }
"""

Rows = Sequence[Sequence[Any]]


def write_report(run: Path) -> Path:
    """Write `report.html` into the folder of a run and return its path.

    Raises:
        LabError: It is no run folder, its records are damaged, or the page cannot be written.
    """
    page, path = make_page(read_readings(run)), run / NAME
    try:
        replace_file(path, page.encode())
    except OSError as error:
        raise LabError(
            f"{path}: not written: {error.strerror or error}; make room or give it another folder"
        ) from error
    return path


def make_page(read: Readings) -> str:
    """Return the page as HTML."""
    absent: list[str] = []
    parts = [*_head(read), *_training(read, absent), *_confusion(read, absent), *_samples(read, absent)]
    parts += [*_masks(read, absent), *_frames(read, absent)]
    parts += [*_cost(read, absent), *_messages(read), *_records(read), *_about(read)]
    if absent:
        parts += ["<h2>Left out</h2>", _items(absent)]
    title = escape(f"{read.header.get('plan', 'run')}: {read.folder.name}")
    return (
        f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        f"<style>{_STYLE}</style></head><body>\n" + "\n".join(parts) + "\n</body></html>\n"
    )


# ---- sections


def _head(read: Readings) -> Iterator[str]:
    header, summary = read.header, read.summary
    status = str(read.ended.get("status", UNFINISHED))
    accuracy = summary.get("test_accuracy", read.epochs.last.get("test_accuracy"))
    yield f"<h1>{escape(str(header.get('plan', 'run')))} on {escape(str(header.get('bench', 'unknown bench')))}</h1>"
    yield f'<p class="note">{escape(read.folder.name)}</p>'
    rows: list[Sequence[Any]] = [("status", status), ("bench", _simulated(header))]
    if accuracy is not None:
        so_far = "" if "test_accuracy" in summary else " (last epoch that was completed)"
        rows.append(("test accuracy", f"{float(accuracy):.2%}{so_far}"))
    rows += [(name.replace("_", " "), summary[name]) for name in ("data", "message") if name in summary]
    rows.append(("started", header.get("started", UNKNOWN)))
    yield _table(rows)
    if error := read.ended.get("error"):
        yield f'<p class="bad">{escape(str(error))}</p>'
    yield "<h2>Settings</h2>"
    settings = [(name, _text(value)) for name, value in leaves(header.get("settings") or {})]
    yield _table(settings or [(UNKNOWN,)])


def _training(read: Readings, absent: list[str]) -> Iterator[str]:
    if not read.steps.has("loss") and not read.steps.has("accuracy"):
        absent.append("loss and accuracy over steps: the run recorded no training steps")
    else:
        yield "<h2>Training</h2>"
        yield _picture(figures.training(read), "loss, accuracy and gradient agreement over steps")
        if read.steps.every > 1:
            yield _note(f"One in {read.steps.every} of {read.steps.seen:,} steps is drawn.")
    if read.agreements:
        yield "<h2>Gradient agreement</h2>"
        yield _picture(figures.agreement(read.agreements), "gradient agreement of every layer")
        yield _note("The noise floor is the cosine that scatter between measurements leaves, the model being perfect.")
    else:
        absent.append("gradient agreement: none was measured")
    if read.steps.has("reference_rad"):
        yield "<h2>Reference phase</h2>"
        yield _picture(figures.reference(read.steps), "reference phase over bench time")
    else:
        absent.append("reference phase: no step recorded it")


def _masks(read: Readings, absent: list[str]) -> Iterator[str]:
    if not read.weights and not read.phases:
        absent.append("masks: the run holds neither weights nor a checkpoint")
        return
    yield "<h2>Masks</h2>"
    yield _note(f"{'Phases' if read.phases else 'Weights'} at {read.weights_source}.")
    for panel, weights in read.weights.items():
        yield _picture(figures.mask(panel, weights), f"weights of {panel}")
    for panel, indices in read.masks.items():
        yield _picture(images.sent_mask(panel, indices), f"mask of {panel} as sent")
    for panel, phase in read.phases.items():
        yield _picture(images.phase_mask(panel, phase), f"phase of {panel}")


def _confusion(read: Readings, absent: list[str]) -> Iterator[str]:
    counts = np.array(read.kinds["epoch"].values.get("confusion") or () if "epoch" in read.kinds else ())
    if counts.ndim != 2:
        absent.append("confusion of classes: no epoch was completed")
        return
    yield "<h2>Confusion of classes</h2>"
    yield _picture(images.confusion(counts), "confusion matrix of the last epoch")
    yield _note(f"{int(counts.sum()):,} test samples after the last completed epoch.")


def _samples(read: Readings, absent: list[str]) -> Iterator[str]:
    if "inputs" not in read.samples:
        absent.append("activations and errors: they were not stored (keep: sampled or all stores them)")
        return
    yield "<h2>Activations and errors</h2>"
    yield _picture(images.samples(read.samples), "inputs, sums, activations, outputs and errors of a few samples")
    yield _note(
        "The first samples of the last gradient agreement. Hidden values are laid out as images row by row; sums and "
        "errors as they were measured, errors per sample as they leave the cell backwards."
    )


def _frames(read: Readings, absent: list[str]) -> Iterator[str]:
    if read.frames:
        yield "<h2>Frames</h2>"
        for first in range(0, min(len(read.frames), 12), 6):
            yield _picture(figures.frames(read.frames[first : first + 6]), "stored frames")
    elif "frame" in read.kinds:
        absent.append("frames: they were not stored (keep)")


def _cost(read: Readings, absent: list[str]) -> Iterator[str]:
    summary = read.summary
    yield "<h2>Cost</h2>"
    exposures = summary.get("exposures", read.steps.last.get("exposures"))
    bench_s = summary.get("bench_seconds", max((kind.last_s for kind in read.kinds.values()), default=None))
    photons = read.spent.get("photons")
    rows = [
        ("exposures", _whole(exposures)),
        ("photons detected", UNKNOWN if photons is None else f"{float(photons):.3g}"),
        ("mask writes", _whole(read.spent.get("mask_writes"))),
        ("bench time", _span(bench_s)),
        ("wall time", _span(read.wall_s)),
    ]
    yield _table(rows)
    if not summary:
        yield _note(
            "The plan returned no summary; exposures and bench time are those of the last record, the rest is that of "
            "the last checkpoint."
        )
    headings = {"exposures_by_heading": "exposures", "photons_by_heading": "photons"}
    shown = {about: read.spent[name] for name, about in headings.items() if read.spent.get(name)}
    if seconds := read.spent.get("seconds_by_heading"):
        rest_s = float(bench_s or 0) - sum(seconds.values())
        shown["bench time (s)"] = {**seconds, "warming, panels, switching": max(rest_s, 0.0)}
    if shown:
        yield _picture(figures.breakdown(shown), "exposures, photons and bench time by heading")
    else:
        absent.append("exposures, photons and time by heading: the run recorded none")


def _messages(read: Readings) -> Iterator[str]:
    warnings = sum(kind == "warning" for kind, _, _ in read.messages)
    yield f"<h2>Messages{f', {warnings} of them warnings' if warnings else ', no warnings'}</h2>"
    rows = [(f"{now_s:,.1f} s", kind, text) for kind, now_s, text in read.messages]
    yield _table(rows, ("bench time", "kind", "message")) if rows else _note("None.")
    if read.unshown_messages:
        yield _note(f"{read.unshown_messages:,} more are in steps.jsonl.")


def _records(read: Readings) -> Iterator[str]:
    yield "<h2>Records</h2>"
    rows = [
        (name, f"{kind.count:,}", f"{kind.first_s:,.3f} s", f"{kind.last_s:,.3f} s", _brief(kind.values))
        for name, kind in read.kinds.items()
    ]
    yield _table(rows, ("kind", "count", "first at", "last at", "last values")) if rows else _note("None.")


def _about(read: Readings) -> Iterator[str]:
    header = read.header
    yield "<h2>Versions and seeds</h2>"
    names = ("seed", "truth_seed", "commit", "platform", "keep")
    rows = [(name.replace("_", " "), header.get(name, UNKNOWN)) for name in names]
    yield _table([*rows, *(header.get("versions") or {}).items()])
    if bench := header.get("bench_file"):
        text = yaml.safe_dump(bench, sort_keys=False, allow_unicode=True)
        yield f"<details><summary>Bench as it was resolved</summary><pre>{escape(text)}</pre></details>"


# ---- parts


def _table(rows: Rows, head: Sequence[str] = ()) -> str:
    top = f"<tr>{''.join(f'<th>{escape(name)}</th>' for name in head)}</tr>" if head else ""
    lines = []
    for row in rows:
        style = ' class="warning"' if "warning" in row else ""
        lines.append(f"<tr{style}>{''.join(f'<td>{escape(_text(cell))}</td>' for cell in row)}</tr>")
    return f"<table>{top}{''.join(lines)}</table>"


def _items(texts: Sequence[str]) -> str:
    return f'<ul class="note">{"".join(f"<li>{escape(text)}</li>" for text in texts)}</ul>'


def _note(text: str) -> str:
    return f'<p class="note">{escape(text)}</p>'


def _picture(figure: Figure, about: str) -> str:
    data = base64.b64encode(figures.png(figure)).decode("ascii")
    return f'<p><img alt="{escape(about)}" src="data:image/png;base64,{data}"></p>'


def _simulated(header: Mapping[str, Any]) -> str:
    devices, names = set((header.get("bench_file") or {}).get("devices") or ()), header.get("simulated")
    if names is None:
        return f"simulated or real: {UNKNOWN}"
    if isinstance(names, bool):
        return "simulated" if names else "real"
    if not names:
        return "real"
    if wired := header.get("wired"):
        return f"simulated (all {len(names)} devices), real drivers on simulated instruments: {', '.join(wired)}"
    if devices <= set(names):
        return f"simulated (all {len(names)} devices)"
    return f"partly simulated: {', '.join(map(str, names))}"


def _text(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, list | tuple):
        return ", ".join(map(_text, value)) or "none"
    return str(value)


def _brief(values: Mapping[str, Any]) -> str:
    """Return values as one line, lists by their length."""
    shown = (
        f"{name} {f'({len(value)} entries)' if isinstance(value, list | dict) else _text(value)}"
        for name, value in values.items()
    )
    return ", ".join(shown)[:400]


def _whole(value: Any) -> str:
    return UNKNOWN if value is None else f"{float(value):,.0f}"


def _span(seconds: Any) -> str:
    if seconds is None:
        return UNKNOWN
    value = float(seconds)
    return f"{value:,.2f} s" if value < 120 else f"{value / 60:,.1f} min" if value < 7200 else f"{value / 3600:,.2f} h"
