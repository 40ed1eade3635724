"""Device models: what the guest sees.

Each knows offsets, an IrqLine, guest memory and a backend.
"""
