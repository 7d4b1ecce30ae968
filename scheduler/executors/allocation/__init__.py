"""Attempts inside of one large job of Slurm's, for as long as it lasts."""
