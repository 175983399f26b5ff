"""The answers, one topic each: from the inputs to one or a few of the tables."""
