"""What diffusers' pipelines, its schedulers and the accelerators do, as far as a file's text shows it."""
