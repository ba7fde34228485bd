"""The best linear autoencoder, in closed form: real networks for tests that need no training."""

import numpy as np
import torch


def principal_components(values: np.ndarray, channels: int) -> tuple[torch.nn.Linear, torch.nn.Linear]:
    """Encoder and decoder that project items [N, D], in network units, onto their principal components, and back."""
    mean = values.mean(0, dtype=np.float64)
    basis = np.linalg.svd(values - mean, full_matrices=False)[2][:channels]
    encoder, decoder = torch.nn.Linear(values.shape[1], channels), torch.nn.Linear(channels, values.shape[1])
    with torch.no_grad():
        encoder.weight.copy_(torch.from_numpy(basis))
        encoder.bias.copy_(torch.from_numpy(-basis @ mean))
        decoder.weight.copy_(torch.from_numpy(basis.T.copy()))
        decoder.bias.copy_(torch.from_numpy(mean))
    return encoder, decoder


def patch_components(values: np.ndarray, patch: int, channels: int) -> tuple[torch.nn.Conv2d, torch.nn.ConvTranspose2d]:
    """The same for pictures [N, C, H, W] in network units, patch by patch: one convolution each way."""
    count, colours, height, width = values.shape
    blocks = values.reshape(count, colours, height // patch, patch, width // patch, patch)
    patches = blocks.transpose(0, 2, 4, 1, 3, 5).reshape(-1, colours * patch * patch)
    flat, _ = principal_components(patches, channels)
    basis, mean = flat.weight.detach().numpy(), patches.mean(0, dtype=np.float64)
    kernel = torch.from_numpy(basis.reshape(channels, colours, patch, patch))
    encoder = torch.nn.Conv2d(colours, channels, patch, patch)
    decoder = torch.nn.ConvTranspose2d(channels, colours, patch, patch)
    with torch.no_grad():
        encoder.weight.copy_(kernel)
        encoder.bias.copy_(flat.bias)
        decoder.weight.copy_(kernel)
        # One offset a colour is all that the layer has: the mean of a patch's values of it, put through the projection.
        rest = (mean - basis.T @ (basis @ mean)).reshape(colours, -1).mean(1)
        decoder.bias.copy_(torch.from_numpy(rest))
        encoder.bias.zero_()
    return encoder, decoder
