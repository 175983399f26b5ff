"""Figures of what the analysis found, and a page that shows them: `sparsweep report`."""
