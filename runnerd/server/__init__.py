"""Joins protocols to sessions; the only room that knows sockets."""
