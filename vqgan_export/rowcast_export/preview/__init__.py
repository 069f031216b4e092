"""The preview: a small decoder that imitates the full one, and its weights as a flat file."""
