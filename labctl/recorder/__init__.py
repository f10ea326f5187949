"""Writes a run to its folder, continues it after a kill, and reads it back.

A run is `runs/<date>/<time>_<plan>_<id>/`. `run.yaml` is there before the first record. Then, for every record, its
arrays go to `arrays.zarr` (array `<kind>/<name>`, one row each) and its line to `steps.jsonl`. The line names the rows
and carries a checksum: it is the commit, so rows without one do not count. A killed process loses nothing committed;
a power failure may take the last second.

A plan that takes images says so in a `stack` record: the frames it names go to `images.ome.zarr` (OME-Zarr, see
`labctl.recorder.stack`), each to its place, whatever else is kept; their records name image and place.

A `checkpoint` record has no line: it is no part of what happened but a place to go on from, and replaces the one
before it. It is one file, `checkpoint.safetensors`, that also says how many lines and rows were there; whoever resumes
goes back to those. `resumes.jsonl` tells when that was done.

Numbers that JSON does not know are written as the texts "NaN", "Infinity" and "-Infinity", which the functions here
turn back into numbers, so the files stay strict JSON and a diverged loss stays visible. Those texts are refused.
"""

from labctl.recorder.reading import read_checkpoint, read_records, read_run, read_summary, read_weights
from labctl.recorder.recorder import Keep, Recorder
from labctl.recorder.resumed import ResumedRecorder

__all__ = [
    "Keep",
    "Recorder",
    "ResumedRecorder",
    "read_checkpoint",
    "read_records",
    "read_run",
    "read_summary",
    "read_weights",
]
