"""Who hears of a run beside its user: the sections ``notify`` and ``track``."""
