"""Codecs of indices."""
