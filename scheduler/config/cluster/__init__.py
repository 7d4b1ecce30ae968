"""What attempts ask a cluster for."""
