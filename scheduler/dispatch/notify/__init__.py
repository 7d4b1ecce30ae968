"""Telling people that a sweep is over, that a task failed, that nothing can go on: the ``notify`` section."""
