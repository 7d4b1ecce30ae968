"""What a run settles before the first attempt."""
