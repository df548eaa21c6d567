"""What lives between a box and a client: programs, their output, their timers. Knows no wire format."""
