"""PCI: configuration space, the host bridge, message-signalled interrupts."""
