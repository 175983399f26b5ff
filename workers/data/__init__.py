"""From sentences with tags to batches of labelled sub-words."""
