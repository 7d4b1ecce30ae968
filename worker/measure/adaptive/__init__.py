"""Adaptive search: most configurations lose clearly, and that shows in a few images.

``race.py`` decides what is measured next and what is dropped. It is pure (it is told what was
measured, and asks for more), so that it can be replayed on rows and recordings; ``sequential.py`` has
its intervals, ``decisions.py`` its goal and its log.
"""
