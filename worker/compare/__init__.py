"""Judge a file that builds a pipeline: read it, run it apart, say how fast and how good it is."""
