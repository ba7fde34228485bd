"""Autoencoders of pictures."""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class FlatAutoencoder(nn.Module):
    """The one of every first tutorial, on [N, 784]."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(784, 128), nn.ReLU(), nn.Linear(128, 24))
        self.decoder = nn.Sequential(nn.Linear(24, 128), nn.ReLU(), nn.Linear(128, 784), nn.Sigmoid())

    def forward(self, x: Tensor) -> Tensor:
        return self.decoder(self.encoder(x))


class ImageMlp(nn.Module):
    """The same with Flatten and Unflatten, on [N, 1, 28, 28]."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Flatten(), nn.Linear(784, 96), nn.GELU(), nn.Linear(96, 16))
        self.decoder = nn.Sequential(
            nn.Linear(16, 96), nn.GELU(), nn.Linear(96, 784), nn.Sigmoid(), nn.Unflatten(1, (1, 28, 28))
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.decoder(self.encoder(x))


class ConvAutoencoder(nn.Module):
    """Strided convolutions and transposed ones, a map as latents, on [N, 1, 28, 28]."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(
            nn.Conv2d(1, 8, 3, stride=2, padding=1), nn.ReLU(), nn.Conv2d(8, 4, 3, stride=2, padding=1)
        )
        self.decoder = nn.Sequential(
            nn.ConvTranspose2d(4, 8, 3, stride=2, padding=1, output_padding=1),
            nn.ReLU(),
            nn.ConvTranspose2d(8, 1, 3, stride=2, padding=1, output_padding=1),
            nn.Sigmoid(),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.decoder(self.encoder(x))


class ColourAutoencoder(nn.Module):
    """A vector as latents behind convolutions, tanh at the end: pictures in [-1, 1], [N, 3, 16, 16]."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Sequential(nn.Conv2d(3, 12, 4, 2, 1), nn.LeakyReLU(0.2), nn.Conv2d(12, 16, 4, 2, 1))
        self.fc = nn.Linear(256, 32)
        self.fc_back = nn.Linear(32, 256)
        self.deconv = nn.Sequential(
            nn.ConvTranspose2d(16, 12, 4, 2, 1), nn.LeakyReLU(0.2), nn.ConvTranspose2d(12, 3, 4, 2, 1), nn.Tanh()
        )

    def encode(self, x: Tensor) -> Tensor:
        return self.fc(torch.flatten(F.leaky_relu(self.conv(x), 0.2), 1))

    def decode(self, z: Tensor) -> Tensor:
        return self.deconv(self.fc_back(z).view(-1, 16, 4, 4))

    def forward(self, x: Tensor) -> Tensor:
        return self.decode(self.encode(x))


class Vae(nn.Module):
    """(mu, logvar) and reparameterize; the picture is flattened on the way in, and stays so on the way out."""

    def __init__(self) -> None:
        super().__init__()
        self.fc1, self.fc21, self.fc22 = nn.Linear(784, 96), nn.Linear(96, 12), nn.Linear(96, 12)
        self.fc3, self.fc4 = nn.Linear(12, 96), nn.Linear(96, 784)

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        h1 = F.relu(self.fc1(x.view(-1, 784)))
        return self.fc21(h1), self.fc22(h1)

    def reparameterize(self, mu: Tensor, logvar: Tensor) -> Tensor:
        return mu + torch.randn_like(mu) * torch.exp(0.5 * logvar) if self.training else mu

    def decode(self, z: Tensor) -> Tensor:
        return torch.sigmoid(self.fc4(F.relu(self.fc3(z))))

    def forward(self, x: Tensor) -> Tensor:
        return self.decode(self.reparameterize(*self.encode(x))).view(x.shape)


class DictVae(nn.Module):
    """Outputs in dictionaries; its encoder draws a sample in eval mode too."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.ELU(), nn.Conv2d(8, 8, 3, 2, 1), nn.ELU())
        self.to_mu, self.to_logvar = nn.Linear(128, 12), nn.Linear(128, 12)
        self.back = nn.Linear(12, 128)
        self.head = nn.Sequential(nn.ELU(), nn.Upsample(scale_factor=2), nn.Conv2d(8, 1, 3, padding=1))

    def encode(self, x: Tensor) -> dict[str, Tensor]:
        hidden = self.stem(x).flatten(1)
        mu, logvar = self.to_mu(hidden), self.to_logvar(hidden) - 4
        return {"z": mu + torch.randn_like(mu) * (0.5 * logvar).exp(), "mu": mu, "logvar": logvar}

    def decode(self, z: Tensor) -> dict[str, Tensor]:
        return {"reconstruction": self.head(self.back(z).view(-1, 8, 4, 4))}

    def forward(self, x: Tensor) -> Tensor:
        return self.decode(self.encode(x)["mu"])["reconstruction"]


class DiagonalGaussian:
    """A posterior as latent diffusion models have it."""

    def __init__(self, parameters: Tensor) -> None:
        self.mean, self.logvar = torch.chunk(parameters, 2, dim=1)
        self.logvar = torch.clamp(self.logvar, -30.0, 20.0)

    def sample(self) -> Tensor:
        return self.mean + torch.exp(0.5 * self.logvar) * torch.randn_like(self.mean)

    def mode(self) -> Tensor:
        return self.mean


@dataclass
class EncoderOutput:
    latent_dist: DiagonalGaussian


@dataclass
class DecoderOutput:
    sample: Tensor


class ResnetBlock(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm1, self.conv1 = nn.GroupNorm(4, channels), nn.Conv2d(channels, channels, 3, padding=1)
        self.norm2, self.conv2 = nn.GroupNorm(4, channels), nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        h = self.conv1(F.silu(self.norm1(x)))
        return x + self.conv2(F.silu(self.norm2(h)))


class AutoencoderKl(nn.Module):
    """As in diffusers: quant_conv belongs to encode, not to the encoder; pictures in [-1, 1], [N, 3, 16, 16]."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1), ResnetBlock(8), nn.Conv2d(8, 8, 3, 2, 1), ResnetBlock(8), nn.Conv2d(8, 8, 1)
        )
        self.decoder = nn.Sequential(
            nn.Conv2d(4, 8, 3, padding=1),
            ResnetBlock(8),
            nn.Upsample(scale_factor=2, mode="nearest"),
            nn.Conv2d(8, 8, 3, padding=1),
            ResnetBlock(8),
            nn.Conv2d(8, 3, 3, padding=1),
        )
        self.quant_conv, self.post_quant_conv = nn.Conv2d(8, 8, 1), nn.Conv2d(4, 4, 1)

    def encode(self, x: Tensor, return_dict: bool = True) -> EncoderOutput:
        return EncoderOutput(latent_dist=DiagonalGaussian(self.quant_conv(self.encoder(x))))

    def decode(self, z: Tensor, return_dict: bool = True) -> DecoderOutput:
        return DecoderOutput(sample=self.decoder(self.post_quant_conv(z)))

    def forward(self, x: Tensor) -> Tensor:
        return self.decode(self.encode(x).latent_dist.mode()).sample


