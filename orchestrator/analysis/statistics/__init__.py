"""How far a number may lie from the truth: intervals, permutations, means over seeds. Nothing here
knows what is measured."""
