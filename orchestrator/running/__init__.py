"""Runs trials on Ray Tune: the driver, what Tune is given, and what is seen meanwhile."""
