"""Model families on the CPU runner: what a family does with a text, and its pass over tokens.

`slots.py` is the interface, `dalle_bart.py` and `janus/` are behind it, `choosing.py` tells them
apart.
"""
