"""Photos in, training records out: labelling, shards, splits."""
