"""Exporter of VQGAN decoders: from a checkpoint file to verified ONNX files for clients.

Of the client it imports the base of the errors and the writer of whole files, nothing that computes
a pixel: the two meet only in the ONNX file and in its metadata (``detokenizer_file.py``), so each
checks the other.
"""
