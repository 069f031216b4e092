"""Janus-Pro (Chen et al., arXiv:2501.17811): a Llama that draws image tokens behind a text.

`sizes.py` says what its tensors are, `checkpoint.py` what files call them, `text.py` makes prompts
tokens, `reference.py` is the slow network, `step_graph.py` the fast one and `slots.py` its memory.
"""
