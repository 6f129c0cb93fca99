"""The architectures, one file per model or family; each file's ``build`` makes one."""
