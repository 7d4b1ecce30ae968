"""CPU cores: which there are, and which device's attempts get which."""
