"""The composition root: it alone sees devices, backends and KVM, and wires them."""
