"""Finishing, in user space, an instruction that KVM reports it cannot emulate."""
