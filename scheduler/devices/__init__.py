"""What attempts run on: GPUs and MIG instances through NVML, or CPU slots."""
