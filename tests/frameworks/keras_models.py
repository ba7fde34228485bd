"""Small Keras models as people have them, exported to ONNX: `python keras_models.py ITEMS OUT`, where Keras 3 is.

ITEMS is a .npy file of images [N, 28, 28] in [0, 1]. The files in `keras_files/` were made by it, in an environment of
`pip install tensorflow-cpu==2.21.0 tf2onnx==1.17.0` (1.6 GB, too much for every run of the suite), of the digits that
`keras_digits` in test_keras.py makes.
"""

import sys
from pathlib import Path

import keras
import numpy as np
from keras import layers, ops


class Sampling(layers.Layer):
    """A draw from the posterior, as in Keras's own example of a variational autoencoder."""

    def __init__(self) -> None:
        super().__init__()
        self.seeds = keras.random.SeedGenerator(1)

    def call(self, inputs):
        """Mean and log variance to a sample."""
        mean, log_variance = inputs
        return mean + ops.exp(0.5 * log_variance) * keras.random.normal(ops.shape(mean), seed=self.seeds)


def pictures() -> tuple[keras.Model, keras.Model]:
    """[N, 28, 28, 1], channels last, to [N, 7, 7, 4] and back."""
    encoder = keras.Sequential(
        [
            keras.Input((28, 28, 1)),
            layers.Conv2D(8, 3, strides=2, padding="same", activation="relu"),
            layers.Conv2D(4, 3, strides=2, padding="same"),
        ]
    )
    decoder = keras.Sequential(
        [
            keras.Input((7, 7, 4)),
            layers.Conv2DTranspose(8, 3, strides=2, padding="same", activation="relu"),
            layers.Conv2DTranspose(1, 3, strides=2, padding="same", activation="sigmoid"),
        ]
    )
    return encoder, decoder


def windows() -> tuple[keras.Model, keras.Model]:
    """[N, 28, 28], time first, to [N, 7, 8] and back; gelu and batch normalisation."""
    encoder = keras.Sequential(
        [
            keras.Input((28, 28)),
            layers.Conv1D(12, 5, strides=2, padding="same", activation="gelu"),
            layers.BatchNormalization(),
            layers.Conv1D(8, 5, strides=2, padding="same"),
        ]
    )
    decoder = keras.Sequential(
        [
            keras.Input((7, 8)),
            layers.UpSampling1D(2),
            layers.Conv1D(12, 5, padding="same", activation="gelu"),
            layers.UpSampling1D(2),
            layers.Conv1D(28, 5, padding="same"),
        ]
    )
    return encoder, decoder


def variational() -> tuple[keras.Model, keras.Model]:
    """[N, 28, 28, 1] to mean, log variance and a sample, with dropout; the sample back."""
    images = keras.Input((28, 28, 1))
    hidden = layers.Dense(12, activation="relu")(layers.Dropout(0.1)(layers.Flatten()(images)))
    mean, log_variance = (layers.Dense(8, name=name)(hidden) for name in ("z_mean", "z_log_var"))
    sample = keras.Input((8,))
    back = layers.Dense(784, activation="sigmoid")(layers.Dense(12, activation="relu")(sample))
    decoder = keras.Model(sample, layers.Reshape((28, 28, 1))(back))
    return keras.Model(images, [mean, log_variance, Sampling()([mean, log_variance])]), decoder


def main(items: Path, out: Path) -> None:
    """Train and export all of them."""
    keras.utils.set_random_seed(0)
    images = np.load(items)
    for make, data in ((pictures, images[..., None]), (windows, images), (variational, images[..., None])):
        encoder, decoder = make()
        start = keras.Input(data.shape[1:])
        latents = encoder(start)
        whole = keras.Model(start, decoder(latents[2] if isinstance(latents, list) else latents))
        whole.compile("adam", "mse")
        whole.fit(data, data, epochs=15, batch_size=32, verbose=0)
        print(make.__name__, whole.evaluate(data, data, verbose=0), "of", data.var())
        for name, half in (("encoder", encoder), ("decoder", decoder)):
            half.export(str(out / f"{make.__name__}.{name}.onnx"), format="onnx", verbose=False)


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
