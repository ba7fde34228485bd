import ssl
import time

from receiver import Receiver

from latentwire.runtime.send import Access


def test_certificates_are_always_checked(make, items, certificate, tmp_path):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    server = Receiver(context=context)
    try:
        stranger = make(server.url, access=Access("secret"))
        stranger.put(items[0])
        end = time.monotonic() + 20
        while not stranger.status().last_error and time.monotonic() < end:
            assert not stranger.flush(0.1)
        assert "CERTIFICATE_VERIFY_FAILED" in stranger.status().last_error
        stranger.close(0)
        friend = make(server.url, access=Access("secret", certificate))
        assert friend.flush(10) and len(server.packets) == 1
        friend.close(0)
    finally:
        server.close()
