"""Where the planes of a diffractive network lie: object, plates, output, all sampled on one grid."""

from dataclasses import dataclass, replace

from torch import Tensor

from labctl.errors import ConfigError
from labctl.experiments.diffractive.plates import MOST_PLATES
from labctl.optics.free_space.propagation import Hop, transfer_function
from labctl.optics.grid import Grid


@dataclass(frozen=True)
class Geometry:
    """Object, plates and output plane, one behind the other.

    Args:
        grid: Samples of every plane; one sample is one neuron.
        wavelength_m: Of the light.
        plates: 1 to 10.
        to_first_m: Object to first plate.
        spacing_m: Plate to plate.
        to_output_m: Last plate, but for those inserted, to output plane.
        inserted: The last of the plates, that stand evenly in the way to the output plane.

    Raises:
        ConfigError: The number of plates is not 1 to 10, or none is left before those inserted.
    """

    grid: Grid
    wavelength_m: float
    plates: int
    to_first_m: float
    spacing_m: float
    to_output_m: float
    inserted: int = 0

    def __post_init__(self) -> None:
        if not 1 <= self.plates <= MOST_PLATES:
            raise ConfigError(f"diffractive network of {self.plates} plates: give 1 to {MOST_PLATES}")
        if not 0 <= self.inserted < self.plates:
            raise ConfigError(f"{self.inserted} inserted of {self.plates} plates: give 0 to {self.plates - 1}")

    @property
    def distances_m(self) -> tuple[float, ...]:
        """Lengths of the plates + 1 hops."""
        parts = self.inserted + 1
        own = self.plates - self.inserted
        return self.to_first_m, *(own - 1) * (self.spacing_m,), *parts * (self.to_output_m / parts,)

    def with_plates(self, plates: int) -> "Geometry":
        """Return the geometry of another number of plates at the same distances."""
        return replace(self, plates=plates)

    def with_inserted(self, plates: int) -> "Geometry":
        """Return the geometry with so many plates more, evenly in the last way: the detectors stay where they are."""
        return replace(self, plates=self.plates + plates, inserted=self.inserted + plates)

    def reduced(self, pixels: int) -> "Geometry":
        """Return the geometry on `pixels` x `pixels` neurons of the same pitch, all distances shortened alike.

        The angles under which a plate sees its neighbour stay, and with them which neurons are connected.
        """
        scale = pixels / self.grid.shape[0]
        lengths = {name: scale * getattr(self, name) for name in ("to_first_m", "spacing_m", "to_output_m")}
        return replace(self, grid=Grid((pixels, pixels), self.grid.pitch_m), **lengths)

    def cut(self, pixels: int) -> "Geometry":
        """Return the geometry on the middle `pixels` x `pixels` neurons, all distances kept."""
        return replace(self, grid=Grid((pixels, pixels), self.grid.pitch_m))

    def transfers(self, device: str = "cpu") -> list[Tensor]:
        """Return the transfer functions of the hops, each (2 rows, 2 cols)."""
        return transfers_over(self, self.distances_m, device)


def transfers_over(geometry: Geometry, distances_m: tuple[float, ...], device: str = "cpu") -> list[Tensor]:
    """Return the transfer functions of hops of other lengths between the planes of `geometry`."""
    hops = [Hop(geometry.grid, distance, geometry.wavelength_m) for distance in distances_m]
    return [transfer_function(hop, device=device) for hop in hops]


WAVELENGTH_M = 0.75e-3
"""0.4 THz (Lin et al. 2018)."""

CLASSIFIER = Geometry(Grid((200, 200), 0.4e-3), WAVELENGTH_M, 5, 30e-3, 30e-3, 30e-3)
"""The published classifiers: 5 plates of 200 x 200 neurons of 0.4 mm, 30 mm apart."""

IMAGER = Geometry(Grid((300, 300), 0.3e-3), WAVELENGTH_M, 5, 4e-3, 4e-3, 7e-3)
"""The published imager: 5 plates of 300 x 300 neurons of 0.3 mm, 4 mm apart, 7 mm before its output plane."""
