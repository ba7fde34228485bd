"""Autoencoders of signals, windows and tokens."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class ConvSensor(nn.Module):
    """1-D convolutions over [N, C, T]."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Conv1d(4, 12, 5, 2, 2), nn.ReLU(), nn.Conv1d(12, 6, 5, 2, 2))
        self.decoder = nn.Sequential(nn.ConvTranspose1d(6, 12, 4, 2, 1), nn.ReLU(), nn.ConvTranspose1d(12, 4, 4, 2, 1))

    def forward(self, x: Tensor) -> Tensor:
        return self.decoder(self.encoder(x))


class LstmEncoder(nn.Module):
    def __init__(self, n_features: int, hidden: int, embedding: int) -> None:
        super().__init__()
        self.rnn = nn.LSTM(n_features, hidden, batch_first=True)
        self.fc = nn.Linear(hidden, embedding)

    def forward(self, x: Tensor) -> Tensor:
        _, (hidden, _) = self.rnn(x)
        return self.fc(hidden[-1])


class LstmDecoder(nn.Module):
    def __init__(self, seq_len: int, embedding: int, hidden: int, n_features: int) -> None:
        super().__init__()
        self.seq_len = seq_len
        self.rnn = nn.LSTM(embedding, hidden, batch_first=True)
        self.output_layer = nn.Linear(hidden, n_features)

    def forward(self, z: Tensor) -> Tensor:
        steps, _ = self.rnn(z.unsqueeze(1).repeat(1, self.seq_len, 1))
        return self.output_layer(steps)


class RecurrentAutoencoder(nn.Module):
    """A window [N, T, C] becomes the last state of an LSTM."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = LstmEncoder(4, 24, 12)
        self.decoder = LstmDecoder(8, 12, 24, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.decoder(self.encoder(x))


class GruEncoder(nn.Module):
    """Returns what its GRU does: every state, and the last one as well."""

    def __init__(self) -> None:
        super().__init__()
        self.squeeze = nn.Conv1d(4, 8, 4, 4)
        self.gru = nn.GRU(8, 8, batch_first=True)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.gru(self.squeeze(x.transpose(1, 2)).transpose(1, 2))


class GruDecoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.gru = nn.GRU(8, 16, batch_first=True)
        self.out = nn.Linear(16, 16)

    def forward(self, states: Tensor) -> Tensor:
        hidden, _ = self.gru(states)
        return self.out(hidden).reshape(-1, 32, 4)


class TokenAutoencoder(nn.Module):
    """A transformer on tokens [N, T, D], latents [N, T, 2]."""

    def __init__(self) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(16, 2, 32, dropout=0.1, batch_first=True)
        self.inp, self.body, self.bottleneck = nn.Linear(16, 16), nn.TransformerEncoder(layer, 1), nn.Linear(16, 6)
        self.expand, self.out = nn.Linear(6, 16), nn.Linear(16, 16)
        self.register_buffer("position", torch.sin(torch.arange(8)[:, None] * torch.arange(1, 17) / 8))

    def encode(self, tokens: Tensor) -> Tensor:
        return self.bottleneck(self.body(self.inp(tokens) + self.position))

    def decode(self, latents: Tensor) -> Tensor:
        return self.out(F.gelu(self.expand(latents)) + self.position)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.decode(self.encode(tokens))


class DilatedUnit(nn.Module):
    def __init__(self, channels: int, dilation: int) -> None:
        super().__init__()
        conv = nn.Conv1d(channels, channels, 3, padding=dilation, dilation=dilation)
        self.conv = nn.utils.parametrizations.weight_norm(conv)
        self.skip = nn.utils.parametrizations.weight_norm(nn.Conv1d(channels, channels, 1))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.skip(F.elu(self.conv(F.elu(x))))


class AudioAutoencoder(nn.Module):
    """Dilated, weight-normalized convolutions over one channel, as neural audio codecs have them, [N, 1, T]."""

    def __init__(self) -> None:
        super().__init__()
        wn = nn.utils.parametrizations.weight_norm
        self.encoder = nn.Sequential(
            wn(nn.Conv1d(1, 8, 4, 2, 1)), DilatedUnit(8, 2), nn.ELU(), wn(nn.Conv1d(8, 4, 4, 2, 1))
        )
        self.decoder = nn.Sequential(
            wn(nn.ConvTranspose1d(4, 8, 4, 2, 1)), DilatedUnit(8, 2), nn.ELU(), wn(nn.ConvTranspose1d(8, 1, 4, 2, 1))
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.decoder(self.encoder(x))


class TableAutoencoder(nn.Module):
    """Columns of a table [N, D], with a batch norm at the door."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.encoder_net = nn.Sequential(nn.BatchNorm1d(width), nn.Linear(width, 48), nn.SELU(), nn.Linear(48, 16))
        self.decoder_net = nn.Sequential(nn.Linear(16, 48), nn.SELU(), nn.Linear(48, width))

    def forward(self, x: Tensor) -> Tensor:
        return self.decoder_net(self.encoder_net(x))
