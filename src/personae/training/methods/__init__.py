"""One folder a method: what it learns from (`data`), what learns (`network`), by which loss (`method`), and how that is
judged (`evaluator`). Files that a method does not need are left out."""
