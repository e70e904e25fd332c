"""Read and write files: Zarr, NetCDF, CMIP, checksums."""
