"""When weights are pruned (schedule), which ones may be (scope), and the masks that keep them at zero (pruner)."""
