"""How large a camera's pixel is in the plane it images."""

from labctl.bench.schema import BenchFile


def pixel_m(file: BenchFile, camera: str, magnification: float | None = None) -> float:
    """Return the side of a camera's pixel in the plane it images, in metres: its pitch over the magnification.

    Args:
        file: The bench; behind a lens it says what it believes the magnification to be.
        camera: Name of the camera.
        magnification: From that plane to the camera; by default what the bench file says, or 1 where it says nothing.
    """
    view = file.path.views.get(camera) if file.in_free_space else None
    said = view.magnification.value if view and view.magnification else 1.0
    return file.settings(camera).pitch_m / (magnification or said)
