"""A cluster in place of one machine: nodes that die or are cut off, an engine that refuses and forgets."""
