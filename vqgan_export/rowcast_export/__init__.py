"""Detokenizers for clients: a VQGAN decoder out of a checkpoint file, into a verified ONNX file.

The exporter imports nothing else of ours. It meets the client only in the ONNX file and in the
metadata inside that file, which ``export.py`` describes.
"""
