"""What attempts run on: GPUs and MIG instances through NVML, CPU slots; idleness, leases, users."""
