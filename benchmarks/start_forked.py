"""The worker of start.py for attempts that are forked and have nothing loaded ahead."""

from start_worker import main

__all__ = ["main"]
