"""Attempts as processes of this machine, each below a supervisor that outlives the dispatcher."""
