"""How the host moves bytes: stdio, pseudo-terminals, files, network interfaces."""
