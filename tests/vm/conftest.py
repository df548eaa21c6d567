"""What lies under guest/ installs and kills services: it runs in the machine only, by a pytest of its own."""

collect_ignore = ["guest"]
