"""The decode service: packets over HTTP and MQTT, checked, kept safe, decoded in batches, written to a sink.

    intake      check one body, name its packets, hand them to the inbox         (http, mqtt -> intake -> inbox)
    inbox       SQLite: what was answered 202 is on the disk                     (group commit)
    worker      batches of what waits -> decoder -> sink, then out of the inbox

`create_app` is an ASGI application of a `Settings`; `latentwire serve` runs it. Everything but the standard library
that is used here comes with the extra `serve`, which is why names are imported when they are asked for.
"""

from latentwire.runtime.lazy import lazy_names

__all__ = ["Bounds", "Settings", "create_app"]

__getattr__ = lazy_names(__name__, {"settings": ("Bounds", "Settings"), "http": ("create_app",)})
