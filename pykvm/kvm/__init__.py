"""The only code that talks to ``/dev/kvm``."""
