"""How JUDE and what it needs is put on machines."""
