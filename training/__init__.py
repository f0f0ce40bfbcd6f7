"""Training of the autoencoder family: torch lives here and in `export`, nowhere else."""
