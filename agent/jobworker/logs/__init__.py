"""Read and repair job logs."""
