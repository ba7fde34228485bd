import datetime
import ipaddress
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

sys.path.insert(0, str(Path(__file__).parent))

from receiver import Receiver

from latentwire.runtime import Encoder
from latentwire.runtime.send import Backoff, Sender


@pytest.fixture(scope="session")
def encoder() -> Encoder:
    """Of digits: uint8 [N, 784]."""
    return Encoder("mnist")


@pytest.fixture(scope="session")
def items() -> np.ndarray:
    """Blots, each in a place of its own: uint8 [64, 784]."""
    rows, columns = np.mgrid[:28, :28]
    found = [255 * np.exp(-((columns - 6 - 2 * (n % 8)) ** 2 + (rows - 6 - 2 * (n // 8)) ** 2) / 9) for n in range(64)]
    return np.stack(found).astype(np.uint8).reshape(64, 784)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """A server that takes everything, until it is told otherwise."""
    server = Receiver()
    yield server
    server.close()


@pytest.fixture
def make(encoder: Encoder, receiver: Receiver, tmp_path: Path) -> Iterator[Callable[..., Sender]]:
    """Makes senders that are impatient; they end with the test."""
    made = []

    def sender(to: object = None, **settings: object) -> Sender:
        settings = {"spool": tmp_path / "spool", "device": "gate-3", "backoff": Backoff(0.01, 0.05)} | settings
        made.append(Sender(settings.pop("encoder", encoder), to or receiver.url, **settings))
        return made[-1]

    yield sender
    for each in made:
        each.close(0)


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate of 127.0.0.1 that only itself vouches for, and its key, in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.datetime.now(datetime.timezone.utc)
    builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), now, now.replace(9999))
    here = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    signed = builder.add_extension(here, critical=False).sign(key, hashes.SHA256())
    form = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    path = tmp_path_factory.mktemp("tls") / "server.pem"
    path.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, *form) + signed.public_bytes(serialization.Encoding.PEM)
    )
    return path
