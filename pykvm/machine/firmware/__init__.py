"""What a PC's firmware leaves in memory for the kernel: descriptions of the machine as tables."""
