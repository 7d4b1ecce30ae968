"""The real core, driven through random schedules of faults in a modelled world."""
