"""From a sweep to its ordered trials, and what they will cost."""
