"""The decisions: which task next, on which device, what an end means, when to retry. Pure, without I/O."""
