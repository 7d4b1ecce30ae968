"""Attempts as Ray's actors, on nodes that share no files with the dispatcher."""
