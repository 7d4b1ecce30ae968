"""What runs on a device: load a pipeline, accelerate it, measure it."""
