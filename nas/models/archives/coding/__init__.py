"""Coding: symbols as few bits: Huffman codes and relative indices, and adaptive models on ANS."""
