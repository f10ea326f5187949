"""Image stacks of a run as OME-Zarr (OME-NGFF 0.5 on Zarr v3), which Fiji, napari and other viewers open.

Written with zarr itself: a frame's chunk is in its file before its line of `steps.jsonl` is, and a run that is resumed
goes on in the same stack. ome-writers, which comes with pymmcore-plus, waits for its writes only at the end, and cannot
go on with what is there.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from labctl.errors import LabError

if TYPE_CHECKING:
    import zarr

STACK = "images.ome.zarr"
"""Folder of a run's image stacks, inside the run's folder."""

AXES = ("t", "c", "z", "y", "x")
_KINDS = {"t": "time", "c": "channel"}
_UNITS = {"t": "second", "z": "micrometer", "y": "micrometer", "x": "micrometer"}


def describe_stack(
    path: str, images: Sequence[Mapping[str, Any]], frame: tuple[int, int], dtype: str, top: int
) -> dict[str, Any]:
    """Return the values of a `stack` record, from which the recorder makes the file.

    Args:
        path: Kind and array name of the records whose frames it holds: `frame/counts`. The values of these records
            name the `image` and the `place` in it, [t, c, z].
        images: One per position: `name`; `shape`, numbers of times, channels and planes; `channels`, their names, or
            none; `scale`, [seconds, um, um, um] between times, planes, rows and columns, None where a distance is not
            always the same; `first_um`, where its lowest plane is, or None. Whatever else is said is kept as it is.
        frame: Rows and columns of a frame.
        dtype: Type of a count, by numpy's name.
        top: Highest count.
    """
    return {
        "path": path,
        "images": [dict(image) for image in images],
        "frame": list(frame),
        "dtype": dtype,
        "top": top,
    }


class ImageStack:
    """The frames of a run in one OME-Zarr: one image (t, c, z, y, x) per position, one chunk per frame.

    All frames have their places from the beginning; those that were not taken are 0 and need no disk. Which were taken
    the run's lines say: one that was killed may have left a frame without its line, taken again when it is resumed.

    Args:
        folder: Folder of the run.
        values: What `describe_stack` gave; None to go on in the file that is there.

    Raises:
        OSError: It cannot be written or read.
        LabError: The file that should be gone on with is damaged.
    """

    def __init__(self, folder: Path, values: Mapping[str, Any] | None = None) -> None:
        import zarr  # only here: most runs have no stack, and it is slow to import

        self._file = folder / STACK
        if values is None:
            root = zarr.open_group(self._file, mode="r+", zarr_format=3)
            values = cast("Mapping[str, Any]", root.attrs.asdict().get("labctl"))
            if not values:
                raise LabError(f"{self._file}: is not the stack of this run; restore it from a copy")
        else:
            root = zarr.open_group(self._file, mode="w", zarr_format=3)
            _write(root, values)
        self.path: str = values["path"]
        parts = [""] if len(values["images"]) == 1 else [f"{k}/" for k in range(len(values["images"]))]
        self._arrays: dict[str, zarr.Array] = {
            image["name"]: cast("zarr.Array", root[f"{part}0"])
            for part, image in zip(parts, values["images"], strict=True)
        }

    def write(self, image: str, place: Sequence[int], frame: np.ndarray) -> None:
        """Write one frame (y, x) to its place (t, c, z) of an image; when this returns, it is in the file.

        Raises:
            LabError: It has another shape or type than the stack.
        """
        stored = self._arrays[image]
        if frame.shape != stored.shape[3:] or frame.dtype != stored.dtype:
            was, now = f"{stored.dtype}{list(stored.shape[3:])}", f"{frame.dtype}{list(frame.shape)}"
            raise LabError(f"{self._file}: frames were {was}, one is {now}; leave the camera's region as it is")
        stored[tuple(place)] = frame


def _write(root: "zarr.Group", values: Mapping[str, Any]) -> None:
    """Write the groups, arrays without frames, and what viewers need to know of them."""
    images = values["images"]
    root.attrs["labctl"] = dict(values)
    if len(images) == 1:
        _write_image(root, images[0], values)
        return
    root.attrs["ome"] = {"version": "0.5", "bioformats2raw.layout": 3}
    series = [str(k) for k in range(len(images))]
    root.create_group("OME").attrs["ome"] = {"version": "0.5", "series": series}
    for name, image in zip(series, images, strict=True):
        _write_image(root.create_group(name), image, values)


def _write_image(group: "zarr.Group", image: Mapping[str, Any], values: Mapping[str, Any]) -> None:
    rows, columns = values["frame"]
    shape = (*image["shape"], rows, columns)
    group.create_array("0", shape=shape, chunks=(1, 1, 1, rows, columns), dtype=values["dtype"], dimension_names=AXES)
    seconds, *microns = image["scale"]
    distances = (seconds, None, *microns)
    known = {axis for axis, distance in zip(AXES, distances, strict=True) if distance}
    axes = [
        {"name": axis, "type": _KINDS.get(axis, "space"), **({"unit": _UNITS[axis]} if axis in known else {})}
        for axis in AXES
    ]
    scale = [float(distance or 1.0) for distance in distances]
    transformations: list[dict[str, Any]] = [{"type": "scale", "scale": scale}]
    if image.get("first_um") is not None and "z" in known:
        translation = [0.0, 0.0, float(image["first_um"]), 0.0, 0.0]
        transformations.append({"type": "translation", "translation": translation})
    dataset = {"path": "0", "coordinateTransformations": transformations}
    ome: dict[str, Any] = {"version": "0.5"}
    ome["multiscales"] = [{"name": image["name"], "axes": axes, "datasets": [dataset]}]
    window = {"min": 0, "start": 0, "end": values["top"], "max": values["top"]}
    if image["channels"]:
        shown = [{"label": name, "color": "FFFFFF", "active": True, "window": window} for name in image["channels"]]
        ome["omero"] = {"channels": shown}
    group.attrs["ome"] = ome
