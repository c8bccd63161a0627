"""The rows of `personae.steering.STEERS`: one file per way to steer, from a request's options to its plan."""
