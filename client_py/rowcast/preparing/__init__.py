"""`rowcast prepare`: a checkpoint becomes a model folder that serves light clients."""
