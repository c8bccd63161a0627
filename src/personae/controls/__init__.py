"""The options of a request beside people and words: one file per way to steer, from its options to its plan."""
