"""Windows [N, T, C] of a signal, coded with latents [N, L, T / 4]: a family of codecs in a distribution of its own."""

NAME = "windows"
