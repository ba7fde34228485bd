"""The family `dense` in this layer: from a run of vectors to a bundle, by the codec that any pair of modules gets."""
