"""The report's section on judged cases: who passed, and where who did not went wrong."""