class ResidualUnit(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(channels),
            nn.ReLU(),
            nn.Conv2d(channels, channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(channels),
        )

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x + self.body(x))


class ResnetAutoencoder(nn.Module):
    """BatchNorm throughout, [N, 1, 8, 8]."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Conv2d(1, 8, 3, 2, 1), ResidualUnit(8), nn.Conv2d(8, 2, 1))
        self.decoder = nn.Sequential(
            nn.Conv2d(2, 8, 3, padding=1), ResidualUnit(8), nn.ConvTranspose2d(8, 1, 4, 2, 1), nn.Sigmoid()
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.decoder(self.encoder(x))


def separable(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, inputs, 3, stride, 1, groups=inputs),
        nn.BatchNorm2d(inputs),
        nn.ReLU6(),
        nn.Conv2d(inputs, outputs, 1),
    )


class MobileAutoencoder(nn.Module):
    """Depthwise-separable convolutions, as on phones, [N, 1, 28, 28]."""

    def __init__(self) -> None:
        super().__init__()
        self.enc = nn.Sequential(
            nn.Conv2d(1, 8, 3, 2, 1), nn.ReLU6(), separable(8, 12, 2), nn.ReLU6(), separable(12, 3)
        )
        self.dec = nn.Sequential(
            separable(3, 12),
            nn.Upsample(scale_factor=2),
            separable(12, 8),
            nn.Upsample(scale_factor=2),
            separable(8, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.dec(self.enc(x))


class ShuffleAutoencoder(nn.Module):
    """PixelUnshuffle and PixelShuffle around convolutions, as super-resolution has them, [N, 1, 8, 8]."""

    def __init__(self) -> None:
        super().__init__()
        self.analysis = nn.Sequential(
            nn.PixelUnshuffle(2), nn.Conv2d(4, 12, 3, padding=1), nn.PReLU(), nn.Conv2d(12, 2, 3, padding=1)
        )
        self.synthesis = nn.Sequential(
            nn.Conv2d(2, 12, 3, padding=1), nn.PReLU(), nn.Conv2d(12, 4, 3, padding=1), nn.PixelShuffle(2)
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.synthesis(self.analysis(x))


class DenoisingAutoencoder(nn.Module):
    """Noise and dropout while it trains, pooling and interpolation, [N, 1, 8, 8]."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(
            nn.Dropout(0.1), nn.Conv2d(1, 12, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(12, 3, 3, padding=1)
        )
        self.decoder = nn.Sequential(
            nn.Conv2d(3, 12, 3, padding=1),
            nn.ReLU(),
            nn.Upsample(scale_factor=2, mode="bilinear"),
            nn.Conv2d(12, 1, 3, padding=1),
        )

    def forward(self, x: Tensor) -> Tensor:
        noisy = x + 0.05 * torch.randn_like(x) if self.training else x
        return self.decoder(self.encoder(noisy))


