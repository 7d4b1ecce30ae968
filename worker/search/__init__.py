"""From a search section to the configurations to measure; no torch here."""
