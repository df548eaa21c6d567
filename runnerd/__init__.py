"""runnerd runs untrusted programs in boxes of kernel namespaces and joins their terminals to WebSockets."""

__version__ = "0.1.0"
