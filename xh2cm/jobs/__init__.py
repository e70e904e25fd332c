"""Run on clusters: Dask and Slurm."""
