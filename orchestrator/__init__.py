"""Plans a sweep, drives Ray Tune over its trials, keeps their results and reads them."""
