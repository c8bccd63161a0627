"""The same pictures sooner: precision, layers and memory of this machine; and the modes that give something up."""
