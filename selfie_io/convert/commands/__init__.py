"""The subcommands of selfie-convert: one file each, a dataclass whose fields are its command line."""
