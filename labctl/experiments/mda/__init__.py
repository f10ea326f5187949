"""Plan `mda`: multi-dimensional acquisitions described by useq-schema, into OME-Zarr."""
