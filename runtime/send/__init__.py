"""The sender: packets from a device to a server, kept on the disk until the server has acknowledged them.

    sources     files, folders, stdin                      -> items
    sender      items -> batches -> encoder -> spool       (`put` returns when the packet is on the disk)
    courier     spool -> link (http, mqtt) -> answers      (a packet leaves the spool when the server has it)

What talks to a server needs the extra `send`, and is imported when a sender is made.
"""

from latentwire.runtime.lazy import lazy_names

__all__ = ["Access", "Backoff", "Bounds", "Event", "Rate", "Sender", "Status"]

__getattr__ = lazy_names(
    __name__,
    {
        "events": ("Event",),
        "link": ("Access",),
        "rate": ("Backoff", "Rate"),
        "sender": ("Sender",),
        "spool": ("Bounds",),
        "view": ("Status",),
    },
)
