"""All that touches the kernel. Knows nothing of sessions or clients."""
