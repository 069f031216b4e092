"""How far one process goes, what a cluster adds and costs, and what many of both would do."""
