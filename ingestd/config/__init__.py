"""The configuration: from a TOML file to frozen structs, with every problem named at once."""