class PatchAutoencoder(nn.Module):
    """Patches, position embeddings and attention, as masked autoencoders have them, [N, 1, 8, 8]."""

    def __init__(self) -> None:
        super().__init__()
        self.patch_embed = nn.Conv2d(1, 16, 2, 2)
        self.pos_embed = nn.Parameter(0.02 * torch.randn(1, 16, 16))
        self.blocks = nn.TransformerEncoderLayer(16, 2, 32, dropout=0.0, batch_first=True, norm_first=True)
        self.to_latent = nn.Linear(16, 3)
        self.decoder_embed = nn.Linear(3, 16)
        self.decoder_blocks = nn.TransformerEncoderLayer(16, 2, 32, dropout=0.0, batch_first=True, norm_first=True)
        self.decoder_pred = nn.Linear(16, 4)

    def encode(self, imgs: Tensor) -> Tensor:
        tokens = self.patch_embed(imgs).flatten(2).transpose(1, 2) + self.pos_embed
        return self.to_latent(self.blocks(tokens))

    def unpatchify(self, x: Tensor) -> Tensor:
        x = x.reshape(x.shape[0], 4, 4, 2, 2)
        return torch.einsum("nhwpq->nhpwq", x).reshape(x.shape[0], 1, 8, 8)

    def decode(self, latent: Tensor) -> Tensor:
        return self.unpatchify(self.decoder_pred(self.decoder_blocks(self.decoder_embed(latent) + self.pos_embed)))

    def forward(self, imgs: Tensor) -> Tensor:
        return self.decode(self.encode(imgs))


class ConvNextBlock(nn.Module):
    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dwconv = nn.Conv2d(dim, dim, 5, padding=2, groups=dim)
        self.norm, self.pwconv1, self.pwconv2 = nn.LayerNorm(dim), nn.Linear(dim, 2 * dim), nn.Linear(2 * dim, dim)
        self.gamma = nn.Parameter(0.5 * torch.ones(dim))

    def forward(self, x: Tensor) -> Tensor:
        h = self.norm(self.dwconv(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1))
        return x + self.gamma * self.pwconv2(F.gelu(self.pwconv1(h)))


class ConvNextAutoencoder(nn.Module):
    """Channels last from pictures to latents, [N, 16, 16, 3]."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.block, self.head = nn.Linear(12, 16), ConvNextBlock(16), nn.Linear(16, 6)
        self.back, self.block2, self.out = nn.Linear(6, 16), ConvNextBlock(16), nn.Linear(16, 12)

    def encode(self, x: Tensor) -> Tensor:
        patches = x.reshape(-1, 8, 2, 8, 2, 3).permute(0, 1, 3, 2, 4, 5).reshape(-1, 8, 8, 12)
        return self.head(self.block(self.embed(patches)))

    def decode(self, z: Tensor) -> Tensor:
        patches = self.out(self.block2(self.back(z))).reshape(-1, 8, 8, 2, 2, 3)
        return patches.permute(0, 1, 3, 2, 4, 5).reshape(-1, 16, 16, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.decode(self.encode(x))


class BernoulliVae(nn.Module):
    """Distributions as outputs, of torch.distributions, on [N, 64]."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.loc, self.scale = nn.Linear(64, 48), nn.Linear(48, 10), nn.Linear(48, 10)
        self.decoder_body = nn.Sequential(nn.Linear(10, 48), nn.Tanh(), nn.Linear(48, 64))

    def encode(self, x: Tensor) -> torch.distributions.Normal:
        hidden = torch.tanh(self.body(x))
        return torch.distributions.Normal(self.loc(hidden), F.softplus(self.scale(hidden)) + 1e-3)

    def decode(self, z: Tensor) -> torch.distributions.Bernoulli:
        return torch.distributions.Bernoulli(logits=self.decoder_body(z))

    def forward(self, x: Tensor) -> Tensor:
        return self.decode(self.encode(x).mean).mean


class TrainingModule(nn.Module):
    """A training framework's module: the autoencoder is one of its parts, beside a loss of its own."""

    def __init__(self, autoencoder: nn.Module) -> None:
        super().__init__()
        self.autoencoder, self.criterion = autoencoder, nn.MSELoss()

    def forward(self, x: Tensor) -> Tensor:
        return self.autoencoder(x)


def tied_functions(width: int = 64, code: int = 12) -> tuple[nn.Parameter, nn.Parameter, nn.Parameter]:
    """Weights of an autoencoder without any module."""
    weight = nn.Parameter(torch.randn(width, code) / math.sqrt(width))
    return weight, nn.Parameter(torch.zeros(code)), nn.Parameter(torch.zeros(width))
