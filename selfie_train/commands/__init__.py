"""The subcommands of selfie-train: one file each, a dataclass whose fields are its command line."""
