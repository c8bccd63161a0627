"""Jobs that outlive the process: requests in a database, uploads and results on disk, a runner between them and the
engine."""
